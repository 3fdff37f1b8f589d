"""How well services that can take a group suit it: 0 to 100 in each view, and the weighted mean.

- price: 100 for the cheapest, else in proportion (twice the price, half the score); 0 where a price is not known.
- capacity: the share of room that is left when the group is there, counted against what the group needs: no room left
  is 0, as much again as the group needs is 50, nine times as much is 90, no bound is 100.
- spread: 100 where the fewest servers of the policy's groups are, else in proportion to that number plus one.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal

from moorage.api.hostingpolicy import Preference, Preferred
from moorage.core.placement.member import MemberTemplate
from moorage.core.services import ServiceView

VIEWS: tuple[Preferred, ...] = ("Price", "Capacity", "Spread")


@dataclass(frozen=True, slots=True)
class Feasible:
    """A service that can take the group, with its members resolved. ``price`` is for all servers and one hour."""

    service: ServiceView
    members: Mapping[str, MemberTemplate]
    price: Decimal | None
    needed: int
    beside: int
    """Servers of the policy's other groups on it."""


@dataclass(frozen=True, slots=True)
class Scored:
    """A feasible service with its score in each view and the weighted mean of those that the policy prefers."""

    candidate: Feasible
    views: Mapping[Preferred, float]
    score: float


def rank(candidates: Sequence[Feasible], preferences: Sequence[Preference]) -> list[Scored]:
    """The candidates, best first; equal scores by name. The order of ``candidates`` does not matter."""
    cheapest = min((c.price for c in candidates if c.price is not None), default=None)
    fewest = min((c.beside for c in candidates), default=0)
    weights = {view: sum(p.weight for p in preferences if p.by == view) for view in VIEWS}
    total = sum(weights.values())
    scored = []
    for candidate in candidates:
        views: dict[Preferred, float] = {
            "Price": _price(candidate.price, cheapest),
            "Capacity": _capacity(candidate.service.room, candidate.needed),
            "Spread": 100 * (1 + fewest) / (1 + candidate.beside),
        }
        score = sum(weights[view] * views[view] for view in VIEWS) / total if total else 0.0
        scored.append(Scored(candidate, views, score))
    return sorted(scored, key=lambda s: (-s.score, s.candidate.service.name))


def _price(price: Decimal | None, cheapest: Decimal | None) -> float:
    if price is None or cheapest is None:
        return 0.0
    return 100.0 if price == cheapest else float(100 * cheapest / price)


def _capacity(room: int | None, needed: int) -> float:
    if room is None:
        return 100.0
    left = max(0, room - needed)
    return 100 * left / (left + max(1, needed))
