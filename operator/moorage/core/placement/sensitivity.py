"""What would change the choice: the same placement, asked again with one fact changed.

No rule of the ranking is repeated here. A sentence is told only where `place` itself, given the changed services or
the changed policy, decides what it says; prices and rooms are found by bisection on it. Compared are the candidates of
the decision, twenty at most, so that the price of the sentences does not grow with the number of services.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from decimal import ROUND_CEILING, ROUND_FLOOR, ROUND_HALF_EVEN, Decimal
from typing import Final

from moorage.api.hostingpolicy import Select
from moorage.api.hostingservice import Offering
from moorage.core.placement.place import Decision, PlacementRequest, place
from moorage.core.placement.reasons import Reason
from moorage.core.placement.views import price_text
from moorage.core.services import EVERY, ServiceView

MAX_STATEMENTS: Final = 5
TEXT_LENGTH: Final = 256
_REJECTED: Final = 3
_ASKED: Final = 3
"""Among how many of the best a limit is looked for; the choice among all candidates is asked only whether it holds."""
_HALVINGS: Final = 20
_DIGITS: Final = 4
_MOST_ROOM: Final = 1 << 20
_DOUBLINGS: Final = 10
_LITTLE: Final = Decimal("1e-6")
_NEAR: Final = Decimal("1e-4")


@dataclass(frozen=True, slots=True)
class _Question:
    """A placement, and what it is made from. ``few`` are the services among which thresholds are looked for."""

    request: PlacementRequest
    select: Select
    services: Mapping[str, ServiceView]
    few: Mapping[str, ServiceView]

    def chosen(self, changed: ServiceView, *, among_all: bool = False) -> str | None:
        """Which service would be chosen with one of them changed."""
        services = {**(self.services if among_all else self.few), changed.name: changed}
        chosen = place(self.request, self.select, services.values()).chosen
        return None if chosen is None else chosen.name

    def wins(self, changed: ServiceView) -> bool:
        """Whether the changed service would be chosen among all."""
        return self.chosen(changed) == changed.name == self.chosen(changed, among_all=True)


def what_would_change(
    request: PlacementRequest, select: Select, services: Iterable[ServiceView], decision: Decision
) -> tuple[str, ...]:
    """Up to five sentences, each about one fact that would lead to another choice than ``decision``.

    ``decision`` has to be what `place` decides for the other arguments.
    """
    names = {candidate.service for candidate in decision.candidates}
    looked_at = {service.name: service for service in services if service.name in names}
    feasible = [looked_at[c.service] for c in decision.candidates if c.feasible]
    question = _Question(request, select, looked_at, _few(feasible))
    told: list[str] = []
    for second in feasible[1:2]:
        told += _would_win(question, second, _price(question, second))
        told += _would_lose(question, feasible[0], _price(question, feasible[0]))
    for candidate in [c for c in decision.candidates if not c.feasible][:_REJECTED]:
        told += _would_be_taken(question, looked_at[candidate.service], " ".join(candidate.reasons), decision)
    return tuple(text[:TEXT_LENGTH] for text in told[:MAX_STATEMENTS])


def _few(feasible: Sequence[ServiceView]) -> dict[str, ServiceView]:
    """Those that came out best, and the cheapest, by whose price others are measured."""
    priced = sorted((s for s in feasible if s.min_price is not None), key=lambda s: (s.min_price or 0, s.name))
    return {s.name: s for s in (*feasible[:_ASKED], *priced[:2])}


def _price(question: _Question, service: ServiceView) -> Decimal | None:
    """What the whole group costs there for an hour."""
    return place(question.request, question.select, [service]).price


def _would_win(question: _Question, service: ServiceView, price: Decimal | None) -> Iterator[str]:
    """At which price, and with how much room, another candidate would be chosen."""
    if price:
        limit = _bisect(lambda factor: question.chosen(_at_price(service, factor)) == service.name, Decimal(0))
        if limit is not None and limit > 0:
            yield from _below(question, service, price, limit)
    if service.room is not None:
        room = _least_room(question, service)
        if room is not None:
            yield f"{service.name} would win with room for {room} (now {service.room})"


def _below(question: _Question, service: ServiceView, price: Decimal, limit: Decimal) -> Iterator[str]:
    """The limit in few digits, rounded so that it is one."""
    now = price_text(price)
    if question.chosen(_at_price(service, limit * (1 + _NEAR)), among_all=True) == service.name:
        return  # it wins before: the limit is one among the few only
    for rounding in (ROUND_HALF_EVEN, ROUND_FLOOR):
        shown = _rounded(price * limit, rounding)
        factor = shown / price
        if factor >= 1:
            continue
        if question.wins(_at_price(service, factor)):
            yield f"{service.name} would win if its price fell to {price_text(shown)} (now {now})"
            return
        if question.wins(_at_price(service, factor * (1 - _LITTLE))):
            yield f"{service.name} would win if its price fell below {price_text(shown)} (now {now})"
            return


def _would_lose(question: _Question, service: ServiceView, price: Decimal | None) -> Iterator[str]:
    """Above which price the chosen service would not be chosen, and which would be instead."""
    if not price:
        return

    def loses(factor: Decimal) -> bool:
        return question.chosen(_at_price(service, factor)) != service.name

    far = next((f for n in range(1, _DOUBLINGS + 1) if loses(f := Decimal(1 << n))), None)
    limit = None if far is None else _bisect(loses, far)
    if limit is None:
        return
    for rounding in (ROUND_HALF_EVEN, ROUND_CEILING):
        shown = _rounded(price * limit, rounding)
        other = question.chosen(_at_price(service, shown / price * (1 + _LITTLE)), among_all=True)
        # Beside the few there may be one that wins before.
        before = question.chosen(_at_price(service, limit * (1 - _NEAR)), among_all=True)
        if shown > price and other not in {None, service.name} and before == service.name:
            now = price_text(price)
            yield f"{other} would win if the price of {service.name} rose above {price_text(shown)} (now {now})"
            return


def _bisect(holds: Callable[[Decimal], bool], far: Decimal) -> Decimal | None:
    """The factor nearest to 1, in the direction of ``far``, at which ``holds`` is true; None where it is not there."""
    if not holds(far) or holds(Decimal(1)):
        return None
    true, false = far, Decimal(1)
    for _ in range(_HALVINGS):
        middle = (true + false) / 2
        if holds(middle):
            true = middle
        else:
            false = middle
    return true


def _rounded(price: Decimal, rounding: str) -> Decimal:
    """To four significant digits."""
    return price.quantize(Decimal(1).scaleb(price.adjusted() - _DIGITS + 1), rounding) if price else price


def _at_price(service: ServiceView, factor: Decimal) -> ServiceView:
    """The service with all its prices multiplied, those of servers that may be taken back included."""
    return replace(service, offerings=tuple(o.model_copy(update=_times(o, factor)) for o in service.offerings))


def _times(offering: Offering, factor: Decimal) -> dict[str, Decimal]:
    prices = {"price_per_hour": offering.price_per_hour, "spot_price_per_hour": offering.spot_price_per_hour}
    return {name: price * factor for name, price in prices.items() if price is not None}


def _least_room(question: _Question, service: ServiceView) -> int | None:
    """The least room with which the service would be chosen, None where room alone does not do it."""
    low = service.room or 0
    if not question.wins(replace(service, room=_MOST_ROOM)):
        return None
    high = _MOST_ROOM
    while high - low > 1:
        middle = (low + high) // 2
        if question.chosen(replace(service, room=middle)) == service.name:
            high = middle
        else:
            low = middle
    if question.chosen(replace(service, room=high - 1), among_all=True) == service.name:
        return None
    return high if question.wins(replace(service, room=high)) else None


def _would_be_taken(question: _Question, service: ServiceView, reason: str, decision: Decision) -> Iterator[str]:
    """Whether a rejected service would be chosen, or could at least take the group, without what it is rejected for."""
    for change, changed, select in _remedies(question, service, reason):
        services = {**question.services, changed.name: changed}.values()
        then = place(question.request, select, services)
        if then.chosen is not None and then.chosen.name == service.name:
            yield f"{service.name} would be chosen {change}"
        elif decision.chosen is not None and any(c.service == service.name and c.feasible for c in then.candidates):
            yield f"{service.name} could take the group {change}, and {decision.chosen.name} would still win"


def _remedies(question: _Question, service: ServiceView, reason: str) -> Sequence[tuple[str, ServiceView, Select]]:
    """The one change that would end the reason for which the service is rejected; none where it is not one fact."""
    word, _, detail = reason.partition(": ")
    select = question.select
    if word == Reason.NO_CAPACITY and service.room is not None and service.room < question.request.needed:
        needed = question.request.needed
        return [(f"with room for {needed} (now {service.room})", replace(service, room=needed), select)]
    if word == Reason.NOT_AVAILABLE:
        return [(f"once it is available ({detail})", replace(service, usable=True, why_not=("", "")), select)]
    if word == Reason.NOT_ALLOWED:
        return [("if it allowed the namespace", replace(service, allowed_namespaces=EVERY), select)]
    if word.startswith(f"{Reason.REQUIREMENT}("):
        key = word.removeprefix(f"{Reason.REQUIREMENT}(").removesuffix(")")
        rest = tuple(r for r in select.requirements if r.key != key)
        change = f"without the requirement on {key} ({detail})"
        return [(change, service, select.model_copy(update={"requirements": rest}))]
    return []
