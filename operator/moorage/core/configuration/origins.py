"""Where the value of a known item is taken from when it is rendered."""

from __future__ import annotations

from dataclasses import dataclass, field

from moorage.core.template import Template


@dataclass(frozen=True, slots=True)
class Inline:
    """The value itself: a literal, a fact about the server, or a default."""

    value: str = field(repr=False)


@dataclass(frozen=True, slots=True)
class FromSecret:
    """A key of a Secret."""

    name: str
    key: str


@dataclass(frozen=True, slots=True)
class FromConfigMap:
    """A key of a ConfigMap."""

    name: str
    key: str


@dataclass(frozen=True, slots=True)
class OutputPart:
    """One server's value of an output. `value` None: it is in the Secret `secret`, under the output's name."""

    server_uid: str
    secret: str
    output: str
    version: int
    value: str | None = field(repr=False)


@dataclass(frozen=True, slots=True)
class FromOutputs:
    """Outputs of one server or of several, in order of their ordinals; `separator` is that of `select: Join`."""

    parts: tuple[OutputPart, ...]
    select: str
    separator: str | None


@dataclass(frozen=True, slots=True)
class FromTemplate:
    """The values of other items, in a text."""

    template: Template


@dataclass(frozen=True, slots=True)
class Remembered:
    """The value that was last rendered, kept beside the document."""


Origin = Inline | FromSecret | FromConfigMap | FromOutputs | FromTemplate | Remembered
