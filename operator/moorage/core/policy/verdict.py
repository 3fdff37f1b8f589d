"""The verdict: what the readings of a policy's conditions say together, in Kleene's three-valued logic.

Unknown decides nothing: `all` is unmet as soon as one condition is unmet and `any` is met as soon as one is met,
whatever is unknown beside it; otherwise an unknown condition makes the whole unknown. `not` exchanges met and unmet.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from moorage.api.hostingpolicy import Clause, Entry, Part, PolicyCondition, Reading, Verdict, When


@dataclass(frozen=True, slots=True)
class All:
    """Met when every part is."""

    parts: tuple[Node, ...]


@dataclass(frozen=True, slots=True)
class AnyOf:
    """Met when one part is."""

    parts: tuple[Node, ...]


@dataclass(frozen=True, slots=True)
class Not:
    """Met when its part is unmet, and unmet when it is met."""

    part: Node


Node = All | AnyOf | Not | str
"""A combination, or the name of a condition."""


@dataclass(frozen=True, slots=True)
class Decided:
    """The verdict, the names of the conditions that decide it, and a sentence that names them and why."""

    verdict: Verdict
    deciding: tuple[str, ...]
    message: str


def tree(when: When) -> Node:
    """The combination that `when` stands for: all of `all` and, where there are some, one of `any`."""
    parts = [_node(entry) for entry in when.all]
    if when.any:
        parts.append(AnyOf(tuple(_node(entry) for entry in when.any)))
    return All(tuple(parts))


def _node(clause: Clause) -> Node:
    match clause:
        case Entry(not_=PolicyCondition(name=name)) | Part(not_=PolicyCondition(name=name)):
            return Not(name)
        case Entry(all=parts) if parts:
            return All(tuple(_node(part) for part in parts))
        case Entry(any=parts) if parts:
            return AnyOf(tuple(_node(part) for part in parts))
        case _:
            return clause.name or All(())


def decide(node: Node, readings: Mapping[str, Reading]) -> Decided:
    """The verdict of `node`. A condition without a reading is Unknown, and so is an empty combination."""
    verdict, deciding = _decide(node, readings)
    if not deciding:
        return Decided("Unknown", (), "a part of the policy has no condition; give it one in spec.when")
    explained = "; ".join(dict.fromkeys(_explain(literal, readings) for literal in deciding))
    return Decided(verdict, tuple(dict.fromkeys(name for name, _ in deciding)), f"{verdict.lower()}: {explained}")


_Literal = tuple[str, bool]
"""The name of a condition, and whether it counts as it is or by its opposite."""
_OPPOSITE: Mapping[Verdict, Verdict] = {"Met": "Unmet", "Unmet": "Met", "Unknown": "Unknown"}


def _decide(node: Node, readings: Mapping[str, Reading]) -> tuple[Verdict, list[_Literal]]:
    match node:
        case str():
            reading = readings.get(node)
            return ("Unknown" if reading is None else reading.value), [(node, True)]
        case Not(part=part):
            verdict, deciding = _decide(part, readings)
            return _OPPOSITE[verdict], [(name, not straight) for name, straight in deciding]
        case All(parts=parts):
            return _combine([_decide(p, readings) for p in parts], decisive="Unmet", otherwise="Met")
        case AnyOf(parts=parts):
            return _combine([_decide(p, readings) for p in parts], decisive="Met", otherwise="Unmet")


def _combine(
    decided: list[tuple[Verdict, list[_Literal]]], *, decisive: Verdict, otherwise: Verdict
) -> tuple[Verdict, list[_Literal]]:
    """One decisive part decides; else an unknown one; else all of them together. An empty part is unknown."""
    for verdict in (decisive, "Unknown", otherwise):
        found = [(value, deciding) for value, deciding in decided if value == verdict]
        if found:
            return verdict, [literal for _, deciding in found for literal in deciding]
    return "Unknown", []


def _explain(literal: _Literal, readings: Mapping[str, Reading]) -> str:
    name, straight = literal
    reading = readings.get(name)
    if reading is None:
        return f"{name} was not read yet"
    shown = name if straight else f"not {name}"
    return f"{shown} ({reading.message})" if reading.message else shown
