"""How often services are asked about themselves, which follows from what policies allow."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, Final

from moorage.api.quantities import parse_duration

LONGEST: Final = timedelta(hours=1)
SHORTEST: Final = timedelta(minutes=1)


@dataclass(frozen=True, slots=True)
class Freshness:
    """``every`` is the time between two questions; ``spot``: spot prices are asked for, too."""

    every: timedelta = LONGEST
    spot: bool = False


def wanted(spec: Any) -> Freshness:
    """What one policy needs: twice within the age that it allows, so that a lost answer makes nothing too old."""
    select = (spec or {}).get("select") or {}
    spot = select.get("spot", "Never") != "Never"
    age = select.get("maxDataAge")
    return Freshness(LONGEST if age is None else min(LONGEST, max(SHORTEST, parse_duration(age) / 2)), spot)


def freshness(policies: Iterable[Any]) -> Freshness:
    """What the most demanding of the policies (their specs) needs."""
    found = [wanted(spec) for spec in policies]
    return Freshness(min((f.every for f in found), default=LONGEST), any(f.spot for f in found))
