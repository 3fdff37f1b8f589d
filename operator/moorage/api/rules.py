"""Rules that the API server checks at admission: what is wrong, and what to write instead."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

VALIDATIONS = "x-kubernetes-validations"
REMEDY = "x-moorage-remedy"
"""Marks a field whose pattern and bounds become one rule, with this problem and remedy."""

REPEATED = "x-moorage-repeated"
"""Marks a field whose inner fields are described where they stand first: a CRD is bounded in size."""


@dataclass(frozen=True, slots=True)
class Rule:
    """A CEL expression over `self` (and `oldSelf`) that must hold."""

    cel: str
    problem: str
    """What is wrong when it does not hold."""
    remedy: str
    """What to write instead; starts with `write`."""
    field: str = ""
    """The field within the object to point at, such as `.replicas`; default: the object."""

    @property
    def message(self) -> str:
        """What the API server answers."""
        return f"{self.problem}; {self.remedy}"

    def to_schema(self) -> dict[str, Any]:
        """The entry of `x-kubernetes-validations`."""
        entry: dict[str, Any] = {"rule": self.cel, "message": self.message}
        if self.field:
            entry["fieldPath"] = self.field
        return entry


def rules(*those: Rule) -> dict[str, Any]:
    """The schema extension that holds `those`, for a single field."""
    return {VALIDATIONS: [rule.to_schema() for rule in those]}


def remedy(problem: str, remedy: str) -> dict[str, Any]:
    """The schema extension that words a violation of the field's pattern or bounds."""
    return {REMEDY: {"problem": problem, "remedy": remedy}}


def exactly_one(fields: Iterable[str], remedy: str, what: str) -> Rule:
    """Exactly one of the optional `fields` must be there."""
    names = tuple(fields)
    listing = spoken(names)
    count = " + ".join(f"(has(self.{escape(name)}) ? 1 : 0)" for name in names)
    return Rule(f"{count} == 1", f"{what} needs exactly one of {listing}", remedy)


def spoken(names: Iterable[str]) -> str:
    """`a, b and c`."""
    *first, last = names
    return f"{', '.join(first)} and {last}" if first else last


def immutable(field: str, optional: bool) -> str:
    """The expression that `field` of an object stays as it was, absence included."""
    name = escape(field)
    same = f"self.{name} == oldSelf.{name}"
    return f"has(self.{name}) == has(oldSelf.{name}) && (!has(self.{name}) || {same})" if optional else same


def unique(field: str, what: str, remedy: str, *, optional: bool = False) -> dict[str, Any]:
    """The schema extension of a list whose objects must differ in `field`, where they have it."""
    only = f"!has(x.{field}) || " if optional else ""
    also = f"has(y.{field}) && " if optional else ""
    each = f"self.all(x, {only}self.exists_one(y, {also}y.{field} == x.{field}))"
    return rules(Rule(each, f"two {what} have one {field}", remedy))


_RESERVED = frozenset({"as", "else", "for", "function", "if", "import", "in", "let", "loop", "namespace", "package"})


def escape(name: str) -> str:
    """The name of a property in CEL, where some words are reserved."""
    return f"__{name}__" if name in _RESERVED else name
