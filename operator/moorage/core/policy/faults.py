"""Policies that only an edit can mend."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Set
from dataclasses import dataclass
from typing import Final

from moorage.api.hostingpolicy import MAX_CONDITIONS, Reading, When
from moorage.core.policy.readings import DUPLICATE_NAME, INVALID_REASONS, TOO_LONG, TOO_MANY, RawReading
from moorage.core.policy.verdict import All, AnyOf, Node, Not, tree
from moorage.core.problems import joined

MAX_EXPRESSIONS: Final = 16384
"""Characters of all expressions of a policy's conditions: compiling them takes up to 50 ms for 4,096, all at once."""


def invalid(readings: Iterable[Reading]) -> tuple[Reading, ...]:
    """The readings of conditions that are wrong themselves."""
    return tuple(reading for reading in readings if reading.reason in INVALID_REASONS)


def overlong(when: When) -> frozenset[str]:
    """The conditions whose expressions are not even compiled, because all of the policy's together are too long."""
    texts = [(c.name, e.expression) for c in when.conditions if (e := c.service or c.resource) is not None]
    if sum(len(text) for _, text in texts) <= MAX_EXPRESSIONS:
        return frozenset()
    return frozenset(name for name, _ in texts)


def structural_faults(when: When) -> dict[str, RawReading]:
    """The readings of conditions that cannot be told apart, or of all where there are too many or too long ones."""
    counts = Counter(condition.name for condition in when.conditions)
    if counts.total() > MAX_CONDITIONS:
        message = f"the policy has {counts.total()} conditions; write at most {MAX_CONDITIONS}, or several policies"
        return dict.fromkeys(counts, RawReading("Unknown", TOO_MANY, message))
    most = f"have more than {MAX_EXPRESSIONS:,} characters; shorten them, or use several policies"
    long = RawReading("Unknown", TOO_LONG, f"the expressions of the policy's conditions together {most}")
    message = "several conditions of the policy have this name; write a name of its own for each"
    double = RawReading("Unknown", DUPLICATE_NAME, message)
    return {**dict.fromkeys(overlong(when), long), **{name: double for name, n in counts.items() if n > 1}}


def never_met(when: When, readings: Iterable[Reading]) -> bool:
    """Whether the policy cannot be met whatever happens, because of conditions that are wrong: those stay unknown.

    Exact: the other conditions do not depend on one another, and each stands in one place of the tree.
    """
    found = invalid(readings)
    wrong = {reading.name for reading in found}
    if any(reading.reason == TOO_MANY for reading in found):
        return True
    return bool(wrong) and not _reach(tree(when), wrong).met


@dataclass(frozen=True, slots=True)
class _Reach:
    """Which verdicts a part of the tree can have."""

    met: bool
    unmet: bool


def _reach(node: Node, wrong: Set[str]) -> _Reach:
    match node:
        case str():
            return _Reach(node not in wrong, node not in wrong)
        case Not(part=part):
            inner = _reach(part, wrong)
            return _Reach(met=inner.unmet, unmet=inner.met)
        case All(parts=parts):
            those = [_reach(p, wrong) for p in parts]
            return _Reach(bool(those) and all(p.met for p in those), any(p.unmet for p in those))
        case AnyOf(parts=parts):
            those = [_reach(p, wrong) for p in parts]
            return _Reach(any(p.met for p in those), bool(those) and all(p.unmet for p in those))


def why_never_met(readings: Iterable[Reading]) -> str:
    """Every condition that is wrong, and why, as far as the space allows."""
    return joined(f"condition {reading.name}: {reading.message}" for reading in invalid(readings))
