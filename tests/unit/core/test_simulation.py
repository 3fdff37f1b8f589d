"""A policy over time: what is found when, where the group is, and what that costs."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from moorage.api.hostingpolicy import HostingPolicySpec
from moorage.api.hostingservice import DataSource, Offering
from moorage.api.placement import Exhausted
from moorage.api.virtualserverconfig import VirtualServerConfigSpec
from moorage.core import simulation
from moorage.core.ceilings import OWN, Ceiling
from moorage.core.exhaustion import Exhaustion, settings_mark
from moorage.core.placement import MemberRequest, PlacementRequest
from moorage.core.services import ServiceView
from moorage.core.simulation import Bounds, Simulated, Situation, TooLong, simulate

CONFIG = VirtualServerConfigSpec.from_dict({"images": [{"image": "i"}]})
REQUEST = PlacementRequest("ns", {}, (MemberRequest("m", 2, CONFIG),))
START = datetime(2026, 3, 2, tzinfo=UTC)
H = timedelta(hours=1)


def policy(*conditions: dict[str, Any], **spec: Any) -> HostingPolicySpec:
    return HostingPolicySpec.from_dict({"when": {"all": list(conditions)}, **spec})


def told(name: str = "work", **fields: Any) -> dict[str, Any]:
    """A condition whose truth the situations tell."""
    return {"name": name, "schedule": {"from": "2000-01-01T00:00:00Z"}, **fields}


def service(name: str, price: str | None, **fields: Any) -> ServiceView:
    known = {} if price is None else {"price_per_hour": Decimal(price)}
    offering = Offering(name="small", cpu=Decimal(1), memory=Decimal(2**30), **known)
    return ServiceView(name, uid=name, **{"offerings": (offering,), **fields})


def at(hours: float, *services: ServiceView, **conditions: bool | None) -> Situation:
    moment = START + hours * H
    return Situation(moment, services, conditions, dict.fromkeys(conditions, moment))


def hours(result: Simulated) -> list[tuple[float, float, str, str | None]]:
    return [((s.start - START) / H, (s.end - START) / H, s.verdict, s.service) for s in result.spans]


A, B = service("a", "0.10"), service("b", "0.20")


def test_edges_of_a_schedule_are_found_without_a_step() -> None:
    spec = policy({"name": "day", "schedule": {"cron": "0 8 * * *", "duration": "90m"}}, whenUnmet="Release")
    result = simulate(spec, REQUEST, [at(0, A)], START + 24 * H)
    assert hours(result) == [(0, 8, "Unmet", None), (8, 9.5, "Met", "a"), (9.5, 24, "Unmet", None)]
    assert result.looks == 3
    assert result.cost == Decimal("0.30")


@pytest.mark.parametrize(
    ("day", "expected"),
    [
        # 22:00 in Zurich for 8 hours: the night of the change is an hour shorter or longer on the wall, not in fact.
        ("2026-03-28", [("21:00", "05:00"), ("20:00", "04:00")]),
        ("2026-10-24", [("20:00", "04:00"), ("21:00", "05:00")]),
    ],
)
def test_windows_over_a_change_of_the_clocks_are_right(day: str, expected: list[tuple[str, str]]) -> None:
    spec = policy(
        {"name": "night", "schedule": {"cron": "0 22 * * *", "duration": "8h", "timeZone": "Europe/Zurich"}},
        whenUnmet="Release",
    )
    start = datetime.fromisoformat(f"{day}T12:00:00+00:00")
    result = simulate(spec, REQUEST, [Situation(start, (A,))], start + 48 * H)
    met = [(f"{s.start:%H:%M}", f"{s.end:%H:%M}") for s in result.spans if s.verdict == "Met"]
    assert met == expected
    assert result.placed == 16 * H


def test_hysteresis_is_the_controllers() -> None:
    spec = policy(told(**{"for": "1h", "holdFor": "2h"}), whenUnmet="Release")
    result = simulate(spec, REQUEST, [at(0, A, work=True), at(4, A, work=False)], START + 12 * H)
    assert hours(result) == [(0, 1, "Unmet", None), (1, 6, "Met", "a"), (6, 12, "Unmet", None)]
    flapping = [at(n / 2, A, work=n % 2 == 0) for n in range(10)]
    assert {s.verdict for s in simulate(spec, REQUEST, flapping, START + 5 * H).spans} == {"Unmet"}


def test_keep_keeps_the_group_and_its_costs() -> None:
    situations = [at(0, A, work=True), at(2, A, work=False)]
    kept = simulate(policy(told()), REQUEST, situations, START + 10 * H)
    assert hours(kept) == [(0, 2, "Met", "a"), (2, 10, "Unmet", "a")]
    assert kept.cost == Decimal("2.0")
    released = simulate(policy(told(), whenUnmet="Release"), REQUEST, situations, START + 10 * H)
    assert released.cost == Decimal("0.4")


def test_a_placed_group_stays_while_prices_change_and_pays_those_of_the_hour() -> None:
    dear = service("a", "0.50")
    result = simulate(policy(told()), REQUEST, [at(0, A, B, work=True), at(1, dear, B, work=True)], START + 2 * H)
    assert hours(result) == [(0, 1, "Met", "a"), (1, 2, "Met", "a")]
    assert result.cost == Decimal("0.2") + Decimal("1.0")


def test_what_is_unknown_decides_nothing() -> None:
    situations = [at(0, A, work=True), at(1, A, work=None), at(2, A, work=False)]
    result = simulate(policy(told(), whenUnmet="Release"), REQUEST, situations, START + 3 * H)
    assert hours(result) == [(0, 1, "Met", "a"), (1, 2, "Unknown", "a"), (2, 3, "Unmet", None)]


def test_no_room_leaves_the_group_nowhere_and_says_why_until_there_is() -> None:
    full = replace(A, room=1)
    result = simulate(policy(told()), REQUEST, [at(0, full, work=True), at(1, A, work=True)], START + 2 * H)
    assert hours(result) == [(0, 1, "Met", None), (1, 2, "Met", "a")]
    assert "InsufficientCapacity (needs 2, has 1)" in result.spans[0].why


def test_a_price_that_is_not_known_is_no_cost_of_zero() -> None:
    result = simulate(policy(told()), REQUEST, [at(0, service("a", None), work=True)], START + 2 * H)
    assert (result.cost, result.unpriced, result.placed) == (Decimal(0), 2 * H, 2 * H)


LENT = ServiceView(
    "a",
    uid="a",
    offerings=(Offering.from_dict({"name": "m", "cpu": 1, "memory": "1Gi", "pricePerHour": "0.1"}),),
)


def lent(price: str) -> ServiceView:
    (offering,) = LENT.offerings
    return replace(LENT, offerings=(offering.model_copy(update={"spot_price_per_hour": Decimal(price)}),))


def test_servers_that_may_be_taken_back_are_chosen_and_paid_for_as_such() -> None:
    asked = replace(REQUEST, spot_settings=lambda _type, settings: {**settings, "spot": True})
    situations = [at(0, lent("0.03"), work=True), at(1, lent("0.04"), work=True)]
    result = simulate(policy(told(), select={"spot": "Allow"}), asked, situations, START + 2 * H)
    assert [s.price for s in result.spans] == [Decimal("0.06"), Decimal("0.08")]


def test_the_age_of_data_is_that_of_each_look() -> None:
    source = DataSource(name="Service", at=START, offerings=1)
    fresh = replace(A, sources=(source,))
    situations = [at(0, fresh, work=False), at(1, fresh, work=True), at(3, fresh, work=False), at(4, fresh, work=True)]
    spec = policy(told(), select={"maxDataAge": "2h"}, whenUnmet="Release")
    result = simulate(spec, REQUEST, situations, START + 5 * H)
    assert hours(result)[1:] == [(1, 3, "Met", "a"), (3, 4, "Unmet", None), (4, 5, "Met", None)]
    assert "DataTooOld" in result.spans[-1].why


def test_a_group_comes_back_to_where_it_was_where_that_counts() -> None:
    cheaper = service("a", "0.30")
    situations = [at(0, A, B, work=True), at(1, A, B, work=False), at(2, cheaper, B, work=True)]
    select = {"stickiness": 100, "preferences": [{"by": "Price", "weight": 1}]}
    spec = policy(told(), select=select, whenUnmet="Release")
    assert hours(simulate(spec, REQUEST, situations, START + 3 * H))[-1] == (2, 3, "Met", "a")
    spec = policy(told(), whenUnmet="Release")
    assert hours(simulate(spec, REQUEST, situations, START + 3 * H))[-1] == (2, 3, "Met", "b")


def test_a_group_is_not_placed_above_its_ceiling() -> None:
    bounded = replace(REQUEST, ceilings=(Ceiling(Decimal("0.15"), OWN),))
    result = simulate(policy(told()), bounded, [at(0, A, work=True)], START + H)
    assert hours(result) == [(0, 1, "Met", None)]
    assert "PriceAboveCeiling" in result.spans[0].why


def test_what_had_no_room_is_tried_again_when_that_is_over() -> None:
    full = Exhausted(
        service="a",
        service_uid="a",
        offering="small",
        settings=settings_mark({}),
        reason="InsufficientCapacity",
        message="full",
        until=START + H / 2,
    )
    asked = replace(REQUEST, exhaustion=Exhaustion((full,), START))
    assert hours(simulate(policy(told()), asked, [at(0, A, work=True)], START + H)) == [
        (0, 0.5, "Met", None),
        (0.5, 1, "Met", "a"),
    ]


def test_a_suspended_group_is_not_placed_and_a_protected_one_not_released() -> None:
    situations = [at(0, A, work=True), at(1, A, work=False)]
    spec = policy(told(), whenUnmet="Release")
    suspended = simulate(spec, REQUEST, situations, START + 2 * H, bounds=Bounds(suspended=True))
    assert [s for *_, s in hours(suspended)] == [None, None]
    protected = simulate(spec, REQUEST, situations, START + 2 * H, bounds=Bounds(protected=True))
    assert [s for *_, s in hours(protected)] == ["a", "a"]


def test_a_step_looks_oftener_and_finds_the_same() -> None:
    spec = policy({"name": "day", "schedule": {"cron": "0 8 * * *", "duration": "90m"}}, whenUnmet="Release")
    often = simulate(spec, REQUEST, [at(0, A)], START + 24 * H, timedelta(minutes=7))
    assert hours(often) == hours(simulate(spec, REQUEST, [at(0, A)], START + 24 * H))
    assert often.looks > 200


def test_too_many_looks_end_with_how_far_it_got(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(simulation, "MOST_MOMENTS", 10)
    with pytest.raises(TooLong) as raised:
        simulate(policy(told()), REQUEST, [at(0, A)], START + H, timedelta(seconds=1))
    assert raised.value.reached == START + timedelta(seconds=10)


@given(st.lists(st.tuples(st.integers(1, 300), st.sampled_from([True, False, None])), min_size=1, max_size=12))
def test_spans_are_whole_in_order_and_differ(course: list[tuple[int, bool | None]]) -> None:
    moment, situations = 0.0, []
    for minutes, value in course:
        situations.append(at(moment / 60, A, B, work=value))
        moment += minutes
    end = START + timedelta(minutes=moment)
    spec = policy(told(**{"for": "30m", "holdFor": "1h"}), whenUnmet="Release")
    spans = simulate(spec, REQUEST, situations, end).spans
    assert spans[0].start == START
    assert spans[-1].end == end
    for one, following in pairwise(spans):
        assert one.start < one.end == following.start
        assert not one.looks_like(following)
    for span in spans:
        anew = any(r.reason == "PendingAnew" for r in span.readings)
        assert span.service is None or span.verdict != "Unmet" or anew, "released as soon as it is known to be unmet"
