"""A server as hostd keeps it, in memory and in its directory."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from datetime import UTC, datetime
from enum import StrEnum
from typing import Any

from moorage.api.hostd import CreateServer, ServerState


class Goal(StrEnum):
    """What a server is to become."""

    RUN = "Run"
    STOP = "Stop"
    REBOOT = "Reboot"
    GONE = "Gone"
    VANISHED = "Vanished"


@dataclass(slots=True, eq=False)
class Machine:
    """One server.

    sequence: its place in the order of creations. boots: number of the last boot begun. halted: it is down and not to
    be started before it is told to again (a failure, or a stop). resized: the offering it has now, where it is another
    than the one asked for. public: the account's addresses that lead to it. listed_from, listed_until: times on the
    loop's clock between which listings show it.
    """

    id: str
    sequence: int
    request: CreateServer
    tags: dict[str, str]
    address: str
    created: datetime
    state: ServerState = ServerState.PENDING
    message: str = ""
    goal: Goal = Goal.RUN
    boots: int = 0
    running: bool = False
    halted: bool = False
    removed: bool = False
    resized: str = ""
    public: list[str] = field(default_factory=list)
    boot_never: bool = False
    boot_fail: bool = False
    listed_from: float = 0.0
    listed_until: float = float("inf")
    changed: asyncio.Event = field(default_factory=asyncio.Event)
    writing: asyncio.Lock = field(default_factory=asyncio.Lock)
    task: asyncio.Task[None] | None = None

    @property
    def offering(self) -> str:
        """The offering it has."""
        return self.resized or self.request.offering

    def to_wire(self) -> dict[str, Any]:
        """The server as an answer shows it."""
        answer: dict[str, Any] = {
            "id": self.id,
            "key": self.request.key,
            "name": self.request.name,
            "state": self.state.value,
            "image": self.request.image,
            "offering": self.offering,
            "tags": self.tags,
            "addresses": [
                {"type": "Internal", "address": self.address},
                *({"type": "External", "address": address} for address in self.public),
            ],
            "created": self.created.isoformat(),
        }
        if self.message:
            answer["message"] = self.message
        return answer

    def to_record(self) -> dict[str, Any]:
        """What its file holds."""
        return {
            "id": self.id,
            "sequence": self.sequence,
            "request": self.request.to_json(),
            "tags": self.tags,
            "address": self.address,
            "created": self.created.isoformat(),
            "state": self.state.value,
            "message": self.message,
            "goal": self.goal.value,
            "boots": self.boots,
            "halted": self.halted,
            "bootNever": self.boot_never,
            "bootFail": self.boot_fail,
            "resized": self.resized,
            "public": self.public,
        }

    @classmethod
    def from_record(cls, record: dict[str, Any]) -> Machine:
        """Inverse of `to_record`. Raises ValueError, KeyError or TypeError for what is not one."""
        created = datetime.fromisoformat(record["created"])
        return cls(
            id=record["id"],
            sequence=record["sequence"],
            request=CreateServer.model_validate(record["request"]),
            tags=dict(record["tags"]),
            address=record["address"],
            created=created if created.tzinfo else created.replace(tzinfo=UTC),
            state=ServerState(record["state"]),
            message=record["message"],
            goal=Goal(record["goal"]),
            boots=record["boots"],
            halted=record["halted"],
            boot_never=record["bootNever"],
            boot_fail=record["bootFail"],
            resized=record.get("resized", ""),
            public=list(record.get("public", ())),
        )
