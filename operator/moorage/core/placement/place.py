"""Choosing the hosting service for a group: filter, rank, explain."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from decimal import Decimal
from typing import Final

from moorage.api.placement import Candidate, Scores
from moorage.api.selection import Select
from moorage.api.virtualserverconfig import VirtualServerConfigSpec
from moorage.core.ceilings import Ceiling
from moorage.core.exhaustion import Exhaustion
from moorage.core.placement.ceiling import above_ceiling
from moorage.core.placement.explain import explain, explain_none, lacks_growth
from moorage.core.placement.expression import Seen
from moorage.core.placement.filters import Expressions, Filter, age_text, cannot_retain, lacks_room
from moorage.core.placement.member import (
    MemberTemplate,
    Spot,
    SpotSettings,
    first_with_room,
    no_spot,
    resolve_member,
    resolve_turns,
)
from moorage.core.placement.reasons import ORDER, Reason, Rejection
from moorage.core.placement.score import Ranking, Scored, rank
from moorage.core.placement.views import Feasible, Field
from moorage.core.services import ServiceView

MAX_CANDIDATES: Final = 20
_TEXT: Final = 1024


@dataclass(frozen=True, slots=True)
class MemberRequest:
    """A member of the group: ``count`` servers of ``config``. A member of 0 servers must be possible all the same.

    ``most`` is how many it may come to have by being scaled; None: no more than now.
    """

    name: str
    count: int
    config: VirtualServerConfigSpec
    most: int | None = None


@dataclass(frozen=True, slots=True)
class PlacementRequest:
    """A group that needs a service. ``beside`` counts the servers of the policy's other groups, by service name;
    ``exhaustion`` is what turned out to have no room for it; ``retains``: its servers are to outlive it; ``now`` is
    needed where the policy bounds the age of data; ``before`` is the uid of the service of its last placement;
    ``spot_settings`` how backends are asked for servers that may be taken back; ``ceilings`` bound what it may cost."""

    namespace: str
    namespace_labels: Mapping[str, str]
    members: tuple[MemberRequest, ...]
    beside: Mapping[str, int] = field(default_factory=dict)
    exhaustion: Exhaustion | None = None
    retains: bool = False
    now: datetime | None = None
    before: str = ""
    spot_settings: SpotSettings = no_spot
    ceilings: tuple[Ceiling, ...] = ()
    avoided: Mapping[str, str] = field(default_factory=dict)
    """Services that are not chosen because the group left them, or is to leave them: why, by uid."""

    @property
    def needed(self) -> int:
        """How many servers the group needs."""
        return sum(m.count for m in self.members)

    @property
    def most(self) -> int:
        """How many servers it may come to have."""
        return sum(max(m.count, m.most or 0) for m in self.members)


@dataclass(frozen=True, slots=True)
class Decision:
    """The outcome: ``chosen`` (None: no service can take the group) with each member's template there.

    ``candidates`` are the best 20 for status, feasible ones first; ``rejected`` counts the services that cannot take
    the group, by reason; ``message`` explains the choice in a sentence. ``price`` is for the whole group and one hour.
    """

    chosen: ServiceView | None
    members: Mapping[str, MemberTemplate]
    score: float | None
    price: Decimal | None
    candidates: tuple[Candidate, ...]
    rejected: Mapping[str, int]
    message: str


def place(request: PlacementRequest, select: Select, services: Iterable[ServiceView]) -> Decision:
    """Choose the service for a group.

    Deterministic: the same services in any order give the same decision, and a service that cannot take the group
    changes nothing but the counts and the explanation.
    """
    every = list(services)
    screen = Filter(select, request.namespace, request.namespace_labels, request.now)
    left: list[ServiceView] = []
    feasible: list[Feasible] = []
    rejected: list[tuple[str, Rejection]] = []
    for service in every:
        rejection = screen.reject(service)
        if rejection is None and request.retains:
            rejection = cannot_retain(service)
        if rejection is None and service.uid in request.avoided:
            rejection = Rejection(Reason.LEFT, request.avoided[service.uid])
        if rejection is None:
            left.append(service)
        else:
            rejected.append((service.name, rejection))
    # Only those that are left count for what expressions may cost.
    seen = Seen(left)
    expressions = Expressions(select, seen)
    for service in left:
        examined = expressions.reject(service) or _examine(request, select, service)
        if isinstance(examined, Rejection):
            rejected.append((service.name, examined))
        else:
            feasible.append(examined)
    labels = {s.name: s.labels for s in every if s.name in request.beside}
    able = Seen([f.service for f in feasible], seen)
    ranking = rank(Field(feasible, able, request.beside, labels, request.before), select)
    ranked = ranking.scored
    # Those that came furthest first: they are the ones that a person can do something about.
    rejected.sort(key=lambda r: (-ORDER[r[1].reason], r[0]))
    counts = dict(sorted(Counter(r.word for _, r in rejected).items()))
    candidates = [_shown(s, request, ranking) for s in ranked[:MAX_CANDIDATES]]
    candidates += [
        Candidate(service=name, feasible=False, reasons=(str(why)[:_TEXT],))
        for name, why in rejected[: MAX_CANDIDATES - len(candidates)]
    ]
    if not ranked:
        return Decision(None, {}, None, None, tuple(candidates), counts, explain_none(rejected)[:_TEXT])
    best = ranked[0]
    return Decision(
        chosen=best.candidate.service,
        members=best.candidate.members,
        score=round(best.score, 1),
        price=best.candidate.price,
        candidates=tuple(candidates),
        rejected=counts,
        message=explain(ranking, rejected)[:_TEXT],
    )


def _examine(request: PlacementRequest, select: Select, service: ServiceView) -> Feasible | Rejection:
    """Whether ``service`` can take the group, and with what; or the first reason why it cannot."""
    members: dict[str, MemberTemplate] = {}
    for member in request.members:
        template = _template(request, member, select, service)
        if isinstance(template, Rejection):
            return Rejection(template.reason, f"member {member.name}: {template.detail}")
        members[member.name] = template
    rejection = lacks_room(service, request.needed) or above_ceiling(
        request.ceilings, service, ((m.count, members[m.name]) for m in request.members)
    )
    if rejection is not None:
        return rejection
    beside = request.beside.get(service.name, 0)
    return Feasible(service, members, _price(request, members), request.needed, request.most, beside)


def _template(
    request: PlacementRequest, member: MemberRequest, select: Select, service: ServiceView
) -> MemberTemplate | Rejection:
    spot = Spot(select.spot, request.spot_settings)
    exhaustion = request.exhaustion
    if exhaustion is None or not exhaustion.concerns(service.uid):
        return resolve_member(member.config, service, select.requirements, spot)
    turns = resolve_turns(member.config, service, select.requirements, spot)
    return turns if isinstance(turns, Rejection) else first_with_room(turns, service.uid, service.type, exhaustion)


def _price(request: PlacementRequest, members: Mapping[str, MemberTemplate]) -> Decimal | None:
    total = Decimal(0)
    for member in request.members:
        price = members[member.name].price
        if price is None:
            return None
        total += member.count * price
    return total


def _shown(scored: Scored, request: PlacementRequest, ranking: Ranking) -> Candidate:
    """A feasible candidate for status: its scores in the views that count, and what they come from."""
    candidate = scored.candidate
    reasons = [view.detail(candidate) for view in (*ranking.views, *ranking.idle)]
    if not candidate.holds_most:
        reasons.append(lacks_growth(candidate))
    lent = ", ".join(name for name, member in candidate.members.items() if member.interruptible)
    if lent:
        reasons.append(f"may be taken back: {lent}")
    if request.now is not None and candidate.service.data_at is not None:
        reasons.append(f"offerings {age_text(request.now - candidate.service.data_at)} old")
    return Candidate(
        service=candidate.service.name,
        feasible=True,
        score=round(scored.score, 1),
        scores=Scores.model_validate({_snake(view): round(value, 1) for view, value in scored.views.items()}),
        reasons=tuple(reason[:_TEXT] for reason in reasons),
    )


def _snake(view: str) -> str:
    return "".join(f"_{c.lower()}" if c.isupper() else c for c in view).lstrip("_")
