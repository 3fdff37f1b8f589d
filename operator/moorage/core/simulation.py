"""A policy played against a course of events: the controllers' decisions, at the times at which they would decide.

What happens between two events is what the conditions say of themselves (`next_check`): nothing is sampled, so an edge
of a schedule or the end of a `for` is found to the second. Servers start and end at once here; a placed group moves
only by `whenUnmet: Release`. A request is asked anew at each look, with what depends on the time of it.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Final

from moorage.api.hostingpolicy import HostingPolicySpec, HostingPolicyStatus, Reading, Verdict
from moorage.api.placement import FailedOver
from moorage.api.servergroup import PolicyState
from moorage.core.failover import avoided
from moorage.core.placement import Decision, PlacementRequest, place
from moorage.core.policy import RawReading, evaluate_policy, group_verdict, may_release
from moorage.core.policy.hysteresis import settle
from moorage.core.pricing import market_price
from moorage.core.services import ServiceView
from moorage.core.timing import earliest

MOST_MOMENTS: Final = 200_000
"""How often a policy is looked at in one simulation at most."""
_TICK: Final = timedelta(seconds=1)
_HOUR: Final = timedelta(hours=1)


class TooLong(Exception):
    """The policy is looked at more often than is simulated, up to the time that is told."""

    def __init__(self, reached: datetime) -> None:
        super().__init__(f"more than {MOST_MOMENTS} looks by {reached}")
        self.reached = reached


@dataclass(frozen=True, slots=True)
class Situation:
    """What is so from a moment (aware) until the next situation. ``conditions`` are those that are told rather than
    read, by name: true, false or None for unknown; ``since`` is when each became so."""

    at: datetime
    services: tuple[ServiceView, ...]
    conditions: Mapping[str, bool | None] = field(default_factory=dict)
    since: Mapping[str, datetime] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Bounds:
    """What of a group keeps it from being placed or released. ``left`` are services that it left of late."""

    suspended: bool = False
    protected: bool = False
    left: tuple[FailedOver, ...] = ()


@dataclass(frozen=True, slots=True)
class Span:
    """A time in which nothing changes that is shown. ``price`` is for the placed group and one hour, where known."""

    start: datetime
    end: datetime
    readings: tuple[Reading, ...]
    verdict: Verdict
    message: str
    service: str | None
    price: Decimal | None
    why: str
    """Why the group is where it is, or is nowhere although the policy is met."""

    @property
    def length(self) -> timedelta:
        """How long it lasts."""
        return self.end - self.start

    @property
    def cost(self) -> Decimal:
        """What the group costs in it; nothing where it is not placed or its price is not known."""
        return Decimal(0) if self.price is None else self.price * _hours(self.length)

    def looks_like(self, other: Span) -> bool:
        """Whether there is no difference to be shown."""
        values = [(r.name, r.value) for r in self.readings]
        same = values == [(r.name, r.value) for r in other.readings]
        return same and (self.verdict, self.service, self.price) == (other.verdict, other.service, other.price)


@dataclass(frozen=True, slots=True)
class Simulated:
    """The spans, in order and without gaps, and how often the policy was looked at."""

    spans: tuple[Span, ...]
    looks: int

    @property
    def met(self) -> timedelta:
        """For how long the policy was met."""
        return _length(s for s in self.spans if s.verdict == "Met")

    @property
    def placed(self) -> timedelta:
        """For how long the group was placed."""
        return _length(s for s in self.spans if s.service is not None)

    @property
    def unpriced(self) -> timedelta:
        """For how long it was placed at a price that is not known."""
        return _length(s for s in self.spans if s.service is not None and s.price is None)

    @property
    def cost(self) -> Decimal:
        """What it cost, as far as prices are known."""
        return sum((s.cost for s in self.spans), Decimal(0))


def _length(spans: Iterable[Span]) -> timedelta:
    return sum((s.length for s in spans), timedelta(0))


def _hours(length: timedelta) -> Decimal:
    return Decimal(length // timedelta(microseconds=1)) / Decimal(_HOUR // timedelta(microseconds=1))


@dataclass(slots=True)
class _Memory:
    """What the objects' statuses remember from one look to the next."""

    status: HostingPolicyStatus = field(default_factory=HostingPolicyStatus)
    state: PolicyState | None = None
    placed: Decision | None = None
    before: str = ""


def simulate(
    spec: HostingPolicySpec,
    request: PlacementRequest,
    situations: Sequence[Situation],
    end: datetime,
    step: timedelta | None = None,
    bounds: Bounds = Bounds(),
) -> Simulated:
    """Play from the first situation's time to ``end``, looking also every ``step``.

    ``situations`` are in the order of their times. Raises TooLong.
    """
    memory = _Memory(before=request.before)
    spans: list[Span] = []
    looks = 0
    for situation, until in _stretches(situations, end):
        now = situation.at
        while now < until:
            looks += 1
            if looks > MOST_MOMENTS:
                raise TooLong(now)
            check, span = _look(spec, request, bounds, situation, now, memory)
            following = earliest(until, check, None if step is None else now + step) or until
            # What is due by now already is due again a second later at the earliest.
            following = min(until, max(following, now + _TICK))
            _append(spans, replace(span, end=following))
            now = following
    return Simulated(tuple(spans), looks)


def _stretches(situations: Sequence[Situation], end: datetime) -> Iterator[tuple[Situation, datetime]]:
    for situation, following in zip(situations, [*(s.at for s in situations[1:]), end], strict=True):
        yield situation, min(following, end)


def _append(spans: list[Span], span: Span) -> None:
    if spans and spans[-1].looks_like(span):
        spans[-1] = replace(spans[-1], end=span.end)
    else:
        spans.append(span)


def _look(
    spec: HostingPolicySpec,
    request: PlacementRequest,
    bounds: Bounds,
    situation: Situation,
    now: datetime,
    memory: _Memory,
) -> tuple[datetime | None, Span]:
    readings, check = _read(spec, request, situation, now, memory)
    memory.status = HostingPolicyStatus(readings=readings, next_check_time=check)
    state = memory.state = group_verdict("policy", spec.when, readings, memory.state, now)
    why = ""
    unmet = state.verdict == "Unmet" and spec.when_unmet == "Release" and not bounds.protected
    if bounds.suspended:
        why = "suspend is set: the group is not placed"
    elif memory.placed is not None and unmet and may_release(spec.when, readings):
        memory.placed = None
    elif memory.placed is None and state.verdict == "Met":
        decision = place(_at(request, bounds, now, memory), spec.select, situation.services)
        memory.placed, why = (None if decision.chosen is None else decision), decision.message
        memory.before = memory.before if decision.chosen is None else decision.chosen.uid
        if decision.chosen is None:
            check = earliest(check, *_ends(request, bounds, now))
    placed = memory.placed
    if placed is not None and placed.chosen is not None:
        service, price, why = placed.chosen.name, _price(request, placed, situation.services), placed.message
    else:
        service, price = None, None
    return check, Span(now, now, readings, state.verdict, state.message, service, price, why)


def _at(request: PlacementRequest, bounds: Bounds, now: datetime, memory: _Memory) -> PlacementRequest:
    """The request as the controller makes it at that time."""
    room = request.exhaustion
    return replace(
        request,
        now=now,
        before=memory.before,
        exhaustion=None if room is None else replace(room, now=now),
        avoided=avoided(bounds.left, None, now),
    )


def _ends(request: PlacementRequest, bounds: Bounds, now: datetime) -> Iterator[datetime]:
    """When what keeps a service from being chosen is over by itself."""
    ends = [entry.until for entry in bounds.left]
    ends += [] if request.exhaustion is None else [entry.until for entry in request.exhaustion.entries]
    yield from (end for end in ends if end > now)


def _read(
    spec: HostingPolicySpec, request: PlacementRequest, situation: Situation, now: datetime, memory: _Memory
) -> tuple[tuple[Reading, ...], datetime | None]:
    """Every condition, with hysteresis: those that are told, and those that the policy reads itself."""
    result = evaluate_policy(spec, situation.services, memory.status, now, request.namespace_labels)
    before = {r.name: r for r in memory.status.readings}
    found = {r.name: r for r in result.readings}
    check = earliest(result.next_check, result.look_again)
    for condition in spec.when.conditions:
        if condition.name in situation.conditions:
            raw = _told(situation.conditions[condition.name], situation.since.get(condition.name, situation.at))
            settled = settle(condition, raw, before.get(condition.name), now)
            found[condition.name] = settled.reading
            check = earliest(check, settled.next_check)
    return tuple(found.values()), check


def _told(holds: bool | None, since: datetime) -> RawReading:
    if holds is None:
        return RawReading("Unknown", "Unknown", "unknown in the series", since)
    word = "true" if holds else "false"
    return RawReading("Met" if holds else "Unmet", word.capitalize(), f"{word} in the series", since, exact=True)


def _price(request: PlacementRequest, placed: Decision, services: Iterable[ServiceView]) -> Decimal | None:
    """What the placed group costs for an hour now: its offerings, and whether they may be taken back, are those of its
    placement; their prices are not."""
    name = None if placed.chosen is None else placed.chosen.name
    view = next((s for s in services if s.name == name), None)
    offerings = {} if view is None else {o.name: o for o in view.offerings}
    total = Decimal(0)
    for member in request.members:
        made_of = placed.members[member.name]
        offering = offerings.get(made_of.offering.name)
        price = None if offering is None else market_price(offering, made_of.interruptible)
        if price is None:
            return None
        total += member.count * price
    return total
