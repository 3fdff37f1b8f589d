"""The closed set of next steps for one server. Each is idempotent: doing it twice is doing it once."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from moorage.core.facts import CallFailure


@dataclass(frozen=True, slots=True)
class Create:
    """Fix the request and the first attempt by one exclusive POST of the Secret, then call the service."""


@dataclass(frozen=True, slots=True)
class CreateAgain:
    """Repeat the fixed request byte for byte; ``record`` says whether a new attempt is recorded first."""

    record: bool


@dataclass(frozen=True, slots=True)
class Claim:
    """Take over the existing server ``provider_id``: check its owner, write our identity, verify it."""

    provider_id: str


@dataclass(frozen=True, slots=True)
class Record:
    """Write the provider id into status before anything else is done with the server."""

    provider_id: str


@dataclass(frozen=True, slots=True)
class Ask:
    """Ask the service directly for one server."""

    provider_id: str


@dataclass(frozen=True, slots=True)
class AwaitInventory:
    """A complete inventory that was started after ``newer_than`` has to come first."""

    newer_than: datetime
    reason: str
    message: str


@dataclass(frozen=True, slots=True)
class Destroy:
    """Delete these servers, each only after its identity was compared."""

    provider_ids: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Release:
    """Rewrite the server's owner to ``released`` and verify it, then let it live."""

    provider_id: str


class Remedy(StrEnum):
    """What undoes a drift."""

    START = "Start"
    RESIZE = "Resize"
    RETAG = "Retag"


@dataclass(frozen=True, slots=True)
class Repair:
    """Undo a drift, if a fresh look still shows it: start the server, give it its offering, or its tags, back."""

    provider_id: str
    remedy: Remedy


@dataclass(frozen=True, slots=True)
class Close:
    """Post the Secret as closed, so that no other leader can record an attempt for an object that goes away."""


@dataclass(frozen=True, slots=True)
class Revoke:
    """End the session of the server's agent: from now on nobody gets anything in this server's name."""


@dataclass(frozen=True, slots=True)
class DropFinalizer:
    """Nothing of this server is left at the service: let the object go."""


@dataclass(frozen=True, slots=True)
class DeclareLost:
    """The server is gone without our doing, on the word of two inventories and a direct answer."""

    message: str


@dataclass(frozen=True, slots=True)
class Fail:
    """End the object with a typed reason; its group makes another one."""

    failure: CallFailure
    destroy: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Wait:
    """Nothing can be done before ``until`` (or before something that we watch changes)."""

    reason: str
    message: str
    until: datetime | None = None


@dataclass(frozen=True, slots=True)
class Settled:
    """What should be is."""


Step = (
    Create
    | CreateAgain
    | Claim
    | Record
    | Ask
    | AwaitInventory
    | Destroy
    | Release
    | Repair
    | Close
    | Revoke
    | DropFinalizer
    | DeclareLost
    | Fail
    | Wait
    | Settled
)
