"""Cost ceilings: they refuse, with numbers, and never take anything away."""

from __future__ import annotations

from dataclasses import replace
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from moorage.api.names import ANNOTATION_MAX_PRICE
from moorage.core.ceilings import NOTHING, OWN, Allowance, Bill, Ceiling, Cost, Offer, allow, namespace_ceiling, rate

SMALL, BIG, FREE = (Offer(n, Decimal(p), "s") for n, p in (("small", "0.10"), ("big", "0.40"), ("free", "0")))
NAMELESS = Offer("odd", None, "s")
LENT = replace(BIG, amount=Decimal("0.05"), interruptible=True)


def ceiling(limit: str, others: Cost = NOTHING) -> Ceiling:
    return Ceiling(Decimal(limit), OWN, others)


def bill(wanted: int, granted: int, offer: Offer = SMALL, asked: Offer | None = None, **more: Any) -> Bill:
    """All that was granted is there."""
    there = more.pop("there", granted)
    return Bill("web", wanted, granted, there, offer.times(there), offer, asked or offer, **more)


CASES: dict[str, tuple[Bill, tuple[Ceiling, ...], int, str]] = {
    "no ceiling": (bill(9, 2), (), 9, ""),
    "up to the ceiling": (bill(5, 2), (ceiling("0.5"),), 5, ""),
    "as far as it goes": (bill(9, 2), (ceiling("0.55"),), 5, "PriceAboveCeiling"),
    "not at all": (bill(3, 2), (ceiling("0.2"),), 2, "PriceAboveCeiling"),
    "the lowest ceiling holds": (
        bill(9, 2),
        (ceiling("0.8"), ceiling("1", Cost(Decimal("0.7")))),
        3,
        "PriceAboveCeiling",
    ),
    "a ceiling of 0": (bill(1, 0), (ceiling("0"),), 0, "PriceAboveCeiling"),
    "what costs nothing fits below 0": (bill(9, 0, FREE), (ceiling("0"),), 9, ""),
    "what costs nothing is added above the ceiling too": (bill(9, 2, FREE), (ceiling("0", SMALL.times(1)),), 9, ""),
    "an unknown price": (bill(3, 0, NAMELESS), (ceiling("99"),), 0, "PriceUnknown"),
    "an unknown price without a ceiling": (bill(3, 0, NAMELESS), (), 3, ""),
    "an unknown price elsewhere in the namespace": (bill(3, 1), (ceiling("99", NAMELESS.times(1)),), 1, "PriceUnknown"),
    "a ceiling that is none": (bill(3, 1), (Ceiling(None, "n", problem="is no price"),), 1, "CeilingInvalid"),
    "fewer": (bill(1, 4), (ceiling("0"),), 1, ""),
    "lowered below what runs": (bill(4, 4), (ceiling("0.1"),), 4, ""),
    "a lost server is made again": (bill(4, 4, there=2), (ceiling("0.1"),), 4, ""),
    "servers that were made and not recorded yet": (bill(4, 2, there=4), (ceiling("0.1"),), 4, ""),
    "the same without a price": (bill(4, 2, NAMELESS, there=4), (ceiling("0.1"),), 4, ""),
    "no more of what has no price": (bill(5, 4, NAMELESS), (ceiling("9"),), 4, "PriceUnknown"),
    "a cheaper offering": (bill(4, 4, BIG, SMALL), (ceiling("0.1"),), 4, ""),
}


@pytest.mark.parametrize("case", CASES)
def test_how_many_servers_are_allowed(case: str) -> None:
    one, ceilings, count, reason = CASES[case]
    found = allow([one], ceilings, may_grow=True)
    assert found.counts == {"web": count}
    assert [r.reason for r in found.refusals] == ([reason] if reason else [])
    assert not found.held


def test_the_numbers_are_told() -> None:
    others = Cost(Decimal("0.2"))
    found = allow([bill(8, 2)], [Ceiling(Decimal("0.5"), "the namespace's", others)], may_grow=True)
    assert found.refusals[0].message == (
        "member web asks for 8 servers and gets 3; with 8: 0.8/h for the group and 0.2/h for the namespace's other "
        "groups, 1/h, above the namespace's (0.5/h)"
    )
    assert found.cost == Cost(Decimal("0.3"))


def test_a_ceiling_below_what_runs_is_told_and_nothing_else() -> None:
    found = allow([bill(4, 4)], [ceiling("0.3")], may_grow=True)
    assert (found.counts, found.refusals) == ({"web": 4}, ())
    assert [r.message for r in found.over] == ["0.4/h for the group, above spec.maxPricePerHour (0.3/h)"]


def test_a_dearer_offering_is_held_and_what_runs_stays() -> None:
    dear = bill(3, 3, SMALL, BIG)
    found = allow([dear], [ceiling("1")], may_grow=True)
    assert found.held["web"].reason == "PriceAboveCeiling"
    assert found.held["web"].message.startswith("member web does not get offering big; with it: 1.2/h")
    assert (found.counts, found.offers) == ({"web": 3}, {"web": SMALL})
    assert allow([dear], [ceiling("1.2")], may_grow=True).offers == {"web": BIG}


def test_the_roll_to_a_dearer_offering_is_paid_for_at_once() -> None:
    """Servers of the old offering count as what they are to become, or another group could take the room meanwhile."""
    rolling = Bill("web", 3, 3, 3, SMALL.times(3), allowed=BIG, asked=BIG)
    assert allow([rolling], [ceiling("9")], may_grow=True).cost == BIG.times(3)


def test_servers_from_before_an_offering_was_recorded_were_allowed() -> None:
    old = replace(bill(2, 2), allowed=None)
    assert allow([old], [ceiling("0.1")], may_grow=True).offers == {"web": SMALL}


def test_members_grow_in_their_order() -> None:
    first, second = bill(4, 1), replace(bill(4, 1), name="db")
    assert allow([first, second], [ceiling("0.6")], may_grow=True).counts == {"web": 4, "db": 2}


def test_servers_that_are_going_cost_until_they_are_gone() -> None:
    shrinking, growing = bill(0, 4), replace(bill(4, 0), name="db")
    assert allow([shrinking, growing], [ceiling("0.4")], may_grow=True).counts == {"web": 0, "db": 0}
    gone = replace(shrinking, there=0, cost=NOTHING)
    assert allow([gone, growing], [ceiling("0.4")], may_grow=True).counts == {"web": 0, "db": 4}


def test_an_unmet_policy_is_no_matter_of_cost() -> None:
    found = allow([bill(9, 2)], [ceiling("0.2")], may_grow=False)
    assert (found.counts, found.refusals) == ({"web": 2}, ())


@pytest.mark.parametrize(
    ("text", "limit", "problem"),
    [
        (None, None, ""),
        ("12.50", Decimal("12.50"), ""),
        ("0", Decimal(0), ""),
        ("12,50", None, "not a price"),
        ("-1", None, "not a price"),
        ("", None, "not a price"),
        ("1e9", None, "not a price"),
        (" 1", None, "not a price"),
    ],
)
def test_the_annotation_of_a_namespace(text: str | None, limit: Decimal | None, problem: str) -> None:
    found = namespace_ceiling("ns", {} if text is None else {ANNOTATION_MAX_PRICE: text}, NOTHING)
    if text is None:
        assert found is None
        return
    assert found is not None
    assert found.limit == limit
    assert problem in found.problem
    refusal = found.refuses(SMALL.times(1000))
    assert refusal is not None
    assert refusal.reason == ("CeilingInvalid" if problem else "PriceAboveCeiling")


@pytest.mark.parametrize(("price", "text"), [("0.060", "0.06/h"), ("100", "100/h"), ("0", "0/h"), ("1.5", "1.5/h")])
def test_prices_are_plain_numbers(price: str, text: str) -> None:
    assert rate(Decimal(price)) == text


# Whatever happens to a group

OFFERS = st.sampled_from([SMALL, BIG, FREE, NAMELESS, LENT])
LIMITS = st.none() | st.integers(0, 30).map(lambda n: Decimal(n) / 10)
STEP = st.tuples(st.tuples(st.integers(0, 6), st.integers(0, 6)), st.tuples(OFFERS, OFFERS), LIMITS, st.booleans())


@given(st.lists(st.tuples(STEP, st.integers(0, 12)), max_size=12))
def test_no_ceiling_is_passed_by_what_moorage_does_and_nothing_is_taken_away(steps: list[Any]) -> None:
    """Two members live through steps of scaling, changed sizes, changed ceilings and lost servers."""
    servers: dict[str, list[Offer]] = {"a": [], "b": []}
    granted = {"a": 0, "b": 0}
    recorded: dict[str, Offer | None] = {"a": None, "b": None}
    for (wanted, asked, limit, may_grow), lost in steps:
        victims = servers["a" if lost % 2 else "b"]
        if lost < 6 and victims:
            victims.pop()
        bills = [
            Bill(name, w, granted[name], len(servers[name]), costs(servers[name]), recorded[name], offer)
            for name, w, offer in zip(("a", "b"), wanted, asked, strict=True)
        ]
        ceilings = () if limit is None else (Ceiling(limit, OWN),)
        before = {b.name: b.committed() for b in bills}
        found = allow(bills, ceilings, may_grow=may_grow)
        check(bills, ceilings, found, may_grow)
        for b in bills:
            assert found.counts[b.name] >= min(b.wanted, b.granted), "something is taken away"
            if b.name in found.offers:
                recorded[b.name] = found.offers[b.name]
            granted[b.name] = found.counts[b.name]
            there = servers[b.name][: granted[b.name]]
            if b.name not in found.held:
                made_of = recorded[b.name]
                there = [made_of] * granted[b.name] if made_of is not None else there
            servers[b.name] = there
        total = costs(servers["a"] + servers["b"])
        assert not total.exceeds(found.cost), "it costs more than was noted"
        if ceilings and total.exceeds(before["a"] + before["b"]):
            assert ceilings[0].refuses(found.cost) is None, "it costs more than before, and than it may"


def costs(servers: list[Offer]) -> Cost:
    return sum((offer.times(1) for offer in servers), NOTHING)


def check(bills: list[Bill], ceilings: tuple[Ceiling, ...], found: Allowance, may_grow: bool) -> None:
    """Every member that does not get what it asks for has a reason."""
    if not ceilings:
        assert not found.refusals
    for b in bills:
        if may_grow and found.counts[b.name] < b.wanted:
            assert any(f"member {b.name} " in r.message for r in found.refusals)


def test_what_stays_as_it_is_costs_no_more_because_another_offering_is_made_of_now() -> None:
    """Where the first choice has no room only what is missing is made of the next one."""
    small, medium = Offer("small", Decimal("0.01")), Offer("medium", Decimal("0.2"))
    asked = Bill("web", wanted=3, granted=3, there=1, cost=small.times(1), allowed=small, asked=medium, replaces=False)
    assert allow([asked], [ceiling("0.41")], may_grow=True).cost == Cost(Decimal("0.41"))
    refused = allow([asked], [ceiling("0.40")], may_grow=True)
    assert "0.41/h for the group" in refused.held["web"].message
    whole = replace(asked, there=3, cost=small.times(3))
    found = allow([whole], [ceiling("0.03")], may_grow=True)
    assert (found.offers["web"], found.refusals, found.cost) == (small, (), small.times(3)), "nothing is made of it"
    replaced = allow([replace(whole, replaces=True)], [ceiling("0.5")], may_grow=True)
    assert replaced.held, "where servers are replaced, all of them count"
