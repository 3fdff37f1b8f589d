"""Wire models of the embedded hosting service's HTTP API, used by `hostd` and by its backend `local`.

Names are camelCase on the wire. Requests forbid unknown fields; answers allow them, so that an older client can talk
to a newer service. Durations are seconds as a number, or a Go duration such as `250ms` or `2s`; times are RFC 3339.
"""

from __future__ import annotations

from datetime import datetime
from decimal import Decimal
from enum import StrEnum
from typing import Annotated, Any

from pydantic import AliasGenerator, BaseModel, ConfigDict, Field, StringConstraints
from pydantic.alias_generators import to_camel

from moorage.api.quantities import Seconds

MAX_USER_DATA = 16 * 1024
"""Bytes of user-data that a service takes."""
MAX_BODY = 256 * 1024
"""Bytes of a request that a service reads."""
MAX_TAGS = 50
MAX_BATCH = 100
"""Servers that one call can be about."""

Key = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$")]
Name = Annotated[str, StringConstraints(pattern=r"^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$")]
Id = Annotated[str, StringConstraints(min_length=1, max_length=256)]
TagName = Annotated[str, StringConstraints(min_length=1, max_length=128)]
TagValue = Annotated[str, StringConstraints(max_length=256)]
Tags = Annotated[dict[TagName, TagValue], Field(max_length=MAX_TAGS)]
EnvironmentName = Annotated[str, StringConstraints(pattern=r"^[A-Za-z_][A-Za-z0-9_]*$")]
EnvironmentValue = Annotated[str, StringConstraints(pattern=r"^[^\x00]*$", max_length=32768)]


class Wire(BaseModel):
    """Base of the answers."""

    model_config = ConfigDict(
        alias_generator=AliasGenerator(alias=to_camel),
        populate_by_name=True,
        extra="ignore",
        frozen=True,
        hide_input_in_errors=True,
    )

    def to_json(self) -> dict[str, Any]:
        """JSON-able data in the wire's names, without what is None."""
        return self.model_dump(mode="json", by_alias=True, exclude_none=True)


class Request(Wire):
    """Base of the requests: unknown fields are an error."""

    model_config = ConfigDict(extra="forbid")


class ErrorBody(Wire):
    """The body of every refusal. `reason` is a CamelCase word, `field` the offending field of the request."""

    reason: str
    message: str = ""
    field: str | None = None


class Account(Wire):
    """Who answers: `id` stays the same as long as the service's data directory does."""

    id: Annotated[str, StringConstraints(min_length=1, max_length=256)]
    name: str = ""
    region: str = ""


class Offering(Wire):
    """A size and its price. `memory` in bytes."""

    name: str
    cpu: Decimal = Field(gt=0)
    memory: int = Field(gt=0)
    arch: str = "amd64"
    price_per_hour: Decimal = Field(ge=0)
    spot_price_per_hour: Decimal | None = Field(default=None, ge=0)


class OfferingList(Wire):
    """All offerings."""

    items: tuple[Offering, ...]


class Image(Wire):
    """A boot image. `available` is false where this host lacks what the image needs, as `message` says."""

    name: str
    available: bool = True
    message: str = ""


class ImageList(Wire):
    """All images."""

    items: tuple[Image, ...]


class Capacity(Wire):
    """Servers that fit (None: no limit) and servers that are there."""

    limit: int | None = None
    used: int = Field(ge=0)


class SimulateSettings(Request):
    """How a simulated server behaves; a service of real processes refuses these."""

    boot_time: Seconds | None = Field(default=None, description="From creation to Running. Default: the service's.")
    apply_time: Seconds = Field(default=0.0, description="From receiving a revision to having written its files.")
    step_time: Seconds = Field(default=0.0, description="The length of every step.")
    outputs: dict[str, str] = Field(
        default_factory=dict,
        description="Values to publish by output name; `${SERVER_ADDRESS}`, `${SERVER_NAME}` and `${item}` for an item "
        "that the server was given are replaced. Other outputs get `<output>@<server name>`.",
    )
    fail_steps: tuple[str, ...] = Field(default=(), description="Names of steps that fail.")


class ServerSettings(Request):
    """Settings of one server: `VirtualServerConfig.spec.settings[]` for the type `local`."""

    environment: dict[EnvironmentName, EnvironmentValue] = Field(
        default_factory=dict,
        repr=False,
        description="Added to the environment of everything that runs in the server.",
    )
    boot_delay: Seconds = Field(default=0.0, description="From creation to the start of the user-data.")
    spot: bool = Field(
        default=False,
        description="At the lower price, where the service may take the server back; where there is no room for it so, "
        "it is asked for at the full price.",
    )
    simulate: SimulateSettings | None = Field(
        default=None, description="How a simulated server behaves; a service of real processes refuses this."
    )


class CreateServer(Request):
    """A creation. `key` is the idempotency key: the same key and body give the same server, for ever."""

    key: Key
    name: Name
    image: Annotated[str, StringConstraints(min_length=1, max_length=256)]
    offering: Annotated[str, StringConstraints(min_length=1, max_length=256)]
    settings: ServerSettings = Field(default_factory=ServerSettings, repr=False)
    user_data: Annotated[str, StringConstraints(max_length=MAX_USER_DATA)] = Field(default="", repr=False)
    tags: Tags = Field(default_factory=dict)


class ServerState(StrEnum):
    """State of a server; a deleted one is gone (404)."""

    PENDING = "Pending"
    RUNNING = "Running"
    STOPPED = "Stopped"
    TERMINATING = "Terminating"
    FAILED = "Failed"


class ServerAddress(Wire):
    """An address of a server."""

    type: Annotated[str, StringConstraints(pattern="^(Internal|External)$")]
    address: Annotated[str, StringConstraints(min_length=1, max_length=256)]


class Server(Wire):
    """One server as the service tells it."""

    id: Annotated[str, StringConstraints(min_length=1, max_length=256)]
    key: str | None = None
    name: str = ""
    state: str
    image: str = ""
    offering: str = ""
    tags: dict[str, str] = Field(default_factory=dict)
    addresses: tuple[ServerAddress, ...] = ()
    created: datetime | None = None
    message: str = ""


class ServerList(Wire):
    """A page of servers in the order of their creation; `continue` is set where more follow."""

    items: tuple[Server, ...]
    continue_: str | None = Field(default=None, alias="continue")


class TagPatch(Request):
    """Tags to set; others stay."""

    tags: Tags


class Resize(Request):
    """The offering that a server is to have."""

    offering: Annotated[str, StringConstraints(min_length=1, max_length=256)]


class Ids(Request):
    """The servers that a call is about."""

    ids: tuple[Id, ...] = Field(max_length=MAX_BATCH)


class ServerBatch(Wire):
    """The servers that were asked for, and the ids of those that there are not: each id is in one of the two."""

    items: tuple[Server, ...] = ()
    missing: tuple[str, ...] = ()


class Change(Wire):
    """A line of the events: the id of a server that appeared, changed or went; "" where some may have been missed."""

    id: str


class CreateVolume(Request):
    """A volume. The same key gives the same volume for as long as it is there."""

    key: Key
    size_gib: int = Field(ge=1, le=65536)
    tags: Tags = Field(default_factory=dict)


class Attach(Request):
    """The server that a volume or an address is to hang on."""

    server: Id


class Volume(Wire):
    """A disk with a life of its own."""

    id: Id
    key: str | None = None
    size_gib: int
    server: str | None = None
    tags: dict[str, str] = Field(default_factory=dict)


class VolumeList(Wire):
    """A page of volumes; `continue` is set where more follow."""

    items: tuple[Volume, ...]
    continue_: str | None = Field(default=None, alias="continue")


class Console(Wire):
    """The end of what the server printed."""

    text: str
    truncated: bool = False


class LedgerEvent(StrEnum):
    """What the ledger tells about a server. Vanished: it went without having been asked to."""

    CREATED = "Created"
    DELETED = "Deleted"
    VANISHED = "Vanished"


class LedgerEntry(Wire):
    """A line of the ledger."""

    time: datetime
    event: LedgerEvent
    id: str
    key: str
    name: str = ""
    tags: dict[str, str] = Field(default_factory=dict)


class Ledger(Wire):
    """All that the service ever created and deleted, oldest first."""

    items: tuple[LedgerEntry, ...]


class Session(Wire):
    """What a token was exchanged for: good for `expires_in` seconds, as a bearer token in its place."""

    token: str = Field(repr=False)
    expires_in: float


class Operation(StrEnum):
    """An operation of the API, as faults name it."""

    ACCOUNT = "account"
    OFFERINGS = "offerings"
    IMAGES = "images"
    CAPACITY = "capacity"
    LIST = "list"
    GET = "get"
    CREATE = "create"
    DELETE = "delete"
    TAG = "tag"
    CONSOLE = "console"
    POWER = "power"
    RESIZE = "resize"
    BATCH = "batch"
    EVENTS = "events"
    VOLUME = "volume"
    ADDRESS = "address"
    LEDGER = "ledger"
    SESSION = "session"


class FaultKind(StrEnum):
    """A wrong answer. Hang: none comes until the client gives up. Garbage: 200 with bytes that are no JSON. Huge: an
    endless body. Cut: the connection ends before an answer, nothing was done."""

    INTERNAL = "Internal"
    UNAVAILABLE = "Unavailable"
    THROTTLED = "Throttled"
    UNAUTHORIZED = "Unauthorized"
    INSUFFICIENT_CAPACITY = "InsufficientCapacity"
    QUOTA_EXCEEDED = "QuotaExceeded"
    INVALID = "Invalid"
    BARE_NOT_FOUND = "BareNotFound"
    GARBAGE = "Garbage"
    HUGE = "Huge"
    HANG = "Hang"
    CUT = "Cut"


class NextErrors(Request):
    """The next `count` calls of these operations (empty: any) go wrong, after `skip` that do not. `after`: they do
    their work first. A refusal is told in `message` (empty: in the service's own words); one that is Invalid names
    `field`."""

    kind: FaultKind = FaultKind.INTERNAL
    count: int = Field(default=1, ge=1)
    skip: int = Field(default=0, ge=0)
    operations: tuple[Operation, ...] = ()
    after: bool = False
    field: str | None = None
    message: str = ""


class Throttle(Request):
    """A token bucket over all calls. Beyond it: 429 with `retry_after` seconds in Retry-After."""

    requests_per_second: float = Field(gt=0, allow_inf_nan=False)
    burst: int = Field(default=1, ge=1)
    retry_after: Seconds = 1.0


class Faults(Request):
    """What the service does wrong from now on. A PUT replaces all of it.

    latency: added to every call. error_rate: share of calls that answer 500 and do nothing. next_errors: see there.
    lose_answers: that many of the next changing calls (or those of `lose_operations`) do their work, then the
    connection is cut. listing_lag: servers appear in listings so much later, and stay in them so much longer.
    capacity: replaces the service's limit. boot_never: servers created now stay Pending. boot_fail: they fail.
    vanish: ids of servers to lose now. ignore_keys: a repeated creation makes another server. quota: the account may
    have so many servers. spot_capacity: room for so many at the spot price. no_room_to_grow: no server can get another
    offering. revoked: no token is good. expire_sessions: all sessions end now, and tokens stay good. skew: the
    service's clock is so many seconds ahead.
    """

    latency: Seconds = 0.0
    error_rate: float = Field(default=0.0, ge=0, le=1)
    next_errors: tuple[NextErrors, ...] = ()
    throttle: Throttle | None = None
    lose_answers: int = Field(default=0, ge=0)
    lose_operations: tuple[Operation, ...] = (Operation.CREATE, Operation.DELETE, Operation.TAG)
    listing_lag: Seconds = 0.0
    capacity: int | None = Field(default=None, ge=0)
    boot_never: bool = False
    boot_fail: bool = False
    vanish: tuple[str, ...] = ()
    ignore_keys: bool = False
    quota: int | None = Field(default=None, ge=0)
    spot_capacity: int | None = Field(default=None, ge=0)
    no_room_to_grow: bool = False
    revoked: bool = False
    expire_sessions: bool = False
    skew: float = Field(default=0.0, ge=-(10**9), le=10**9, allow_inf_nan=False)
