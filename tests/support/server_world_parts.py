"""What the small world of one server is made of: servers at the service, and what a process remembers."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta

from moorage.core.facts import (
    Attempt,
    CallFailure,
    Inventory,
    Lookup,
)

S = timedelta(seconds=1)


class Crashed(Exception):
    """The process died: what it had in memory is gone."""


class Conflicted(Exception):
    """The API server refused a write: decide again."""


@dataclass
class Machine:
    """A server at the service. ``shown`` / ``hidden``: since when listings must (not) show it."""

    id: str
    owner: str
    born: datetime
    died: datetime | None = None


@dataclass
class Memory:
    """What a process has learnt; lost in a crash."""

    lookup: Lookup | None = None
    failure: CallFailure | None = None
    noticed_at: datetime | None = None
    deleted_at: datetime | None = None
    asked_since: datetime | None = None
    latest: Inventory | None = None
    previous: Inventory | None = None
    foreign: bool = False
    attempt: tuple[Attempt | None, float] = (None, 0.0)
    recorded: tuple[str | None, float] = (None, 0.0)

    def forget_future(self, now: datetime) -> None:
        """As the controller does after the clock was set back."""
        self.lookup = None if self.lookup is not None and self.lookup.at > now else self.lookup
        self.noticed_at = None if self.noticed_at is not None and self.noticed_at > now else self.noticed_at
        self.deleted_at = None if self.deleted_at is not None and self.deleted_at > now else self.deleted_at
        self.asked_since = None if self.asked_since is not None and self.asked_since > now else self.asked_since
        retry_at = self.failure.retry_at if self.failure is not None else None
        self.failure = None if retry_at is not None and retry_at > now + S else self.failure
