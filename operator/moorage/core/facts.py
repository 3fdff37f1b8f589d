"""What the decisions about servers rest on: immutable facts, gathered by the edges.

Nothing here does I/O. A fact that was not observed is ``None``, never a guess: "the service did not say" and "the
service said no" are different values.

A ``steady`` moment is a number of seconds on a clock of the process that nobody sets. It means nothing to another
process; what must not end too early is counted on it, because the time of day may jump.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import StrEnum


class SeenState(StrEnum):
    """State of a server as its hosting service reports it."""

    PENDING = "Pending"
    RUNNING = "Running"
    STOPPED = "Stopped"
    TERMINATING = "Terminating"
    FAILED = "Failed"
    UNKNOWN = "Unknown"


@dataclass(frozen=True, slots=True)
class Seen:
    """One server as a hosting service showed it.

    ``key`` is the identity it carries (None for a server that is not ours), ``owner`` the whole identity
    ``<installation>/<VirtualServer uid>`` from its tags, or ``released``; a tag that is not there counts as empty, and
    without the server's own there is no owner. ``offering`` is the service's own word, None where it tells none.
    """

    provider_id: str
    key: str | None
    owner: str | None
    state: SeenState
    addresses: tuple[tuple[str, str], ...] = ()
    message: str = ""
    namespace: str | None = None
    """Where the object of its owner is or was, from its tags."""
    service: str | None = None
    """The uid of the HostingService of its owner, from its tags."""
    offering: str | None = None
    zone: str | None = None
    """The service's zone that it is in, None where it tells none."""


@dataclass(frozen=True, slots=True)
class Inventory:
    """A complete listing of one service: the only kind that may say that something is absent.

    ``started`` is when its first page was asked for: whatever was made before then (and the service's listing lag)
    is in it. ``steady`` is the same moment.
    """

    started: datetime
    steady: float
    by_id: Mapping[str, Seen]
    by_key: Mapping[str, tuple[Seen, ...]]


@dataclass(frozen=True, slots=True)
class Attempt:
    """One recorded intention to create: between ``time`` and ``deadline`` a call of it may be under way.

    Both are times of day of the process that recorded it. Another one relies on the time between them only.
    """

    time: datetime
    deadline: datetime

    @property
    def length(self) -> timedelta:
        """How long a call of it may be under way."""
        return self.deadline - self.time


class LookupResult(StrEnum):
    """Answer of a direct question for one provider id."""

    FOUND = "Found"
    NOT_FOUND = "NotFound"


@dataclass(frozen=True, slots=True)
class Lookup:
    """The newest direct answer about one server."""

    at: datetime
    steady: float
    result: LookupResult
    seen: Seen | None = None


@dataclass(frozen=True, slots=True)
class ServiceFacts:
    """What is known of the hosting service that holds a server.

    ``trusted`` is false where the account is not the one seen at first contact (ScopeChanged): nothing that the
    service says, and nothing that we would tell it, counts then. ``frozen`` holds a reason while more servers are
    missing at once than may be believed.
    """

    name: str
    uid: str
    connected: bool
    trusted: bool = True
    frozen: str = ""
    idempotent_create: bool = True
    can_retag: bool = True
    can_power: bool = False
    can_resize: bool = False
    listing_lag: timedelta = timedelta(0)
    create_timeout: timedelta = timedelta(seconds=60)
    latest: Inventory | None = None
    previous: Inventory | None = None
    problem: str = ""


@dataclass(frozen=True, slots=True)
class CallFailure:
    """The typed error of the last call about this server.

    ``terminal`` errors (capacity, quota, invalid) end the object; ``definite`` ones say that nothing was made.
    """

    reason: str
    message: str
    terminal: bool
    definite: bool
    retry_at: datetime | None = None


@dataclass(frozen=True, slots=True)
class SecretFacts:
    """The Secret ``<uid>`` as far as decisions need it. ``closed`` was posted to bar every later attempt.

    ``damaged``: what it records cannot be read, so that any number of attempts may have been made. ``serves``: a token
    to join with, and a configuration, may be in it, and its agent is answered.
    """

    attempts: tuple[Attempt, ...] = ()
    closed: bool = False
    damaged: bool = False
    has_request: bool = True
    revision: int = 0
    serves: bool = False


@dataclass(frozen=True, slots=True)
class Identity:
    """Who a server is: the key on the wire and the owner it stands for."""

    key: str
    owner: str


RELEASED = "released"


@dataclass(frozen=True, slots=True)
class RepairTries:
    """How often one kind of drift was to be undone in a row, when last (steady), and why that failed ("" where the
    service accepted it)."""

    count: int
    at: float
    problem: str = ""


@dataclass(frozen=True, slots=True)
class ServerFacts:
    """Everything that is decided upon for one VirtualServer.

    ``failed`` is the terminal failure that status records, ``failure`` what the last call met. ``recorded_at`` is when
    ``provider_id`` was recorded, ``noticed_at`` when this process first saw the deletion, ``deleted_at`` when the
    service last accepted it from this process, ``asked_since`` when it first did. ``remaining_dependents`` are names of
    servers that depend on this one and are being deleted as well: they go first. ``addressed``: an address of it is
    known. ``refused``: why its HostingService takes no such server, as reason and message. ``secret`` is None only when
    the API server was asked and has no such Secret. ``made`` is the id that a creation was answered with.

    ``observes``: the server is only looked at; ``provider_id`` is None then. ``observed_before``: status already tells
    what it looked like. ``ran``: it ran, or its agent joined, at some time. ``offering`` is the one that it is to have,
    None while none is known. ``repairs``: drift is to be undone; ``held``: why not now ("" where nothing keeps it).
    ``tries`` tells of the repairs so far, by the drift's reason.

    ``steady`` is now. ``attempts_since`` is since when this process knows that the newest of the recorded attempts was
    made (or that the record is damaged), ``recorded_since`` since when that ``provider_id`` is recorded.
    """

    name: str
    uid: str
    identity: Identity
    created: datetime
    deleting_since: datetime | None
    has_finalizer: bool
    retain: bool
    adopt_id: str | None
    provider_id: str | None
    recorded_at: datetime | None
    lost: bool
    failed: CallFailure | None
    secret: SecretFacts | None
    joined: bool
    addressed: bool
    service: ServiceFacts | None
    steady: float
    attempts_since: float
    recorded_since: float
    lookup: Lookup | None = None
    failure: CallFailure | None = None
    noticed_at: datetime | None = None
    deleted_at: datetime | None = None
    asked_since: datetime | None = None
    remaining_dependents: tuple[str, ...] = ()
    refused: tuple[str, str] | None = None
    made: str | None = None
    namespace: str = ""
    observes: bool = False
    observed_before: bool = False
    ran: bool = False
    offering: str | None = None
    repairs: bool = False
    held: str = ""
    successor: bool = False
    by_name: bool = False
    tries: Mapping[str, RepairTries] = field(default_factory=dict)
