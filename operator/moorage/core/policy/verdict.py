"""The verdict: what the readings of a policy's conditions say together, in Kleene's three-valued logic.

Unknown decides nothing: `all` is unmet as soon as one condition is unmet and `any` is met as soon as one is met,
whatever is unknown beside it; otherwise an unknown condition makes the whole unknown.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from moorage.api.hostingpolicy import Reading, Verdict, When

UNKNOWN_CONDITION: Final = "NotRead"


@dataclass(frozen=True, slots=True)
class All:
    """Met when every part is."""

    parts: tuple[Node, ...]


@dataclass(frozen=True, slots=True)
class AnyOf:
    """Met when one part is."""

    parts: tuple[Node, ...]


Node = All | AnyOf | str
"""A combination, or the name of a condition."""


@dataclass(frozen=True, slots=True)
class Decided:
    """The verdict, the names of the conditions that decide it, and a sentence that names them and why."""

    verdict: Verdict
    deciding: tuple[str, ...]
    message: str


def tree(when: When) -> Node:
    """The combination that `when` stands for: all of `all` and, where there are some, one of `any`."""
    parts: list[Node] = [c.name for c in when.all]
    if when.any:
        parts.append(AnyOf(tuple(c.name for c in when.any)))
    return All(tuple(parts))


def decide(node: Node, readings: Mapping[str, Reading]) -> Decided:
    """The verdict of `node`. A condition without a reading is Unknown, and so is an empty combination."""
    verdict, deciding = _decide(node, readings)
    names = tuple(dict.fromkeys(deciding))
    if not names:
        return Decided("Unknown", (), "the policy has no condition; give it one in spec.when")
    return Decided(verdict, names, f"{verdict.lower()}: " + "; ".join(_explain(n, readings) for n in names))


def _decide(node: Node, readings: Mapping[str, Reading]) -> tuple[Verdict, list[str]]:
    match node:
        case str():
            reading = readings.get(node)
            return ("Unknown" if reading is None else reading.value), [node]
        case All(parts=parts):
            return _combine([_decide(p, readings) for p in parts], decisive="Unmet", otherwise="Met")
        case AnyOf(parts=parts):
            return _combine([_decide(p, readings) for p in parts], decisive="Met", otherwise="Unmet")


def _combine(
    decided: list[tuple[Verdict, list[str]]], *, decisive: Verdict, otherwise: Verdict
) -> tuple[Verdict, list[str]]:
    """One decisive part decides; else an unknown one; else all of them together."""
    for verdict in (decisive, "Unknown", otherwise):
        names = [name for value, deciding in decided if value == verdict for name in deciding]
        if names:
            return verdict, names
    return "Unknown", []


def _explain(name: str, readings: Mapping[str, Reading]) -> str:
    reading = readings.get(name)
    if reading is None:
        return f"{name} was not read yet"
    return f"{name} ({reading.message})" if reading.message else name
