"""Choosing the hosting service for a group: filter, rank, explain."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Final

from moorage.api.hostingpolicy import Preferred, Select
from moorage.api.servergroup import Candidate, Scores
from moorage.api.virtualserverconfig import VirtualServerConfigSpec
from moorage.core.exhaustion import Exhaustion
from moorage.core.placement.explain import explain, explain_none, price_text
from moorage.core.placement.filters import cannot_retain, lacks_room, reject
from moorage.core.placement.member import MemberTemplate, first_with_room, resolve_turns
from moorage.core.placement.reasons import ORDER, Reason, Rejection
from moorage.core.placement.score import Feasible, Scored, rank
from moorage.core.services import ServiceView

MAX_CANDIDATES: Final = 20
_TEXT: Final = 1024


@dataclass(frozen=True, slots=True)
class MemberRequest:
    """A member of the group: ``count`` servers of ``config``. A member of 0 servers must be possible all the same."""

    name: str
    count: int
    config: VirtualServerConfigSpec


@dataclass(frozen=True, slots=True)
class PlacementRequest:
    """A group that needs a service. ``beside`` counts the servers of the policy's other groups, by service name;
    ``exhaustion`` is what turned out to have no room for it; ``retains``: its servers are to outlive it."""

    namespace: str
    namespace_labels: Mapping[str, str]
    members: tuple[MemberRequest, ...]
    beside: Mapping[str, int] = field(default_factory=dict)
    exhaustion: Exhaustion | None = None
    retains: bool = False
    avoided: Mapping[str, str] = field(default_factory=dict)
    """Services that are not chosen because the group left them, or is to leave them: why, by uid."""

    @property
    def needed(self) -> int:
        """How many servers the group needs."""
        return sum(m.count for m in self.members)


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
    feasible: list[Feasible] = []
    rejected: list[tuple[str, Rejection]] = []
    for service in services:
        examined = examine(request, select, service)
        if isinstance(examined, Rejection):
            rejected.append((service.name, examined))
        else:
            feasible.append(examined)
    ranked = rank(feasible, select.preferences)
    # Those that came furthest first: they are the ones that a person can do something about.
    rejected.sort(key=lambda r: (-ORDER[r[1].reason], r[0]))
    counts = dict(sorted(Counter(r.word for _, r in rejected).items()))
    candidates = [_shown(s, request, select) for s in ranked[:MAX_CANDIDATES]]
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
        message=explain(ranked, rejected, select.preferences)[:_TEXT],
    )


def examine(request: PlacementRequest, select: Select, service: ServiceView) -> Feasible | Rejection:
    """Whether ``service`` can take the group, and with what; or the first reason why it cannot."""
    rejection = reject(select, request.namespace, request.namespace_labels, service)
    if rejection is None and request.retains:
        rejection = cannot_retain(service)
    if rejection is not None:
        return rejection
    if service.uid in request.avoided:
        return Rejection(Reason.LEFT, request.avoided[service.uid])
    members: dict[str, MemberTemplate] = {}
    for member in request.members:
        template = _template(request, member, select, service)
        if isinstance(template, Rejection):
            return Rejection(template.reason, f"member {member.name}: {template.detail}")
        members[member.name] = template
    rejection = lacks_room(service, request.needed)
    if rejection is not None:
        return rejection
    beside = request.beside.get(service.name, 0)
    return Feasible(service, members, _price(request, members), request.needed, beside)


def _template(
    request: PlacementRequest, member: MemberRequest, select: Select, service: ServiceView
) -> MemberTemplate | Rejection:
    turns = resolve_turns(member.config, service, select.requirements)
    if isinstance(turns, Rejection):
        return turns
    if request.exhaustion is None:
        return turns[0]
    return first_with_room(turns, service.uid, service.type, request.exhaustion)


def _price(request: PlacementRequest, members: Mapping[str, MemberTemplate]) -> Decimal | None:
    total = Decimal(0)
    for member in request.members:
        price = members[member.name].price
        if price is None:
            return None
        total += member.count * price
    return total


def _shown(scored: Scored, request: PlacementRequest, select: Select) -> Candidate:
    """A feasible candidate for status: its scores in the views that the policy prefers, and what they come from."""
    service = scored.candidate.service
    facts: dict[Preferred, str] = {
        "Price": f"price {price_text(scored.candidate.price)}",
        "Capacity": f"room for {'any number' if service.room is None else service.room}, needs {request.needed}",
        "Spread": f"servers of the policy's other groups: {scored.candidate.beside}",
    }
    used = {p.by for p in select.preferences if p.weight}
    views = {view: round(value, 1) for view, value in scored.views.items() if view in used}
    return Candidate(
        service=service.name,
        feasible=True,
        score=round(scored.score, 1),
        scores=Scores(price=views.get("Price"), capacity=views.get("Capacity"), spread=views.get("Spread")),
        reasons=tuple(fact for view, fact in facts.items() if view in used),
    )
