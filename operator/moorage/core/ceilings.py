"""Cost ceilings: what a group may still cost, and why it may not cost more. They refuse; they never take anything away.

A ceiling is about the price of one hour of all servers of a group, or of all groups of a namespace. A sum in which a
price is not known is not known itself, so nothing is added to it.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from decimal import Decimal
from typing import Final

from moorage.api.names import ANNOTATION_MAX_PRICE
from moorage.api.quantities import parse_price
from moorage.core.problems import joined

ABOVE: Final = "PriceAboveCeiling"
UNKNOWN: Final = "PriceUnknown"
INVALID: Final = "CeilingInvalid"

OWN: Final = "spec.maxPricePerHour"


def rate(price: Decimal) -> str:
    """A price for people: `0.06/h`."""
    text = format(price, "f")
    return (text.rstrip("0").rstrip(".") if "." in text else text) + "/h"


@dataclass(frozen=True, slots=True)
class Cost:
    """What servers cost in one hour: the sum of the prices that are known, and the offerings whose price is not."""

    known: Decimal = Decimal(0)
    unpriced: frozenset[str] = frozenset()

    def __add__(self, other: Cost) -> Cost:
        return Cost(self.known + other.known, self.unpriced | other.unpriced)

    def exceeds(self, other: Cost) -> bool:
        """Whether it is more in any respect."""
        return self.known > other.known or not self.unpriced <= other.unpriced


NOTHING: Final = Cost()


@dataclass(frozen=True, slots=True)
class Offer:
    """An offering of a service on one of its markets, with the price of one hour there; None where that is not known.

    ``interruptible``: on the market where the service may take servers back at any time, which has its own price.
    """

    offering: str
    amount: Decimal | None
    service: str = ""
    interruptible: bool = False

    @property
    def market(self) -> tuple[str, bool]:
        """What tells it from other offers of the service; a price that changes does not."""
        return self.offering, self.interruptible

    @property
    def words(self) -> str:
        """It, for people."""
        return f"offering {self.offering}" + (" that may be taken back" if self.interruptible else "")

    def times(self, count: int) -> Cost:
        """What so many servers of it cost."""
        if count <= 0:
            return NOTHING
        if self.amount is None:
            return Cost(unpriced=frozenset({f"{self.offering} of {self.service}" if self.service else self.offering}))
        return Cost(count * self.amount)


@dataclass(frozen=True, slots=True)
class Refusal:
    """Why something is not done for its cost, or that a ceiling was lowered below what runs."""

    reason: str
    message: str


@dataclass(frozen=True, slots=True)
class Ceiling:
    """A bound on the price of one hour. ``others`` is what it covers beside the group itself, ``beside`` in words.

    ``limit`` is None where what was written is no price: nothing more may cost anything then, for ``problem``.
    """

    limit: Decimal | None
    name: str
    others: Cost = NOTHING
    problem: str = ""
    beside: str = "the namespace's other groups"

    def refuses(self, cost: Cost) -> Refusal | None:
        """Why the group may not cost that much, or None."""
        if self.limit is None:
            return Refusal(INVALID, self.problem)
        total = cost + self.others
        if total.unpriced:
            what = joined(f"offering {name}" for name in sorted(total.unpriced))
            return Refusal(UNKNOWN, f"no price is known for {what}, and {self.name} is {rate(self.limit)}")
        if total.known > self.limit:
            beside = ""
            if self.others.known:
                beside = f" and {rate(self.others.known)} for {self.beside}, {rate(total.known)}"
            return Refusal(ABOVE, f"{rate(cost.known)} for the group{beside}, above {self.name} ({rate(self.limit)})")
        return None


def namespace_ceiling(namespace: str, annotations: Mapping[str, str], others: Cost) -> Ceiling | None:
    """The ceiling that a namespace's annotation sets, or None."""
    text = annotations.get(ANNOTATION_MAX_PRICE)
    if text is None:
        return None
    name = f"{ANNOTATION_MAX_PRICE} of namespace {namespace}"
    try:
        return Ceiling(parse_price(text), name, others)
    except ValueError as error:
        return Ceiling(None, name, others, f"the annotation {name} {error}")


@dataclass(frozen=True, slots=True)
class Bill:
    """What a member of a placed group costs, and what is asked for.

    ``there`` VirtualServers exist, which cost ``cost``. ``granted`` servers of ``allowed`` are what was allowed so far;
    ``wanted`` servers of ``asked`` are what the spec asks for (None: it cannot be said at the moment). ``replaces``:
    servers that are there may be replaced by what is asked for; else they stay what they are, and only those that are
    missing are made of it.
    """

    name: str
    wanted: int
    granted: int
    there: int = 0
    cost: Cost = NOTHING
    allowed: Offer | None = None
    asked: Offer | None = None
    replaces: bool = True

    def committed(self) -> Cost:
        """What it costs with everything that was allowed: a server that is missing is made again, and one that is still
        of a cheaper offering is replaced."""
        if self.allowed is None:
            return self.cost
        count = min(self.wanted, self.granted)
        whole = self.allowed.times(count)
        missing = self.cost + self.allowed.times(count - self.there)
        if not self.replaces:
            return missing
        return Cost(max(whole.known, missing.known), whole.unpriced | missing.unpriced)


@dataclass(frozen=True, slots=True)
class Allowance:
    """What a group may have: ``counts`` servers of ``offers``, by member, for ``cost``.

    A member in ``held`` gets no server of what is asked for now, for that reason; those that it has stay as they are.
    ``refusals`` are what was asked for and is not done, ``over`` what costs more than a ceiling although nothing was
    added.
    """

    counts: Mapping[str, int] = field(default_factory=dict)
    offers: Mapping[str, Offer] = field(default_factory=dict)
    held: Mapping[str, Refusal] = field(default_factory=dict)
    refusals: tuple[Refusal, ...] = ()
    over: tuple[Refusal, ...] = ()
    cost: Cost = NOTHING


def allow(bills: Sequence[Bill], ceilings: Sequence[Ceiling], *, may_grow: bool) -> Allowance:
    """How far the members may grow, in their order, each as far as every ceiling lets it.

    What was allowed stays allowed: no ceiling takes a server away or keeps a lost one from being made again as it was.
    """
    state = {bill.name: _adopted(bill) for bill in bills}
    before = _sum(state.values())
    held: dict[str, Refusal] = {}
    refusals: list[Refusal] = []
    for name in tuple(state):
        rest = _sum(other for other in state.values() if other.name != name)
        state[name], refusal = _switch(state[name], rest, ceilings)
        if refusal is not None:
            held[name] = refusal
        elif may_grow:
            state[name], refusal = _grow(state[name], rest, ceilings)
        if refusal is not None:
            refusals.append(refusal)
    return Allowance(
        counts={name: min(bill.wanted, bill.granted) for name, bill in state.items()},
        offers={name: bill.allowed for name, bill in state.items() if bill.allowed is not None},
        held=held,
        refusals=tuple(refusals),
        over=tuple(r for c in ceilings if before != NOTHING and (r := c.refuses(before)) is not None),
        cost=_sum(state.values()),
    )


def _sum(bills: Iterable[Bill]) -> Cost:
    return sum((bill.committed() for bill in bills), NOTHING)


def _adopted(bill: Bill) -> Bill:
    """Servers that were made before an offering was recorded: what they are made of now was allowed."""
    return replace(bill, allowed=bill.asked) if bill.allowed is None and bill.there else bill


def _switch(bill: Bill, rest: Cost, ceilings: Sequence[Ceiling]) -> tuple[Bill, Refusal | None]:
    """The bill for what is asked for now, or why it stays as it is: that would cost more, and too much."""
    if bill.asked is None or (bill.allowed is not None and bill.asked.market == bill.allowed.market):
        return bill, None
    if not bill.replaces and bill.allowed is not None and bill.wanted <= bill.there:
        return bill, None  # nothing is made of it
    changed = replace(bill, allowed=bill.asked)
    cost = changed.committed()
    if cost.exceeds(bill.committed()):
        refusal = next((r for c in ceilings if (r := c.refuses(cost + rest)) is not None), None)
        if refusal is not None:
            what = f"member {bill.name} does not get {_told(bill.asked, bill.allowed)}"
            return bill, Refusal(refusal.reason, f"{what}; with it: {refusal.message}")
    return changed, None


def _told(asked: Offer, allowed: Offer | None) -> str:
    """What is asked for; where only the market is another one, that is what has to be said."""
    if allowed is None or asked.offering != allowed.offering or asked.interruptible:
        return asked.words
    return f"{asked.words} that stays, at its full price"


def _grow(bill: Bill, rest: Cost, ceilings: Sequence[Ceiling]) -> tuple[Bill, Refusal | None]:
    """The bill with as many servers of what is asked for as fit, and why not with all."""
    if bill.asked is None or bill.wanted <= bill.granted:
        return bill, None

    def refusal(more: int) -> Refusal | None:
        return _refusal(bill, more, rest, ceilings)

    more = bill.wanted - bill.granted
    fits = bisect_left(range(1, more + 1), True, key=lambda number: refusal(number) is not None)
    grown, refused = replace(bill, granted=bill.granted + fits), refusal(more)
    if refused is None:
        return grown, None
    what = f"member {bill.name} asks for {bill.wanted} servers and gets {grown.granted}"
    return grown, Refusal(refused.reason, f"{what}; with {bill.wanted}: {refused.message}")


def _refusal(bill: Bill, more: int, rest: Cost, ceilings: Sequence[Ceiling]) -> Refusal | None:
    """Why a member may not have so many more servers. Those that are there already cost no more than they do."""
    cost = replace(bill, granted=bill.granted + more).committed()
    priced = bill.asked is not None and bill.asked.amount is not None
    free = not cost.exceeds(bill.committed()) if priced else more <= bill.there - bill.granted
    return None if free else next((r for c in ceilings if (r := c.refuses(cost + rest)) is not None), None)
