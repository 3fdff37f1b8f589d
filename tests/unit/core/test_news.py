"""What calls for a look is told in an Event, once; what changes without that is not."""

from __future__ import annotations

import pytest

from moorage.api.placement import Placement
from moorage.core.news import changed_readings, compared, group_news, policy_news, removal_news, service_news
from moorage.core.rollout import Removal

Obj = dict[str, str]


def condition(type_: str, status: str, reason: str, message: str = "told") -> Obj:
    return {"type": type_, "status": status, "reason": reason, "message": message}


def reading(value: str, reason: str, message: str = "told") -> Obj:
    return {"name": "night", "value": value, "reason": reason, "message": message}


READY, BOOTING = condition("Ready", "True", "Ready"), condition("Ready", "False", "Booting")


@pytest.mark.parametrize(
    ("old", "new", "told"),
    [
        ([BOOTING], [READY], [("Normal", "Ready")]),
        ([READY], [condition("Ready", "False", "ReadinessFailed")], [("Warning", "NotReady")]),
        ([READY], [condition("Ready", "False", "Suspended")], [("Normal", "NotReady")]),
        ([READY], [BOOTING], [("Normal", "NotReady")]),
        ([BOOTING], [condition("Ready", "False", "ItemsPending")], []),
        ([], [BOOTING], []),
        ([], [condition("Stalled", "True", "ConfigInvalid")], [("Warning", "ConfigInvalid")]),
        ([], [condition("FailoverPending", "True", "NoCandidate")], [("Warning", "NoCandidate")]),
        (
            [condition("FailoverPending", "True", "FailoverWaits")],
            [condition("FailoverPending", "True", "NoCandidate")],
            [("Warning", "NoCandidate")],
        ),
        (
            [condition("FailoverPending", "True", "NoCandidate")],
            [condition("FailoverPending", "True", "NoCandidate", "told otherwise")],
            [],
        ),
        ([], [condition("FailoverPending", "True", "EarlierServersRemain")], [("Normal", "EarlierServersRemain")]),
    ],
)
def test_a_group_tells_what_calls_for_a_look(old: list[Obj], new: list[Obj], told: list[tuple[str, str]]) -> None:
    assert [(n.type, n.reason) for n in group_news(old, new)] == told


def available(status: str, reason: str) -> list[Obj]:
    return [condition("Available", status, reason)]


@pytest.mark.parametrize(
    ("old", "new", "told"),
    [
        (available("True", "Available"), available("False", "CircuitOpen"), [("Warning", "CircuitOpen")]),
        (available("False", "CircuitOpen"), available("True", "Available"), [("Normal", "Available")]),
        (available("False", "CircuitOpen"), available("False", "Unavailable"), []),
        (available("False", "CircuitOpen"), available("False", "ScopeChanged"), [("Warning", "ScopeChanged")]),
        (available("True", "Available"), available("False", "OvershootFreeze"), [("Warning", "OvershootFreeze")]),
        ([], available("False", "NotSeenYet"), []),
    ],
)
def test_a_service_tells_when_it_goes_and_when_it_is_back(
    old: list[Obj], new: list[Obj], told: list[tuple[str, str]]
) -> None:
    assert [(n.type, n.reason) for n in service_news(old, new)] == told


@pytest.mark.parametrize(
    ("old", "new", "told"),
    [
        (reading("Met", "InSchedule"), reading("Unknown", "TargetTimeout"), [("Warning", "ConditionUnknown")]),
        (reading("Unknown", "TargetTimeout"), reading("Unmet", "Comparison"), [("Normal", "ConditionKnown")]),
        (reading("Unknown", "NotReadYet"), reading("Met", "InSchedule"), []),
        (reading("Met", "InSchedule"), reading("Unmet", "OutOfSchedule"), []),
    ],
)
def test_a_policy_tells_when_a_condition_is_unknown(old: Obj, new: Obj, told: list[tuple[str, str]]) -> None:
    assert [(n.type, n.reason) for n in policy_news([old], [new])] == told


def test_a_log_line_tells_each_change_of_a_reading_and_who_approved() -> None:
    before = reading("Unmet", "NotApproved", "nobody has approved it")
    anna, otto = (reading("Met", "Approved", f"approved by {name}") for name in ("anna", "otto"))
    assert list(changed_readings([before], [anna])) == [
        "condition night: Unmet -> Met (Approved): approved by anna",
    ]
    assert list(changed_readings([anna], [otto])) == ["condition night: Met -> Met (Approved): approved by otto"]
    numbers = reading("Met", "ComparisonTrue", "5 > 3"), reading("Met", "ComparisonTrue", "6 > 3")
    assert list(changed_readings([numbers[0]], [numbers[1]])) == []


def test_servers_that_go_together_are_one_event_that_says_why() -> None:
    gone = [Removal(f"g-m-{n}", f"u{n}", "ScaledDown", "member m: 10 -> 2 servers") for n in range(2, 10)]
    (news,) = removal_news([*gone, Removal("g-m-0", "u0", "Unhealthy", "it is told by itself")])
    assert (news.type, news.reason) == ("Normal", "ScaledDown")
    assert news.message == (
        "member m: 10 -> 2 servers; 8 servers are removed: g-m-2, g-m-3, g-m-4, g-m-5, g-m-6 and 3 more"
    )


def test_that_servers_are_released_is_a_warning() -> None:
    (news,) = removal_news([Removal("g-m-0", "u", "Released", "no longer met: it is day")])
    assert (news.type, news.message) == ("Warning", "no longer met: it is day; 1 server is removed: g-m-0")


def test_a_placement_tells_all_that_it_was_chosen_among() -> None:
    candidates = [
        {"service": "a", "feasible": True, "score": 100, "reasons": ["price 0.06/h"]},
        {"service": "b", "feasible": False, "reasons": ["NotAvailable: it does not answer"]},
    ]
    there = {"number": 1, "service": "a", "time": "2026-01-01T00:00:00Z", "candidates": candidates}
    placement = Placement.from_dict({**there, "rejected": {"NoOffering": 3}})
    assert compared(placement) == (
        "a (score 100; price 0.06/h), b (NotAvailable: it does not answer), 3 more: NoOffering"
    )
