"""Policies that only an edit can mend."""

from __future__ import annotations

from collections.abc import Iterable

from moorage.api.hostingpolicy import Reading, When
from moorage.core.policy.readings import INVALID_REASONS
from moorage.core.problems import joined


def invalid(readings: Iterable[Reading]) -> tuple[Reading, ...]:
    """The readings of conditions that are wrong themselves."""
    return tuple(reading for reading in readings if reading.reason in INVALID_REASONS)


def never_met(when: When, readings: Iterable[Reading]) -> bool:
    """Whether the policy cannot be met whatever happens, because of conditions that are wrong."""
    wrong = {reading.name for reading in invalid(readings)}
    if not wrong:
        return False
    return any(c.name in wrong for c in when.all) or (bool(when.any) and all(c.name in wrong for c in when.any))


def why_never_met(readings: Iterable[Reading]) -> str:
    """Every condition that is wrong, and why, as far as the space allows."""
    return joined(f"condition {reading.name}: {reading.message}" for reading in invalid(readings))
