"""The wire of the configuration channel: what configd and an agent say to each other (see docs/channel.md).

Both sides are strict about what they are given and lenient about what they do not know: an unknown field is ignored,
so that an older agent can talk to a newer configd. Bounds are part of the protocol: a body beyond them is refused.
"""

from __future__ import annotations

import json
import re
import unicodedata
from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, field_validator
from pydantic.alias_generators import to_camel

MAX_JOIN_BYTES = 4096
"""The most bytes of the body of a join."""
MAX_STATE_BYTES = 256 * 1024
"""The most bytes of the body of a state: the outputs of one server together stay below it."""
MAX_INLINE_BYTES = 4096
"""Values beyond it go to the Secret `<uid>-outputs`, not into status."""
MAX_WAIT_SECONDS = 60
"""The longest that one long poll may wait."""
MAX_OUTPUTS = 32
MAX_STEPS = 32

AUTHORIZATION = "Authorization"
HEADER_CA = "Moorage-CA"
"""On every answer to an authorised agent: hex SHA-256 of the present body of `/v1/ca.pem`."""

PATH_CA = "/v1/ca.pem"
PATH_AGENT = "/v1/agent.pyz"
PATH_JOIN = "/v1/join"
PATH_CONFIGURATION = "/v1/configuration"
PATH_STATE = "/v1/state"
PATH_HEALTH = "/healthz"

_SERVER = re.compile(r"^([a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?)/([A-Za-z0-9][-A-Za-z0-9]{0,63})$")

ServerId = Annotated[str, Field(max_length=128, pattern=_SERVER.pattern)]
"""`<namespace>/<VirtualServer uid>`."""
Name = Annotated[str, Field(min_length=1, max_length=63, pattern=r"^[A-Za-z0-9_]([-A-Za-z0-9_.]*[A-Za-z0-9_])?$")]
"""The name of an item, an output or a step."""
ErrorWord = Annotated[str, Field(max_length=63, pattern=r"^[A-Z][A-Za-z0-9]*$")]
"""A reason for machines, one CamelCase word."""


def _printable(text: object) -> object:
    """Without what moves a cursor or turns the direction of a text: one guest's words end on many a terminal."""
    if not isinstance(text, str) or (text.isascii() and text.isprintable()):
        return text
    return "".join(" " if unicodedata.category(char) in _UNPRINTABLE else char for char in text)


_UNPRINTABLE = frozenset({"Cc", "Cf", "Zl", "Zp"})
Line = Annotated[str, Field(max_length=512), BeforeValidator(_printable)]
"""One line for people; never a value."""
Count = Annotated[int, Field(ge=0, le=2**53 - 1)]

StepState = Literal["Waiting", "Running", "Succeeded", "Failed"]


class Wire(BaseModel):
    """Immutable JSON object with camelCase names; an error in one never shows the input, which may be sensitive."""

    model_config = ConfigDict(
        frozen=True,
        alias_generator=to_camel,
        populate_by_name=True,
        extra="ignore",
        use_attribute_docstrings=True,
        hide_input_in_errors=True,
    )

    def to_dict(self) -> dict[str, Any]:
        """The JSON form; absent optional fields are left out."""
        return self.model_dump(mode="json", by_alias=True, exclude_none=True)

    def to_json(self) -> bytes:
        """The JSON form as bytes: compact, with keys in the order of the model."""
        return self.model_dump_json(by_alias=True, exclude_none=True).encode()


class JoinRequest(Wire):
    """`POST /v1/join`: an agent binds its own key to the server."""

    server: ServerId
    token: Annotated[str, Field(min_length=1, max_length=512, repr=False)]
    """The join token of the server's user-data; it works for one key only."""
    key_hash: Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
    """Hex SHA-256 of the key that the agent keeps."""


class JoinAnswer(Wire):
    """The answer to a join that succeeded, for the first or a further time."""

    server: ServerId


class ServerFacts(Wire):
    """What a server is told about itself."""

    name: str
    namespace: str
    group: str = ""
    member: str = ""
    ordinal: int = 0
    address: str | None = None
    """Its address, where the controller knows one."""
    id: str | None = None
    """Its id at the hosting service, where the controller knows it."""


class Waiting(Wire):
    """An item whose value is not known yet."""

    item: str
    waiting_for: str
    """What it waits for, for people."""


class DocumentFile(Wire):
    """A file to write; without content while items that it needs are pending."""

    path: str
    mode: str = "0644"
    owner: str = "root"
    content: str | None = Field(default=None, repr=False)
    pending: tuple[str, ...] = ()
    """The items that it waits for."""


class DocumentStep(Wire):
    """A script to run once its items are known, and again when they or the script change."""

    name: Name
    script: str
    env: tuple[str, ...] = ()
    """The items that it gets as environment variables."""
    on_change: Literal["Rerun", "Ignore"] = "Rerun"
    timeout_seconds: Annotated[float, Field(ge=0)] = 60.0
    """How long one attempt may take."""
    retries: Annotated[int, Field(ge=0)] = 3
    """How many attempts may follow a failed first one."""
    pending: tuple[str, ...] = ()
    """The items that it waits for."""


class DocumentOutput(Wire):
    """A value that the server may publish; exactly one of `command`, `file` and `field`."""

    name: Name
    command: str | None = None
    file: str | None = None
    field: str | None = None
    """A fact about the server (`address`, `id`, `name`); the agent publishes it where `server` holds it."""
    env: tuple[str, ...] = ()
    after: tuple[str, ...] = ()
    """The steps that must have succeeded first."""
    refresh_seconds: Annotated[float, Field(ge=0)] | None = None
    """How often it is read again (0: never); it is also read after every step that ran."""
    max_bytes: Annotated[int, Field(gt=0)] = 4096
    sensitive: bool = False
    pattern: str | None = None
    """A regular expression (RE2) that the whole value must match; checked by configd, ignored by the agent."""
    pending: tuple[str, ...] = ()
    """The items that it waits for."""


class ExecProbe(Wire):
    """Ready when the command exits with 0."""

    command: str


class TcpProbe(Wire):
    """Ready when the port accepts a connection; `${item}` in both is replaced by the agent."""

    host: str = "127.0.0.1"
    port: str | int


class HttpProbe(Wire):
    """Ready when a GET is answered with 200 to 399; `${item}` is replaced by the agent."""

    url: str


class DocumentReadiness(Wire):
    """How the agent finds out whether the server is ready; exactly one probe."""

    exec: ExecProbe | None = None
    tcp: TcpProbe | None = None
    http: HttpProbe | None = None
    env: tuple[str, ...] = ()
    period_seconds: Annotated[float, Field(ge=0)] = 5.0
    timeout_seconds: Annotated[float, Field(ge=0)] = 2.0
    failure_threshold: Annotated[int, Field(ge=1)] = 3
    """How many failures in a row make a ready server unready."""
    pending: tuple[str, ...] = ()


class Document(Wire):
    """The configuration of one server as of one revision; the key `configuration` of its Secret, and the answer of
    `GET /v1/configuration`, byte for byte."""

    revision: Annotated[int, Field(ge=1)]
    server: ServerFacts
    pending: tuple[Waiting, ...] = ()
    items: Mapping[str, str] = Field(default_factory=dict, repr=False)
    """The known values that some step, probe or output command needs."""
    files: tuple[DocumentFile, ...] = ()
    steps: tuple[DocumentStep, ...] = ()
    outputs: tuple[DocumentOutput, ...] = ()
    readiness: DocumentReadiness | None = None


class OutputReport(Wire):
    """One output as the agent has it: its last value, or why there is no new one, or both."""

    name: Name
    value: str | None = Field(default=None, repr=False)
    version: Count = 0
    """Grows with every change of the value; kept over a reboot."""
    error: ErrorWord | None = None
    message: Line | None = None
    """Why, for people: an exit code, never the value or what a command printed."""

    @field_validator("value")
    @classmethod
    def _encodable(cls, value: str | None) -> str | None:
        try:
            (value or "").encode()
        except UnicodeEncodeError:
            raise ValueError("a lone surrogate is not text") from None
        return value


class StepReport(Wire):
    """How one step stands."""

    name: Name
    state: StepState
    exit_code: Annotated[int, Field(ge=-(2**31), lt=2**31)] | None = None
    message: Line | None = None
    attempts: Annotated[int, Field(ge=0, lt=2**31)] = 0


class StateReport(Wire):
    """`POST /v1/state`: all that the agent has to say, every time."""

    sequence: Annotated[int, Field(ge=1, le=2**53 - 1)]
    """Grows with every report; kept over a reboot."""
    delivered_revision: Count = 0
    acknowledged_revision: Count = 0
    ready: bool = False
    outputs: Annotated[tuple[OutputReport, ...], Field(max_length=256)] = ()
    steps: Annotated[tuple[StepReport, ...], Field(max_length=256)] = ()
    message: Line | None = None
    """What keeps a revision from being applied, for people; no values."""


class Problem(Wire):
    """Something in a state that was not taken; everything else was."""

    output: str | None = None
    step: str | None = None
    reason: ErrorWord
    message: str | None = None


class StateAnswer(Wire):
    """The state was recorded, except for the problems."""

    problems: tuple[Problem, ...] = ()


class SequenceConflict(Wire):
    """409: a state as new or newer is recorded already; the agent goes on from `sequence` + 1."""

    sequence: Count
    reason: str = "OlderState"
    message: str = ""


class ErrorAnswer(Wire):
    """The body of every other refusal."""

    reason: str
    message: str


def split_server(server: str) -> tuple[str, str] | None:
    """`(namespace, uid)` of a server id; None where it is not one."""
    match = _SERVER.match(server)
    return (match[1], match[3]) if match and "\n" not in server else None


def read_revision(document: bytes) -> int | None:
    """The revision of a document's bytes; None where they are not a document."""
    try:
        revision = json.loads(document)["revision"]
    except (ValueError, TypeError, KeyError, RecursionError):
        return None
    return revision if isinstance(revision, int) and not isinstance(revision, bool) else None
