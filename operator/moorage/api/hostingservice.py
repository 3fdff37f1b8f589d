"""HostingService: one account of one hosting service, in one region."""

from __future__ import annotations

from typing import Annotated, Any, ClassVar, Literal

from pydantic import Field

from moorage.api.base import Model, Text, Timestamp, Word, free_form, listed, mapped, number, text
from moorage.api.catalogue import CatalogRef
from moorage.api.meta import Condition, LabelKey, LabelSelector, LabelValue, ObjectMeta, SecretRef
from moorage.api.quantities import Interval, Price, Quantity, parse_duration
from moorage.api.rules import Rule, immutable, unique

OrphanPolicy = Literal["Report", "Delete"]
CircuitState = Literal["Closed", "Open"]
Url = Annotated[
    str,
    text(
        2048,
        r"^(https?://[^\s/?#]+|qemu(\+(unix|tls|ssh))?://)[^\s]*$",
        "is not a URL",
        "write http:// or https:// and a host, such as https://h:7070, or a URI of libvirt's such as qemu+tls://h/system",
    ),
]
HttpsUrl = Annotated[
    str,
    text(
        2048,
        r"^https://[^\s/?#]+[^\s]*$",
        "is not an https URL, and configuration goes over https only",
        "write https:// and a host, such as https://config.example.org:7443",
    ),
]


class Offering(Model):
    """A size of server that the service sells."""

    name: Word
    """The service's own name of it."""
    cpu: Quantity
    """How many cores it has."""
    memory: Quantity
    """Memory, as a quantity such as 1Gi."""
    arch: Word = "amd64"
    """The processor's architecture, as Go and container images name it."""
    price_per_hour: Price | None = None
    """Price of one hour, a decimal number in quotes; all services must use one currency."""
    spot_price_per_hour: Price | None = None
    """Price of one hour of a server that the service may take back at any time, where the same size can be had so."""
    interruptible: bool = False
    """Whether the service may take back servers of this offering at any time."""


class Limits(Model):
    """Bounds that Moorage keeps to, whatever the service itself would allow."""

    servers: Annotated[int, number(0, None, "is not a number of servers", "write 0 or more")] | None = None
    """The most servers at one time, those that were released and run on included. Default: the service's own limit."""
    requests_per_second: Annotated[int, number(1, 10000, "is not a rate", "write a whole number from 1 to 10000")] = 20
    """The mean rate of requests to the service."""
    burst: Annotated[int, number(1, 10000, "is not a number of requests", "write a whole number from 1 to 10000")] = 40
    """How many requests may go out at once after a pause."""
    concurrency: Annotated[int, number(1, 1000, "is not a number of calls", "write a whole number from 1 to 1000")] = 32
    """How many servers may be in the making at once, and, each beside that, how many deletions and how many questions
    may be under way at once."""


class HostingServiceSpec(Model):
    """What the platform team declares of a hosting service."""

    RULES = (
        Rule(
            immutable("type", optional=False),
            "the type of a service cannot change",
            "write a new HostingService of the other type",
            ".type",
        ),
        Rule(
            immutable("project", optional=True),
            "the project of a service cannot change, since its servers would be judged by another account",
            "write a new HostingService for the other project",
            ".project",
        ),
    )

    type: Word
    """The kind of service: the name of a backend, such as `local`. Immutable."""
    endpoint: Url
    """The URL of the service's API."""
    region: Annotated[str, Field(max_length=63)] = ""
    """The region in which servers are made, as the service names it."""
    project: Annotated[str, Field(max_length=253)] | None = None
    """The project, tenant or subscription within the account. Immutable."""
    credentials_secret_ref: SecretRef | None = None
    """The Secret with the credentials, in the controller's namespace; which keys it needs depends on `type`."""
    allowed_namespaces: LabelSelector = LabelSelector()
    """Which namespaces may place servers here, by their labels. Default: all."""
    config_endpoint: HttpsUrl | None = None
    """The https URL at which this service's servers reach the configuration channel. Default: the controller's."""
    labels: dict[LabelKey, LabelValue] = mapped(32)
    """Facts about the service that policies can require, such as zone or jurisdiction."""
    offerings: tuple[Offering, ...] = listed(200, key="name", **unique("name", "offerings", "write each offering once"))
    """Sizes of servers. Discovered where the service tells them; those declared here win by name."""
    offerings_as_of: Timestamp | None = None
    """When `offerings` were last known to be right. Policies that bound the age of data need it."""
    catalog_ref: CatalogRef | None = None
    """The catalogue of sizes and prices: a ConfigMap in the controller's namespace. It wins by name over what the
    service tells, and `offerings` win over it."""
    limits: Limits = Limits()
    """Bounds that Moorage keeps to."""
    inventory_interval: Interval = parse_duration("30s")
    """How often all servers of the account are listed; ten times rarer, but at least every 10 minutes, while the
    service tells its events."""
    orphan_policy: OrphanPolicy = "Report"
    """What happens to servers of this installation that have no VirtualServer: reported, or deleted after a while."""
    settings: dict[str, Any] = free_form()
    """Settings of the backend; each backend documents and checks its own."""


class Account(Model):
    """Whose account it is."""

    id: Text
    """The account's identity, as the service tells it."""
    first_seen: Timestamp
    """When it was first asked."""


class ServiceCapacity(Model):
    """How many servers the service takes."""

    limit: int | None = None
    """The most servers, where there is a limit."""
    used: int = 0
    """Servers there now, of whomever."""
    available: int | None = None
    """Room for that many more, where it is known."""


class Circuit(Model):
    """Whether the service is asked at all after repeated failures."""

    state: CircuitState = "Closed"
    """Closed: asked; Open: left alone, and tried once now and then."""
    since: Timestamp | None = None
    """Since when."""


class LastError(Model):
    """The service's last failure."""

    reason: Annotated[str, Field(max_length=128)]
    """The kind of failure, one CamelCase word."""
    message: Text = ""
    """What it said."""
    time: Timestamp
    """When it first failed in this way."""


class DataSource(Model):
    """Where offerings and prices come from."""

    name: Literal["Spec", "Catalogue", "Service"]
    """Spec: `spec.offerings`; Catalogue: the ConfigMap of `spec.catalogRef`; Service: the service itself."""
    at: Timestamp | None = None
    """Of when its data is: when the service was asked, or what was written beside declared data. None: not known."""
    offerings: int = 0
    """How many of the offerings in force are its."""
    message: Text | None = None
    """What of it was ignored, and why."""


class Outcome(Model):
    """What became of one server."""

    server: Annotated[str, Field(max_length=64)]
    """The uid of its VirtualServer."""
    at: Timestamp
    """When that was known."""
    seconds: int | None = None
    """How long it took to run."""
    failed: Annotated[str, Field(max_length=128)] | None = None
    """Why it could not be made: InsufficientCapacity, QuotaExceeded or BootTimeout."""


class Measured(Model):
    """What the outcomes of the last day say together."""

    servers: int
    """How many servers that is."""
    boot_seconds: float | None = None
    """The median time that they took to run."""
    failure_rate: float | None = None
    """The share of them that could not be made, 0 to 1."""


class Orphan(Model):
    """A server of this installation that no VirtualServer knows."""

    provider_id: Text
    """The service's id of it."""
    virtual_server: Text = ""
    """The uid of the VirtualServer that it was made for."""
    since: Timestamp
    """When it was first seen."""
    message: Text | None = None
    """Why it is still there although its release or deletion was asked for."""


class HostingServiceStatus(Model):
    """What Moorage has seen of a hosting service."""

    observed_generation: int = -1
    """The generation that was last worked on; -1: none yet."""
    conditions: tuple[Condition, ...] = listed(16, key="type")
    """Available, Ready and, while true, Reconciling and Stalled."""
    account: Account | None = None
    """The account seen at first contact; servers are never judged by another one."""
    capacity: ServiceCapacity | None = None
    """How many servers it takes."""
    offerings: tuple[Offering, ...] = listed(200)
    """The offerings in force, declared and discovered."""
    sources: tuple[DataSource, ...] = listed(3, key="name")
    """Where the offerings and their prices come from, and how old that is."""
    images: tuple[Text, ...] = listed(200)
    """Boot images, where the service lists them."""
    abilities: tuple[Word, ...] = listed(32)
    """What can be done there beyond making and deleting servers, such as Retag, which deletionPolicy: Retain needs."""
    circuit: Circuit | None = None
    """Whether the service is asked at all."""
    servers: int | None = None
    """How many VirtualServers are on it."""
    released: int | None = None
    """How many servers were released (deletionPolicy: Retain) and run on: they count for `limits.servers`."""
    outcomes: tuple[Outcome, ...] = listed(50)
    """What became of the newest servers of the last day, by which policies can rank services."""
    measured: Measured | None = None
    """What that says together, where there are enough of them."""
    unreachable_since: Timestamp | None = None
    """Since when it has not answered, while it does not. A refusal is an answer."""
    last_error: LastError | None = None
    """The last failure, until the next success."""
    orphans: tuple[Orphan, ...] = listed(20)
    """Servers without a VirtualServer, the oldest 20."""
    orphan_count: int | None = None
    """How many servers without a VirtualServer there are."""


class HostingService(Model):
    """One account of one hosting service in one region, on which servers can be made."""

    RULES = (
        Rule(
            "size(self.metadata.name) <= 63",
            "servers carry the name of their service as a label, which takes 63 characters",
            "write a name of at most 63 characters",
        ),
    )

    KIND: ClassVar[str] = "HostingService"
    PLURAL: ClassVar[str] = "hostingservices"

    metadata: ObjectMeta
    spec: HostingServiceSpec
    status: HostingServiceStatus = HostingServiceStatus()
