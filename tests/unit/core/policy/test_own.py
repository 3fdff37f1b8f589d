"""What a group makes of its own conditions: its verdict, what it may lose, and a policy that waits for itself."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from moorage.api.hostingpolicy import HostingPolicySpec, HostingPolicyStatus, Reading, Verdict, When
from moorage.api.meta import ObjectMeta
from moorage.api.names import ANNOTATION_APPROVAL
from moorage.core.policy import (
    Constituency,
    GroupFacts,
    Votes,
    evaluate_policy,
    group_verdict,
    may_release,
    read_own,
    waits_for_servers,
)
from moorage.core.policy.approval import Approval

NOW = datetime(2026, 11, 20, 12, 0, tzinfo=UTC)
HOUR = timedelta(hours=1)
DAY = {"name": "day", "schedule": {"cron": "0 8 * * *", "duration": "10h"}}
NIGHT = {"name": "night", "schedule": {"cron": "0 20 * * *", "duration": "10h"}}
ASKED = {"name": "asked", "approval": {}}
BUSY = {"name": "busy", "vote": {"output": "busy", "share": 50}}
UNPLACED = Votes(False, (Constituency("web", 1, {"busy": False}),))


def when(**entries: list[dict[str, Any]]) -> When:
    return When.from_dict(entries)


def facts(approval: Approval | None = None, generation: int = 1) -> GroupFacts:
    annotations = {} if approval is None else {ANNOTATION_APPROVAL: approval.encode()}
    meta = ObjectMeta(name="g", namespace="ns", uid="u", generation=generation, annotations=annotations)
    return GroupFacts(meta, UNPLACED)


def evaluate(*conditions: dict[str, Any], now: datetime = NOW, **more: Any) -> Any:
    spec = HostingPolicySpec.from_dict({"when": {"all": list(conditions), **more}})
    return spec.when, evaluate_policy(spec, (), HostingPolicyStatus(), now, {})


def reading(name: str, value: Verdict, reason: str = "") -> Reading:
    return Reading(name=name, value=value, reason=reason, since=NOW)


def test_the_policy_reads_only_what_its_groups_share_and_says_so() -> None:
    _, result = evaluate(DAY, ASKED, BUSY)
    assert [r.name for r in result.readings] == ["day"]
    assert result.message == "decided for each group: asked, busy"
    assert result.invalid == ()
    _, result = evaluate(NIGHT, ASKED)
    assert (result.verdict, result.message) == (
        "Unmet",
        "unmet: night (outside its schedule until 2026-11-20T20:00:00Z)",
    )
    _, result = evaluate(any=[DAY, ASKED])
    assert result.verdict == "Met"
    failing = {"name": "far", "service": {"expression": "services[9].available"}}
    _, result = evaluate(failing, ASKED)
    assert result.message.startswith("decided for each group: asked; unknown: far (")


def test_a_group_decides_by_shared_and_own_readings_together() -> None:
    found, result = evaluate(DAY, ASKED)
    given = Approval("u", 1, "jane", NOW - HOUR, NOW + HOUR)
    own = read_own(found, facts(given), None, NOW)
    state = group_verdict("p", found, result.readings, None, NOW, own.readings)
    assert (state.verdict, own.next_check) == ("Met", NOW + HOUR)
    assert state.readings == own.readings
    assert state.message == (
        "met: day (within its schedule until 2026-11-20T18:00:00Z);"
        " asked (approved by jane at 2026-11-20T11:00:00Z until 2026-11-20T13:00:00Z)"
    )
    later = read_own(found, facts(given), state, NOW + HOUR)
    unmet = group_verdict("p", found, result.readings, state, NOW + HOUR, later.readings)
    assert (unmet.verdict, unmet.since) == ("Unmet", NOW + HOUR)
    assert unmet.message == "unmet: asked (the approval by jane ended at 2026-11-20T13:00:00Z: moorage approve g -n ns)"


def test_an_approval_is_delayed_by_for_and_never_held() -> None:
    slow = when(all=[{**ASKED, "for": "10m", "holdFor": "1h"}])
    given = facts(Approval("u", 1, "jane", NOW))
    pending = read_own(slow, given, None, NOW)
    assert (pending.readings[0].reason, pending.next_check) == ("PendingAnew", NOW + HOUR / 6)
    state = group_verdict("p", slow, (), None, NOW, pending.readings)
    met = read_own(slow, given, state, NOW + HOUR / 6)
    assert met.readings[0].value == "Met"
    state = group_verdict("p", slow, (), state, NOW, met.readings)
    changed = read_own(slow, facts(Approval("u", 1, "jane", NOW), generation=2), state, NOW + HOUR / 3)
    assert (changed.readings[0].value, changed.readings[0].reason) == ("Unmet", "ApprovalOutdated")


@pytest.mark.parametrize(
    ("approval", "generation"),
    [
        (None, 1),
        (Approval("u", 1, "jane", NOW - 2 * HOUR, NOW - HOUR), 1),
        (Approval("u", 1, "jane", NOW - HOUR), 2),
        (Approval("another", 1, "jane", NOW - HOUR), 1),
    ],
)
@pytest.mark.parametrize("entries", [{"all": [DAY, ASKED]}, {"any": [NIGHT, ASKED]}, {"all": [ASKED]}])
def test_an_approval_that_ended_takes_nothing_away(
    approval: Approval | None, generation: int, entries: dict[str, Any]
) -> None:
    spec = HostingPolicySpec.from_dict({"when": entries, "whenUnmet": "Release"})
    shared = evaluate_policy(spec, (), HostingPolicyStatus(), NOW, {}).readings
    own = read_own(spec.when, facts(approval, generation), None, NOW).readings
    assert group_verdict("p", spec.when, shared, None, NOW, own).verdict == "Unmet"
    assert not may_release(spec.when, (*shared, *own))


def test_what_is_unmet_beside_an_approval_still_releases() -> None:
    both = when(all=[NIGHT, ASKED])
    assert may_release(both, [reading("night", "Unmet"), reading("asked", "Unmet")])
    assert may_release(both, [reading("night", "Unmet"), reading("asked", "Met")])
    assert may_release(when(all=[BUSY]), [reading("busy", "Unmet")])
    assert not may_release(when(all=[BUSY]), [reading("busy", "Unknown")])


@pytest.mark.parametrize("value", ["Met", "Unmet", "Unknown"])
def test_whether_somebody_approves_takes_nothing_away_under_not_either(value: Verdict) -> None:
    frozen = when(all=[DAY, {"not": ASKED}])
    assert not may_release(frozen, [reading("day", "Met"), reading("asked", value)])
    assert may_release(frozen, [reading("day", "Unmet"), reading("asked", value)])
    either = when(any=[NIGHT, {"not": ASKED}])
    assert not may_release(either, [reading("night", "Unmet"), reading("asked", value)])


def test_the_first_answer_to_a_new_question_releases_nothing_because_of_its_for() -> None:
    policy = when(all=[BUSY])
    anew = reading("busy", "Unmet").model_copy(update={"reason": "PendingAnew"})
    assert not may_release(policy, [anew])
    assert may_release(policy, [anew.model_copy(update={"reason": "Pending"})])
    assert may_release(when(all=[NIGHT, BUSY]), [reading("night", "Unmet"), anew])


_VALUES = st.sampled_from(["Met", "Unmet", "Unknown"])
_SHAPES = st.sampled_from(
    [
        {"all": [NIGHT, ASKED]},
        {"any": [NIGHT, ASKED]},
        {"all": [NIGHT], "any": [BUSY, ASKED]},
        {"all": [ASKED], "any": [BUSY, NIGHT]},
    ]
)


@given(_SHAPES, _VALUES, _VALUES, _VALUES)
def test_whatever_releases_would_release_with_any_approval_given(
    shape: dict[str, Any], night: Verdict, busy: Verdict, asked: Verdict
) -> None:
    tree = when(**shape)
    others = [reading("night", night), reading("busy", busy)]
    if asked != "Met" and may_release(tree, [*others, reading("asked", asked)]):
        approved = group_verdict("p", tree, others, None, NOW, [reading("asked", "Met")])
        assert approved.verdict == "Unmet"


@pytest.mark.parametrize(
    ("entries", "waits"),
    [
        ({"all": [BUSY]}, ("busy",)),
        ({"all": [DAY, BUSY]}, ("busy",)),
        ({"any": [DAY, BUSY]}, ()),
        ({"any": [ASKED, BUSY]}, ()),
        ({"all": [DAY], "any": [BUSY]}, ("busy",)),
        ({"any": [BUSY, {**BUSY, "name": "busier"}]}, ("busy", "busier")),
        ({"all": [DAY]}, ()),
    ],
)
def test_a_policy_that_waits_for_servers_of_its_own_is_found(entries: dict[str, Any], waits: tuple[str, ...]) -> None:
    own = read_own(when(**entries), facts(), None, NOW).readings
    assert waits_for_servers(when(**entries), own) == waits
