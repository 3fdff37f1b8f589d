"""VirtualServerConfig: a boot image, a size and the configuration of a server."""

from __future__ import annotations

from decimal import Decimal
from typing import Annotated, Any, ClassVar, Literal

from pydantic import Field

from moorage.api.base import ItemName, Label, Model, Name, Word, free_form, listed, number, text
from moorage.api.meta import Condition, KeyRef, LabelSelector, ObjectMeta
from moorage.api.quantities import Interval, Quantity, parse_duration
from moorage.api.rules import Rule, exactly_one, unique

FieldName = Literal["name", "namespace", "group", "member", "ordinal", "address", "service", "region", "providerID"]
OutputField = Literal["address", "id", "name"]
Selection = Literal["First", "All", "Join"]
Script = Annotated[str, Field(min_length=1, max_length=65536)]
Command = Annotated[str, Field(min_length=1, max_length=8192)]
AbsolutePath = Annotated[
    str,
    text(1024, r"^(/[^/\n]+)+$", "is not the absolute path of a file", "write a path such as /etc/app/app.conf"),
]
_OWNER = r"^[A-Za-z0-9_][-A-Za-z0-9_.]*(:[A-Za-z0-9_][-A-Za-z0-9_.]*)?$"


class Image(Model):
    """A boot image, and where it is the one to use."""

    image: Annotated[str, Field(min_length=1, max_length=512)]
    """The image's name or id at the service."""
    service_type: Word | None = None
    """Only on services of this type."""
    service_selector: LabelSelector | None = None
    """Only on services with these labels."""
    region: Annotated[str, Field(max_length=63)] | None = None
    """Only in this region."""


class ExactOffering(Model):
    """An offering to use, instead of any that is large enough."""

    service: Name | None = None
    """Only on this service."""
    service_type: Word | None = None
    """Only on services of this type."""
    name: Word
    """The offering's name."""


class Size(Model):
    """The least a server must have; of the offerings that have it, the cheapest is taken."""

    cpu: Quantity = Decimal(1)
    """How many cores, at least."""
    memory: Quantity = Decimal(0)
    """Memory, at least, such as 512Mi."""
    arch: Word | None = None
    """The processor's architecture, such as amd64. Default: any."""
    offerings: tuple[ExactOffering, ...] = listed(32)
    """Offerings to use where they apply; the first that applies wins over cpu, memory and arch."""


class ServiceSettings(Model):
    """Settings for servers on one type of service."""

    service_type: Word
    """The type of service."""
    values: dict[str, Any] = free_form()
    """The settings (networks, keys, disks); each backend documents and checks its own."""


class OutputSource(Model):
    """A value that another running server publishes."""

    RULES = (
        Rule(
            "!has(self.separator) || self.select == 'Join'",
            "a separator is of use only between joined values",
            "write select: Join, or leave separator out",
            ".separator",
        ),
    )

    member: Label
    """The member of the group whose server publishes it."""
    name: ItemName
    """The output's name."""
    select: Selection = "First"
    """First: of the lowest ordinal; All: a JSON array of every replica's; Join: all, with `separator` between."""
    separator: Annotated[str, Field(max_length=16)] | None = None
    """Between the values with `select: Join`. Default: a comma."""
    group: Label | None = None
    """Another group of the same namespace. Default: the server's own."""


class ValueSource(Model):
    """Where an item's value comes from; exactly one."""

    RULES = (
        exactly_one(
            ("output", "secretKeyRef", "configMapKeyRef", "field"),
            "write one source for each item, and a template to combine several",
            "valueFrom",
        ),
    )

    output: OutputSource | None = None
    """An output of another running server."""
    secret_key_ref: KeyRef | None = None
    """A key of a Secret of the namespace; always sensitive."""
    config_map_key_ref: KeyRef | None = None
    """A key of a ConfigMap of the namespace."""
    field: FieldName | None = None
    """A fact about the server itself."""


class Item(Model):
    """A named value of the configuration; exactly one of `value`, `valueFrom` and `template`."""

    RULES = (
        exactly_one(
            ("value", "valueFrom", "template"),
            'write value: "...", valueFrom: {...} or template: "...${item}..."',
            "an item",
        ),
        Rule(
            "!has(self.default) || !has(self.value)",
            "an item with a value needs no default",
            "write value alone, or default beside valueFrom or template",
            ".default",
        ),
        Rule(
            "!self.name.matches('^(MOORAGE_.*|LD_.*|PATH|IFS|ENV|BASH_ENV)$')",
            "steps get items as environment variables, and this name is the agent's or the shell's own",
            "write another name, such as app_path",
            ".name",
        ),
    )

    name: ItemName
    """Its name, used as ${name} in files, templates and (as an environment variable) in steps, commands and probes."""
    value: Annotated[str, Field(max_length=16384)] | None = None
    """The value itself."""
    value_from: ValueSource | None = None
    """Where the value comes from."""
    template: Annotated[str, Field(max_length=16384)] | None = None
    """A text with other items as ${name}; $${name} is a literal ${name}. Sensitive where one of them is."""
    required: bool = True
    """Whether the server is ready only with this item. Nothing waits for an item but what uses it."""
    default: Annotated[str, Field(max_length=16384)] | None = None
    """The value in force until the real one is known."""
    sensitive: bool = False
    """Whether the value must be shown nowhere."""


class File(Model):
    """A file, written as soon as the items in its content are known."""

    path: AbsolutePath
    """Where, as an absolute path."""
    mode: Annotated[
        str,
        text(5, r"^0?[0-7]{3,4}$", "is not an octal mode", 'write octal digits in quotes, such as "0644"'),
    ] = "0644"
    """Permissions in octal, in quotes."""
    owner: Annotated[
        str, text(65, _OWNER, "is not an owner", "write a user, or user:group, such as root or app:app")
    ] = "root"
    """The user, or user:group."""
    content: Annotated[str, Field(max_length=262144)] = ""
    """The content, with items as ${name}."""


class Step(Model):
    """A shell script, run as soon as the items that it uses are known."""

    name: Label
    """Its name."""
    script: Script
    """A shell script; items are environment variables, ${name}. It may run more than once, so make it idempotent."""
    on_change: Literal["Rerun", "Ignore"] = "Rerun"
    """Whether it runs again when one of its items changes."""
    timeout: Interval = parse_duration("60s")
    """How long one run may take."""
    retries: Annotated[int, number(0, 100, "is not a number of tries", "write a whole number from 0 to 100")] = 3
    """How many more times it is tried after a failure."""


class Output(Model):
    """A value that the server publishes to others; exactly one of `command`, `file` and `field`."""

    RULES = (
        exactly_one(
            ("command", "file", "field"), 'write command: "...", file: /path or field: address, id or name', "an output"
        ),
    )

    name: ItemName
    """Its name."""
    command: Command | None = None
    """A shell command whose standard output is the value."""
    file: AbsolutePath | None = None
    """A file whose content is the value."""
    field: OutputField | None = None
    """A fact that the hosting service knows."""
    after: tuple[Label, ...] = listed(32)
    """Steps that must have succeeded first."""
    refresh: Interval = parse_duration("30s")
    """How often it is read again."""
    sensitive: bool = False
    """Whether the value must be shown nowhere."""
    pattern: Annotated[str, Field(min_length=1, max_length=512)] | None = None
    """A regular expression (RE2) that the whole value must match."""
    max_bytes: Annotated[int, number(1, 524288, "is not a size in bytes", "write a whole number from 1 to 524288")] = (
        4096
    )
    """The most bytes it may have."""


class ExecProbe(Model):
    """Ready when a command exits with 0."""

    command: Command
    """A shell command."""


class TcpProbe(Model):
    """Ready when a port accepts a connection."""

    host: Annotated[str, Field(min_length=1, max_length=253)] = "127.0.0.1"
    """The address, seen from the server."""
    port: Annotated[
        str,
        text(
            256,
            r"^([1-9][0-9]{0,4}|.*[$][{].+[}].*)$",
            "is not a port",
            'write a number in quotes, or "${port}"',
        ),
    ]
    """The port, in quotes; items as ${name}."""


class HttpProbe(Model):
    """Ready when a GET answers with a status from 200 to 399."""

    url: Annotated[
        str,
        text(
            2048, r"^https?://[^\s]+$", "is not a URL", "write http:// or https://, such as http://127.0.0.1:${port}/"
        ),
    ]
    """The URL, seen from the server; items as ${name}."""


class Readiness(Model):
    """How the agent sees that the server does its work; exactly one probe."""

    RULES = (exactly_one(("exec", "tcp", "http"), "write exec: {...}, tcp: {...} or http: {...}", "a readiness probe"),)

    exec: ExecProbe | None = None
    """By a command."""
    tcp: TcpProbe | None = None
    """By connecting to a port."""
    http: HttpProbe | None = None
    """By an HTTP request."""
    period: Interval = parse_duration("5s")
    """How often."""
    timeout: Interval = parse_duration("2s")
    """How long one try may take."""
    failure_threshold: Annotated[
        int, number(1, 100, "is not a number of failures", "write a whole number from 1 to 100")
    ] = 3
    """How many failures in a row make a ready server unready."""


class VirtualServerConfigSpec(Model):
    """A boot image, a size and the configuration of servers."""

    RULES = (
        Rule(
            "!has(self.outputs) || self.outputs.all(o, !has(o.after) || o.after.all(a,"
            " has(self.steps) && self.steps.exists(s, s.name == a)))",
            "an output is published after a step that is not there",
            "write in outputs[].after only names of spec.steps",
            ".outputs",
        ),
    )

    images: tuple[Image, ...] = listed(32, min_items=1)
    """The boot image; the first entry that applies to the service is taken. A change replaces servers."""
    size: Size = Size()
    """What a server must have. A change replaces servers."""
    settings: tuple[ServiceSettings, ...] = listed(
        16, key="serviceType", **unique("serviceType", "settings", "write the settings of each serviceType once")
    )
    """Settings by type of service. A change replaces servers."""
    configuration: tuple[Item, ...] = listed(
        128, key="name", **unique("name", "items", "write a name of its own for each item")
    )
    """Named values."""
    files: tuple[File, ...] = listed(64, key="path", **unique("path", "files", "write each file once"))
    """Files on the server."""
    steps: tuple[Step, ...] = listed(32, key="name", **unique("name", "steps", "write a name of its own for each step"))
    """Scripts, run in this order as far as their items are known."""
    outputs: tuple[Output, ...] = listed(
        32, key="name", **unique("name", "outputs", "write a name of its own for each output")
    )
    """Values that the server publishes."""
    readiness: Readiness | None = None
    """How to see that the server does its work. Default: it is ready once configured."""


class UsedBy(Model):
    """How much uses a configuration."""

    groups: int = 0
    """Groups that name it."""
    servers: int = 0
    """Servers made from it, of any revision."""


class VirtualServerConfigStatus(Model):
    """What Moorage makes of a configuration."""

    observed_generation: int = -1
    """The generation that was last worked on; -1: none yet."""
    conditions: tuple[Condition, ...] = listed(16, key="type")
    """Valid, Ready and, while true, Reconciling and Stalled."""
    current_revision: Annotated[str, Field(max_length=253)] | None = None
    """The ControllerRevision of this generation."""
    used_by: UsedBy | None = None
    """How much uses it."""


class VirtualServerConfig(Model):
    """A boot image, a size and the configuration of servers; ServerGroups select it."""

    RULES = (
        Rule(
            "size(self.metadata.name) <= 63",
            "the kept generations carry the name as a label, which takes 63 characters",
            "write a name of at most 63 characters",
        ),
    )

    KIND: ClassVar[str] = "VirtualServerConfig"
    PLURAL: ClassVar[str] = "virtualserverconfigs"

    metadata: ObjectMeta
    spec: VirtualServerConfigSpec
    status: VirtualServerConfigStatus = VirtualServerConfigStatus()
