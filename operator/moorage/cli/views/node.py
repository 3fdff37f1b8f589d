"""A tree of what is and what it waits for: printed on a terminal, or as JSON."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Any

from moorage.api.conditions import READY, RECONCILING, STALLED, find, is_true
from moorage.api.meta import Condition


class State(StrEnum):
    """How something is, as kstatus says it."""

    READY = "Ready"
    PROGRESSING = "InProgress"
    WAITING = "Waiting"
    FAILED = "Failed"
    TERMINATING = "Terminating"
    UNKNOWN = "Unknown"


@dataclass(frozen=True, slots=True)
class Node:
    """One line. `summary` is what it is, `message` what it waits for or why it failed."""

    kind: str
    name: str
    state: State
    summary: str = ""
    message: str = ""
    children: tuple[Node, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """The JSON form; empty fields are left out."""
        fields: dict[str, Any] = {"kind": self.kind, "name": self.name, "state": self.state.value}
        if self.summary:
            fields["summary"] = self.summary
        if self.message:
            fields["message"] = self.message
        if self.children:
            fields["children"] = [child.to_dict() for child in self.children]
        return fields

    def walk(self) -> Iterator[Node]:
        """This node and all below it, parents first."""
        yield self
        for child in self.children:
            yield from child.walk()


def state_of(conditions: Sequence[Condition], *, current: bool, deleting: bool = False) -> State:
    """The state that the conditions tell. `current`: they are about the present generation of the spec."""
    if deleting:
        return State.TERMINATING
    if is_true(conditions, STALLED):
        return State.FAILED
    if not current or is_true(conditions, RECONCILING):
        return State.PROGRESSING
    ready = find(conditions, READY)
    if ready is None:
        return State.UNKNOWN
    return State.READY if ready.status == "True" else State.WAITING


def why(conditions: Sequence[Condition]) -> str:
    """What a person should read first: why it is stalled, else why it is not ready. Empty when all is well."""
    for type_ in (STALLED, READY, RECONCILING):
        found = find(conditions, type_)
        if found is not None and (found.status == "True") == (type_ != READY):
            return found.message or found.reason
    return ""


def age(since: datetime, now: datetime) -> str:
    """`42s`, `7m`, `3h`, `12d`: the time since then; `0s` for a clock that runs ahead."""
    seconds = max(0, int((now - since).total_seconds()))
    for unit, size in (("d", 86400), ("h", 3600), ("m", 60)):
        if seconds >= 2 * size or (unit == "d" and seconds >= size):
            return f"{seconds // size}{unit}"
    return f"{seconds}s"
