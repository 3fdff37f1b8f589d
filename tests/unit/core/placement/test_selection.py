"""What a policy can ask of a service beyond labels, by what else services are ranked, and what bad input becomes."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest

from moorage.api.hostingservice import DataSource, Offering
from moorage.api.selection import Select
from moorage.api.virtualserverconfig import VirtualServerConfigSpec
from moorage.core.placement import Decision, MemberRequest, PlacementRequest, invalid_expressions, place
from moorage.core.services import ServiceView

NOW = datetime(2026, 11, 20, 12, 0, tzinfo=UTC)
CONFIG = VirtualServerConfigSpec.from_dict({"images": [{"image": "debian-12"}], "size": {"cpu": 1, "memory": "512Mi"}})
OFFERINGS = (
    Offering(name="small", cpu=Decimal(1), memory=Decimal(2**30), price_per_hour=Decimal("0.02")),
    Offering(name="large", cpu=Decimal(4), memory=Decimal(2**33), price_per_hour=Decimal("0.08")),
)


def service(name: str, **fields: Any) -> ServiceView:
    return ServiceView(name, **{"uid": f"uid-{name}", "offerings": OFFERINGS, **fields})


def request(**fields: Any) -> PlacementRequest:
    return PlacementRequest("team-a", {}, (MemberRequest("web", 2, CONFIG),), **fields)


def decide(services: list[ServiceView], request: PlacementRequest = request(), **select: Any) -> Decision:  # noqa: B008
    return place(request, Select.from_dict(select), services)


def chosen(decision: Decision) -> str:
    assert decision.chosen is not None, decision.message
    return decision.chosen.name


def why_not(decision: Decision) -> str:
    assert decision.chosen is None
    return decision.candidates[0].reasons[0]


@pytest.mark.parametrize(
    ("requirement", "offering"),
    [
        ({"key": "cpu", "operator": "Gt", "values": ["1"]}, "large"),
        ({"key": "cpu", "operator": "Lt", "values": ["1500m"]}, "small"),
        ({"key": "memory", "operator": "Gt", "values": ["1Gi"]}, "large"),
        ({"key": "price", "operator": "Gt", "values": ["0.02"]}, "large"),
        ({"key": "offering", "operator": "NotIn", "values": ["small"]}, "large"),
        ({"key": "offering", "operator": "In", "values": ["large"]}, "large"),
    ],
)
def test_requirements_on_offerings_narrow_them(requirement: dict[str, Any], offering: str) -> None:
    assert decide([service("a")], requirements=[requirement]).members["web"].offering.name == offering


@pytest.mark.parametrize(
    ("requirement", "why"),
    [
        ({"key": "cpu", "operator": "Gt", "values": ["4"]}, "(cpu): cpu is 1 to 4, must be Gt [4]"),
        ({"key": "price", "operator": "Lt", "values": ["0.02"]}, "(price): price is 0.02 to 0.08, must be Lt [0.02]"),
        (
            {"key": "offering", "operator": "In", "values": ["x"]},
            "(offering): offering is large, small, must be In [x]",
        ),
        ({"key": "racks", "operator": "Gt", "values": ["3"]}, "(racks): racks is 3, must be Gt [3]"),
        (
            {"key": "tier", "operator": "Lt", "values": ["3"]},
            "(tier): tier is gold, which is no number, must be Lt [3]",
        ),
        ({"key": "none", "operator": "Lt", "values": ["3"]}, "(none): none is not set, must be Lt [3]"),
        (
            {"key": "image", "operator": "Exists"},
            "(image): the service does not list its images, so that none is known to be there",
        ),
    ],
)
def test_requirements_that_are_not_met_say_what_there_is(requirement: dict[str, Any], why: str) -> None:
    a = service("a", labels={"racks": "3", "tier": "gold"})
    assert why_not(decide([a], requirements=[requirement])) == f"RequirementNotMet{why}"


def test_numeric_labels_and_a_listed_image_meet_requirements() -> None:
    a = service("a", labels={"racks": "12"}, images=frozenset({"debian-12"}))
    asked = [
        {"key": "racks", "operator": "Gt", "values": ["3"]},
        {"key": "image", "operator": "Exists"},
    ]
    assert chosen(decide([a], requirements=asked)) == "a"
    listed = replace(a, images=frozenset({"alpine"}))
    assert why_not(decide([listed], requirements=asked)).startswith("ImageUnknown")


def test_two_requirements_on_offerings_must_be_met_by_one_offering() -> None:
    asked = [
        {"key": "cpu", "operator": "Gt", "values": ["2"]},
        {"key": "price", "operator": "Lt", "values": ["0.05"]},
    ]
    assert why_not(decide([service("a")], requirements=asked)).startswith("NoOffering: member web: none of its 2")


@pytest.mark.parametrize(
    ("expression", "why"),
    [
        ("service.name == 'b'", "RequirementNotMet(check): the expression is false"),
        ("service.labels.zone == 'x'", "ExpressionFailed(check): 'zone' is not known of every service; guard"),
        ("service.capacity.limit < 5", "ExpressionFailed(check): 'limit' is not known of every service; guard"),
        ("1 / service.servers > 0", "ExpressionFailed(check): divide by zero"),
        ("service.nope", "ExpressionFailed(check): line 1, column 8: there is no field 'nope'"),
        ("service.servers", "ExpressionFailed(check): the result is of type int, not bool"),
        ("service.name", "ExpressionFailed(check): the result is of type str, not bool"),
        ("(", "ExpressionFailed(check): line 1, column 2: Syntax error"),
        ("services.size() > 0", "ExpressionFailed(check): line 1, column 1: undeclared reference to 'services'"),
        (
            "service.offerings.all(a, service.offerings.all(b, service.offerings.all(c, "
            "service.offerings.all(d, service.offerings.all(e, true)))))",
            "ExpressionFailed(check): over 1 services it may take up to ",
        ),
    ],
)
def test_an_expression_that_is_not_true_rejects_with_its_own_reason(expression: str, why: str) -> None:
    many = tuple(replace_name(OFFERINGS[0], f"o{i}") for i in range(8))
    found = why_not(decide([service("a", offerings=many)], expressions=[{"name": "check", "expression": expression}]))
    assert found.startswith(why), found


def replace_name(offering: Offering, name: str) -> Offering:
    return offering.model_copy(update={"name": name})


def test_an_expression_is_judged_for_each_service_alone() -> None:
    services = [service("a", labels={"zone": "x"}), service("b"), service("c", labels={"zone": "y"})]
    decision = decide(services, expressions=[{"name": "zone", "expression": "service.labels.zone == 'y'"}])
    assert chosen(decision) == "c"
    assert decision.rejected == {"ExpressionFailed(zone)": 1, "RequirementNotMet(zone)": 1}


def test_what_is_wrong_with_expressions_themselves() -> None:
    wrong = Select.from_dict(
        {
            "expressions": [{"name": "fine", "expression": "true"}, {"name": "bad", "expression": "service.nope"}],
            "preferences": [{"by": "Expression", "expression": "service.name == 'a'"}],
        }
    )
    assert invalid_expressions(wrong) == (
        "select.expressions bad: line 1, column 8: there is no field 'nope'; the fields are available, bootSeconds, "
        "capacity, failureRate, labels, minPrice, name, offerings, region, servers, type",
        "select.preferences by Expression: the result is of type bool, not a number; write one that gives a number, "
        "such as double(service.servers)",
    )
    assert invalid_expressions(Select()) == ()


# Age of data


def dated(name: str, *hours: int | None, **fields: Any) -> ServiceView:
    sources = tuple(
        DataSource(name=n, at=None if h is None else NOW - timedelta(hours=h))
        for n, h in zip(("Spec", "Service"), hours, strict=False)
    )
    return service(name, sources=sources, **fields)


@pytest.mark.parametrize(
    ("view", "why"),
    [
        (dated("a", 3), "DataTooOld: its offerings are of 2026-11-20T09:00:00Z; they may be at most 2h old"),
        (dated("a", 1, 5), "DataTooOld: its offerings are of 2026-11-20T07:00:00Z; they may be at most 2h old"),
        (
            dated("a", 1, None),
            "DataTooOld: how old its offerings are is not known (Service); they may be at most 2h old",
        ),
        (service("a"), "DataTooOld: how old its offerings are is not known (no source); they may be at most 2h old"),
    ],
)
def test_no_choice_rests_on_data_older_than_the_policy_allows(view: ServiceView, why: str) -> None:
    assert why_not(decide([view], request(now=NOW), maxDataAge="2h")) == why
    assert chosen(decide([view], request(now=NOW))) == "a"


def test_what_is_said_of_old_data_is_the_same_a_minute_later() -> None:
    """It is in the status of groups that wait: an age would be written anew each minute."""
    told = [decide([dated("a", 3)], request(now=NOW + n * timedelta(minutes=1)), maxDataAge="2h") for n in range(3)]
    assert len({(d.message, d.candidates) for d in told}) == 1


def test_data_is_young_enough_to_the_second_and_its_age_is_shown() -> None:
    decision = decide([dated("a", 2)], request(now=NOW), maxDataAge="2h")
    assert decision.candidates[0].reasons == ("price 0.04/h", "offerings 2h old")
    later = request(now=NOW + timedelta(seconds=1))
    assert decide([dated("a", 2)], later, maxDataAge="2h").rejected == {"DataTooOld": 1}
    # Without a time nothing is known to be young.
    assert decide([dated("a", 2)], request(), maxDataAge="2h").rejected == {"DataTooOld": 1}


# Preferences


def ranked(decision: Decision) -> list[tuple[str, float | None]]:
    return [(c.service, c.score) for c in decision.candidates if c.feasible]


ZONES = [service(n, labels={"zone": z}) for n, z in (("a", "far"), ("b", "near"), ("c", "middle"), ("e", "no"))]


def test_latency_follows_the_order_of_the_wanted_zones() -> None:
    by = [{"by": "Latency", "values": ["near", "middle", "far", "other"]}]
    decision = decide([*ZONES, service("d")], preferences=by)
    assert ranked(decision) == [("b", 100.0), ("c", 75.0), ("a", 50.0), ("d", 0.0), ("e", 0.0)]
    assert decision.message == "b: nearest of 5: zone near against zone middle (c)"
    reasons = {c.service: c.reasons for c in decision.candidates}
    assert reasons["d"] == ("no label zone",)
    assert reasons["e"] == ("zone no, which is not wanted",)


def test_zone_spread_counts_all_services_of_a_zone() -> None:
    services = [service(n, labels={"rack": r}) for n, r in (("a", "1"), ("b", "1"), ("c", "2"))]
    full = service("full", labels={"rack": "2"}, room=0)
    by = [{"by": "ZoneSpread", "label": "rack"}]
    decision = decide([*services, full], request(beside={"b": 1, "full": 3}), preferences=by)
    assert ranked(decision) == [("a", 100.0), ("b", 100.0), ("c", 50.0)]
    assert decision.candidates[2].reasons == ("of the policy's other groups: 3 servers in rack 2",)
    assert decision.candidates[0].scores is not None
    assert decision.candidates[0].scores.zone_spread == 100.0


def test_measured_boot_times_and_failures_and_the_mean_for_what_was_not_measured() -> None:
    services = [
        service("slow", boot_seconds=120.0, failure_rate=0.0),
        service("fast", boot_seconds=30.0, failure_rate=0.5),
        service("new"),
    ]
    decision = decide(services, preferences=[{"by": "BootTime"}])
    assert ranked(decision) == [("fast", 100.0), ("new", 62.5), ("slow", 25.0)]
    assert decision.candidates[1].reasons == ("boot time not measured, counted as the mean",)
    decision = decide(services, preferences=[{"by": "FailureRate"}])
    assert ranked(decision) == [("slow", 100.0), ("new", 75.0), ("fast", 50.0)]
    assert decision.message == (
        "slow: fewest failures of 3: 0 % failed against failures not measured, counted as the mean (new)"
    )


def test_what_nobody_knows_decides_nothing_and_is_named() -> None:
    by = [{"by": "BootTime", "weight": 90}, {"by": "Latency", "values": ["moon"]}, {"by": "Price", "weight": 10}]
    cheap = service("b", offerings=(OFFERINGS[0].model_copy(update={"price_per_hour": Decimal("0.01")}),))
    decision = decide([service("a"), cheap], preferences=by)
    assert ranked(decision) == [("b", 100.0), ("a", 50.0)]
    assert decision.message == (
        "b: cheapest of 2: 0.02/h against 0.04/h (a); nothing is known of any of them by latency, boot time, which "
        "decided nothing"
    )
    alone = decide([service("b"), service("a")], preferences=[{"by": "FailureRate"}])
    assert ranked(alone) == [("a", 0.0), ("b", 0.0)]
    assert alone.message.startswith("a is as good as b (nothing to compare them by) and first by name among 2; nothing")


@pytest.mark.parametrize(
    ("expression", "detail"),
    [
        ("double(service.servers) - 3.0", "the result is -3.0, not a finite number from 0 on"),
        ("1.0 / double(service.servers)", "the result is inf, not a finite number from 0 on"),
        ("0.0 / double(service.servers) * 1.0", "the result is nan, not a finite number from 0 on"),
        ("service.servers > 0 ? dyn(1) : dyn('x')", "the result is of type str, not a number"),
        ("service.servers > 0 ? dyn(1) : dyn(true)", "the result is of type bool, not a number"),
        ("double(service.servers) * service.minPrice / service.bootSeconds", "'bootSeconds' is not known of every"),
    ],
)
def test_what_is_no_number_counts_nothing_and_says_so(expression: str, detail: str) -> None:
    good = service("z", servers=4, boot_seconds=1.0)
    by = [{"by": "Expression", "expression": expression}]
    decision = decide([service("a"), good], preferences=by)
    assert ranked(decision) == [("z", 100.0), ("a", 0.0)]
    assert decision.candidates[1].reasons[0].startswith(f"the expression counts 0: {detail}")


def test_an_expression_ranks_in_proportion_to_the_greatest_result() -> None:
    services = [service("a", servers=1), service("b", servers=4), service("c", servers=2), service("d")]
    decision = decide(services, preferences=[{"by": "Expression", "expression": "service.servers"}])
    assert ranked(decision) == [("b", 100.0), ("c", 50.0), ("a", 25.0), ("d", 0.0)]
    assert decision.message == "b: greatest result of 4: the expression gives 4 against the expression gives 2 (c)"
    zero = decide([service("b"), service("a")], preferences=[{"by": "Expression", "expression": "service.servers"}])
    assert ranked(zero) == [("a", 100.0), ("b", 100.0)]
    wrong = decide(services, preferences=[{"by": "Expression", "expression": "service.nope"}])
    assert "nothing is known of any of them by expression" in wrong.message


def test_stickiness_favours_the_service_of_before() -> None:
    dear = service("b", offerings=(OFFERINGS[0].model_copy(update={"price_per_hour": Decimal("0.04")}),))
    services = [service("a"), dear]
    before = request(before="uid-b")
    assert chosen(decide(services, before)) == "a"
    assert chosen(decide(services, before, stickiness=49)) == "a"
    decision = decide(services, before, stickiness=51)
    assert chosen(decision) == "b"
    assert decision.message.startswith(
        "b: best of 2 by price 100, stickiness 51: score 66.9 (0.08/h, the group was here"
    )
    assert decision.candidates[0].scores is not None
    assert decision.candidates[0].scores.stickiness == 100.0
    gone = decide(services, request(before="uid-c"), stickiness=100)
    assert chosen(gone) == "a"
    assert gone.message.endswith("by stickiness, which decided nothing")
