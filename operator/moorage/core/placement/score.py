"""How well services that can take a group suit it: the weighted mean of their scores in the views that count."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import gcd

from moorage.api.selection import Select
from moorage.core.placement.views import ORDER, Feasible, Field, View, ViewName, build, stickiness


@dataclass(frozen=True, slots=True)
class Scored:
    """A feasible service with its score in each view and the weighted mean of those."""

    candidate: Feasible
    views: Mapping[ViewName, float]
    score: float

    @property
    def by_score(self) -> tuple[float, str]:
        """Sorts by score alone, the best first."""
        return -self.score, self.candidate.service.name


@dataclass(frozen=True, slots=True)
class Ranking:
    """The candidates, best first, and by what they were compared; ``idle`` views decided nothing."""

    scored: Sequence[Scored]
    views: Sequence[View]
    idle: Sequence[View]


def rank(among: Field, select: Select) -> Ranking:
    """Those with room for the most that the group may be scaled to come first, then by score, equal scores by name.

    A placed group stays where it is: on a service that is too small it could never become what it is allowed to be.
    Neither the order of candidates nor that of preferences matters.
    """
    asked = sorted((p for p in select.preferences if p.weight), key=lambda p: ORDER.index(p.by))
    views = [build(preference, among) for preference in asked]
    if select.stickiness and among.before:
        views.append(stickiness(select.stickiness, among))
    used = [view for view in views if not view.idle]
    # Without their common divisor, so that weights in one proportion give one score to the last bit.
    divisor = gcd(*(view.weight for view in used)) or 1
    weights = [view.weight // divisor for view in used]
    total = sum(weights)
    scored = []
    for candidate in among.candidates:
        name = candidate.service.name
        found = {view.name: view.scores[name] for view in used}
        mean = sum(w * s for w, s in zip(weights, found.values(), strict=True)) / total if total else 0.0
        scored.append(Scored(candidate, found, mean))
    scored.sort(key=lambda s: (not s.candidate.holds_most, *s.by_score))
    return Ranking(scored, used, [view for view in views if view.idle])
