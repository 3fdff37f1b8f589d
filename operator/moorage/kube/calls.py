"""What observers of the client see: one `Call` per request, without any value of its body."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from moorage.kube.kinds import Kind

READS = frozenset({"get", "list", "watch"})
_DEEPER = frozenset({"metadata", "spec", "status", "data", "stringData"})


@dataclass(frozen=True, slots=True)
class Call:
    """One request: `verb` is get, list, watch, create, update, patch, apply or delete.

    `fields` are the names of the body's top-level fields, and those directly below metadata, spec, status and data
    (`status.providerID`); names only, never values. `account` is the ServiceAccount (namespace, name) as which it is
    made, None for our own. `dry`: the API server checks the request and stores nothing.
    """

    verb: str
    kind: Kind
    namespace: str | None = None
    name: str = ""
    subresource: str = ""
    manager: str = ""
    fields: frozenset[str] = frozenset()
    account: tuple[str, str] | None = None
    dry: bool = False

    @property
    def is_write(self) -> bool:
        """True for everything that changes the API server's state."""
        return self.verb not in READS and not self.dry

    def __str__(self) -> str:
        target = "/".join(p for p in (self.namespace, self.name, self.subresource) if p)
        return f"{self.verb} {self.kind.plural} {target}".rstrip()


class Observer(Protocol):
    """Called around each attempt of each request; must be quick and must not raise."""

    def before(self, call: Call) -> None:
        """Directly before the request is sent (after waiting for a slot)."""

    def after(self, call: Call, outcome: int | BaseException, seconds: float) -> None:
        """After the answer was read: the HTTP status code, or what was raised instead of an answer."""


def body_fields(body: Any) -> frozenset[str]:
    """The field set of a body for `Call.fields`: of an object, a merge patch or a JSON patch."""
    if isinstance(body, Mapping):
        return frozenset(_names(body))
    if isinstance(body, list | tuple):
        return frozenset(
            ".".join(part for part in str(op.get("path", "")).split("/")[1:3] if part)
            for op in body
            if isinstance(op, Mapping) and op.get("op") != "test"
        )
    return frozenset()


def _names(body: Mapping[str, Any]) -> Iterable[str]:
    for key, value in body.items():
        if key in ("apiVersion", "kind"):
            continue
        if key in _DEEPER and isinstance(value, Mapping):
            yield from (f"{key}.{inner}" for inner in value)
        else:
            yield key
