"""Every instance that RunInstances ever made, and what a ClientToken was used for."""

from __future__ import annotations

import asyncio
import time
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any


@dataclass(slots=True)
class Entry:
    """One instance, from its creation on; times are of the steady clock. `zone` is the one asked for, or ""."""

    id: str
    account: str
    token: str | None
    spot: bool
    zone: str
    user_data: bytes
    created: float = field(default_factory=time.monotonic)
    ended: float | None = None

    def to_json(self) -> dict[str, Any]:
        """For the control API."""
        told = {"id": self.id, "account": self.account, "token": self.token, "spot": self.spot, "zone": self.zone}
        return {**told, "ended": self.ended is not None}


class Ledger:
    """All of them, in the order of their creation."""

    def __init__(self) -> None:
        self._entries: dict[str, Entry] = {}

    def __iter__(self) -> Iterator[Entry]:
        return iter(self._entries.values())

    def add(self, entry: Entry) -> None:
        """A new one."""
        self._entries[entry.id] = entry

    def get(self, instance_id: str) -> Entry | None:
        """The entry of that id."""
        return self._entries.get(instance_id)

    def end(self, instance_id: str) -> None:
        """It was terminated."""
        entry = self._entries.get(instance_id)
        if entry is not None and entry.ended is None:
            entry.ended = time.monotonic()

    def living(self, account: str, *, spot: bool | None = None, zone: str | None = None) -> int:
        """How many of the account's are not terminated; `spot`: of one market only; `zone`: that asked for that one."""
        return sum(
            e.ended is None and e.account == account and spot in {None, e.spot} and zone in {None, e.zone} for e in self
        )

    def young(self, seconds: float) -> set[str]:
        """Those made less than so long ago."""
        limit = time.monotonic() - seconds
        return {e.id for e in self if e.created > limit} if seconds else set()

    def just_ended(self, seconds: float) -> set[str]:
        """Those terminated less than so long ago."""
        limit = time.monotonic() - seconds
        return {e.id for e in self if e.ended is not None and e.ended > limit} if seconds else set()


@dataclass(frozen=True, slots=True)
class Use:
    """What a token was used for: the parameters, and the id of what was made."""

    parameters: tuple[tuple[str, str], ...]
    made: str


class Tokens:
    """ClientTokens by account, region, operation and scope (an availability zone, or "")."""

    def __init__(self) -> None:
        self._uses: dict[tuple[str, ...], Use] = {}
        self._locks: defaultdict[tuple[str, ...], asyncio.Lock] = defaultdict(asyncio.Lock)

    def lock(self, scope: tuple[str, ...]) -> asyncio.Lock:
        """Held while a request with the token is worked on: a second one waits for the first one's end."""
        return self._locks[scope]

    def get(self, scope: tuple[str, ...]) -> Use | None:
        """What it was used for."""
        return self._uses.get(scope)

    def put(self, scope: tuple[str, ...], use: Use) -> None:
        """It was used."""
        self._uses[scope] = use
