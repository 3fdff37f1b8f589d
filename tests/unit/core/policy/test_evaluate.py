"""A whole policy: what its expressions see, what its status gets, and what its groups make of it."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from moorage.api.hostingpolicy import HostingPolicySpec, HostingPolicyStatus, PolicyCondition, When
from moorage.api.meta import LabelSelector
from moorage.core.expressions import Services
from moorage.core.policy import PolicyResult, evaluate_policy, group_verdict
from moorage.core.policy.readings import INVALID_CONDITION, Observed, read
from moorage.core.services import ServiceView

NOW = datetime(2026, 11, 20, 12, 0, tzinfo=UTC)
HOURS = {"name": "hours", "schedule": {"cron": "0 8 * * MON-FRI", "duration": "10h"}}
OPEN = {"name": "open", "service": {"expression": "services.exists(s, s.available)"}}
TEAM = {"team": "blue"}


def spec(**fields: Any) -> HostingPolicySpec:
    return HostingPolicySpec.from_dict(fields)


def status(result: PolicyResult) -> HostingPolicyStatus:
    """What a restarted controller reads back."""
    written = HostingPolicyStatus(readings=result.readings, next_check_time=result.next_check).to_dict()
    return HostingPolicyStatus.from_dict(json.loads(json.dumps(written)))


def evaluate(policy: HostingPolicySpec, *services: ServiceView, now: datetime = NOW) -> PolicyResult:
    return evaluate_policy(policy, services, HostingPolicyStatus(), now, TEAM)


def test_readings_verdict_and_next_check() -> None:
    result = evaluate(spec(when={"all": [HOURS, OPEN]}), ServiceView("a"))
    assert [(r.name, r.value, r.reason) for r in result.readings] == [
        ("hours", "Met", "InSchedule"),
        ("open", "Met", "ExpressionTrue"),
    ]
    assert result.readings[0].since == NOW.replace(hour=8)
    assert result.next_check == NOW.replace(hour=18)
    assert result.verdict == "Met"
    assert result.message == (
        "met: hours (within its schedule until 2026-11-20T18:00:00Z); open (the expression is true)"
    )
    assert result.invalid == ()


def test_the_next_check_is_the_earliest() -> None:
    soon = {"name": "soon", "schedule": {"from": "2026-11-20T12:30:00Z"}}
    slow = {**OPEN, "for": "10m"}
    assert evaluate(spec(when={"all": [HOURS], "any": [soon]})).next_check == NOW + timedelta(minutes=30)
    result = evaluate(spec(when={"all": [HOURS, slow], "any": [soon]}), ServiceView("a"))
    assert result.next_check == NOW + timedelta(minutes=10)


@pytest.mark.parametrize(
    ("select", "seen"),
    [
        ({}, 2),
        ({"services": {"names": ["a"]}}, 1),
        ({"services": {"selector": {"matchLabels": {"zone": "x"}}}}, 1),
        ({"services": {"names": ["a"], "selector": {"matchLabels": {"zone": "x"}}}}, 0),
    ],
)
def test_expressions_see_the_services_that_may_be_chosen(select: dict[str, Any], seen: int) -> None:
    views = (
        ServiceView("a"),
        ServiceView("b", labels={"zone": "x"}),
        ServiceView("c", allowed_namespaces=LabelSelector(match_labels={"team": "red"})),
    )
    sized = {"name": "sized", "service": {"expression": f"services.size() == {seen}"}}
    assert evaluate(spec(when={"all": [sized]}, select=select), *views).verdict == "Met"


@pytest.mark.parametrize(
    ("condition", "reason", "invalid"),
    [
        ({"service": {"expression": "services.exists(s, s.free)"}}, "ExpressionInvalid", True),
        ({"service": {"expression": "services[9].available"}}, "ExpressionFailed", False),
        ({"schedule": {"cron": "0 8 * * *", "duration": "1h", "timeZone": "Mars/Olympus"}}, "InvalidSchedule", True),
        ({"schedule": {"cron": "99 8 * * *", "duration": "1h"}}, "InvalidSchedule", True),
    ],
)
def test_what_is_wrong_with_a_condition_is_an_unknown_reading_that_hides_no_other(
    condition: dict[str, Any], reason: str, invalid: bool
) -> None:
    result = evaluate(spec(when={"all": [{"name": "wrong", **condition}, OPEN]}), ServiceView("a"))
    assert [(r.value, r.reason) for r in result.readings] == [("Unknown", reason), ("Met", "ExpressionTrue")]
    assert result.verdict == "Unknown"
    assert [r.name for r in result.invalid] == (["wrong"] if invalid else [])


@pytest.mark.parametrize("both", [False, True])
def test_a_condition_of_no_kind_or_of_two_is_unknown(both: bool) -> None:
    schedule, service = PolicyCondition.from_dict(HOURS).schedule, PolicyCondition.from_dict(OPEN).service
    condition = PolicyCondition.model_construct(
        name="x", schedule=schedule if both else None, service=service if both else None
    )
    assert read(condition, Observed(NOW, Services(()))).reason == INVALID_CONDITION


def test_hysteresis_lives_in_status_alone() -> None:
    policy = spec(when={"all": [{**OPEN, "for": "10m", "holdFor": "5m"}]})
    up, down = [ServiceView("a")], [ServiceView("a", usable=False)]
    steps = [
        (0, up, "Unmet"),
        (9, up, "Unmet"),
        (10, up, "Met"),
        (20, down, "Met"),
        (24, down, "Met"),
        (25, down, "Unmet"),
    ]
    kept = HostingPolicyStatus()
    for minutes, services, verdict in steps:
        result = evaluate_policy(policy, services, kept, NOW + timedelta(minutes=minutes), TEAM)
        assert result.verdict == verdict, minutes
        kept = status(result)


@given(st.permutations([ServiceView(n, usable=n == "b") for n in "abcd"]))
def test_the_order_of_services_does_not_matter(services: list[ServiceView]) -> None:
    policy = spec(when={"all": [OPEN, {"name": "b", "service": {"expression": 'services[1].name == "b"'}}]})
    assert evaluate(policy, *services) == evaluate(policy, *sorted(services, key=lambda s: s.name))


def test_evaluating_again_changes_nothing() -> None:
    policy = spec(when={"all": [HOURS, {**OPEN, "for": "10m"}]})
    first = evaluate(policy, ServiceView("a"))
    again = evaluate_policy(policy, [ServiceView("a")], status(first), NOW + timedelta(minutes=3), TEAM)
    assert again == first


def test_a_schedule_without_an_end_in_sight_is_looked_at_again_but_writes_no_time_of_it() -> None:
    policy = spec(when={"all": [{"name": "always", "schedule": {"cron": "0 * * * *", "duration": "2h"}}]})
    first = evaluate(policy)
    assert first.next_check is None
    assert first.look_again is not None
    for hours in range(1, 200):
        later = evaluate_policy(policy, (), status(first), NOW + timedelta(hours=hours), TEAM)
        assert status(later) == status(first)
        assert later.look_again is not None
        assert later.look_again > NOW + timedelta(hours=hours)


def test_a_window_that_ended_while_nobody_looked_is_held_from_its_end() -> None:
    night = {"name": "n", "schedule": {"cron": "0 20 * * *", "duration": "10h"}, "holdFor": "30m"}
    policy = spec(when={"all": [night]})
    midnight = NOW.replace(hour=0)
    met = status(evaluate(policy, now=midnight))
    for minutes, value in ((6 * 60 + 10, "Met"), (6 * 60 + 30, "Unmet"), (11 * 60, "Unmet")):
        after = evaluate_policy(policy, (), met, midnight + timedelta(minutes=minutes), TEAM)
        assert after.readings[0].value == value
        if value == "Unmet":
            assert after.readings[0].since == NOW.replace(hour=6, minute=30)
        else:
            assert (after.readings[0].reason, after.next_check) == ("Held", NOW.replace(hour=6, minute=30))


def test_a_group_keeps_since_while_the_verdict_of_the_same_policy_stays() -> None:
    policy = spec(when={"all": [HOURS]})
    inside, later = evaluate(policy), evaluate(policy, now=NOW + timedelta(hours=9))
    first = group_verdict("p", policy.when, inside.readings, None, NOW)
    assert (first.name, first.verdict, first.since) == ("p", "Met", NOW)
    assert group_verdict("p", policy.when, inside.readings, first, NOW + timedelta(hours=1)) == first
    other = group_verdict("q", policy.when, inside.readings, first, NOW + timedelta(hours=1))
    assert other.since == NOW + timedelta(hours=1)
    over = group_verdict("p", policy.when, later.readings, first, NOW + timedelta(hours=9))
    assert (over.verdict, over.since) == ("Unmet", NOW + timedelta(hours=9))
    assert over.message == "unmet: hours (outside its schedule until 2026-11-23T08:00:00Z)"


def test_a_policy_that_does_not_exist_or_was_not_read_decides_nothing() -> None:
    missing = group_verdict("p", None, (), None, NOW)
    assert (missing.verdict, missing.message) == ("Unknown", "there is no HostingPolicy 'p'")
    unread = group_verdict("p", When.from_dict({"all": [HOURS]}), (), None, NOW)
    assert (unread.verdict, unread.message) == ("Unknown", "unknown: hours was not read yet")
