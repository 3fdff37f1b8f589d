"""A question that is another one has no memory: of an edited condition, a renamed one, a policy that is made again."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from moorage.api.hostingpolicy import HostingPolicySpec, HostingPolicyStatus, PolicyCondition, Reading, When
from moorage.api.meta import ObjectMeta
from moorage.api.names import ANNOTATION_APPROVAL
from moorage.api.servergroup import PolicyState
from moorage.api.virtualserver import OutputState
from moorage.core.policy import Constituency, GroupFacts, Sample, Voter, Votes, evaluate_policy, read_own
from moorage.core.policy.approval import Approval
from moorage.core.policy.question import question_of
from moorage.core.services import ServiceView

NOW = datetime(2026, 11, 20, 12, 0, tzinfo=UTC)
HOUR = timedelta(hours=1)
METRIC = {"url": "https://prom", "query": "up", "comparison": "Equal", "threshold": 1}
WEBHOOK = {"url": "https://hook", "signingSecretRef": {"name": "key"}}
RESOURCE = {"apiVersion": "v1", "kind": "Pod", "expression": "objects.size() > 0"}
VOTE = {"output": "busy", "share": 50}


def size(more_than: int, **fields: Any) -> dict[str, Any]:
    return {"name": "c", "service": {"expression": f"services.size() > {more_than}"}, **fields}


def look(
    condition: dict[str, Any], previous: Reading | None, now: datetime, *, uid: str = "u", sample: Sample | None = None
) -> Reading:
    """The reading, with what the status says of before."""
    kept = () if previous is None else (Reading.from_dict(json.loads(json.dumps(previous.to_dict()))),)
    spec = HostingPolicySpec.from_dict({"when": {"all": [condition]}})
    samples = {} if sample is None else {condition["name"]: sample}
    views = [ServiceView("a")]
    return evaluate_policy(spec, views, HostingPolicyStatus(readings=kept), now, {}, samples, uid=uid).readings[0]


def test_an_edited_condition_is_not_held_for_what_the_one_before_it_was() -> None:
    met = look(size(0, holdFor="24h"), None, NOW)
    edited = look(size(5, holdFor="24h"), met, NOW + HOUR)
    assert (met.value, edited.value, edited.reason) == ("Met", "Unmet", "ExpressionFalse")
    assert (edited.last_true, edited.since) == (None, NOW + HOUR)


def test_an_edited_condition_begins_its_for_anew_although_both_are_true() -> None:
    met = look(size(0), None, NOW)
    edited = look(size(-1, **{"for": "1h"}), met, NOW + HOUR)
    assert (edited.value, edited.reason, edited.true_since) == ("Unmet", "PendingAnew", NOW + HOUR)
    assert look(size(-1, **{"for": "1h"}), edited, NOW + 2 * HOUR).value == "Met"


def test_a_renamed_condition_is_a_new_question_and_so_are_two_that_exchange_their_names() -> None:
    met = look(size(0, holdFor="24h"), None, NOW)
    renamed = look({**size(0, **{"for": "1h"}), "name": "d"}, met, NOW + HOUR)
    assert renamed.reason == "PendingAnew"
    spec = HostingPolicySpec.from_dict({"when": {"all": [size(0, holdFor="1h"), {**size(5), "name": "d"}]}})
    first = evaluate_policy(spec, [ServiceView("a")], HostingPolicyStatus(), NOW, {})
    turned = HostingPolicySpec.from_dict({"when": {"all": [{**size(0), "name": "d"}, size(5, holdFor="1h")]}})
    status = HostingPolicyStatus(readings=first.readings)
    after = evaluate_policy(turned, [ServiceView("a")], status, NOW, {})
    assert [(r.name, r.value) for r in after.readings] == [("d", "Met"), ("c", "Unmet")]


def test_a_policy_that_is_made_again_under_its_name_remembers_nothing() -> None:
    met = look(size(0), None, NOW)
    again = look(size(0, **{"for": "1h"}), met, NOW + HOUR, uid="another")
    assert again.reason == "PendingAnew"


def test_other_delays_are_no_new_question() -> None:
    met = look(size(0, **{"for": "1m"}), None, NOW - HOUR)
    met = look(size(0, **{"for": "1m"}), met, NOW)
    later = look(size(0, **{"for": "2h", "holdFor": "1h"}), met, NOW + HOUR)
    assert (later.value, later.since, later.question) == ("Met", met.since, met.question)


def test_a_reading_of_before_questions_were_written_is_taken_as_of_the_same() -> None:
    old = look(size(0, holdFor="24h"), None, NOW).model_copy(update={"question": None})
    assert "question" not in old.to_dict()
    held = look(size(5, holdFor="24h"), old, NOW + HOUR)
    assert (held.value, held.reason) == ("Met", "Held")
    assert held.question is not None


@pytest.mark.parametrize(
    ("kind", "spec", "same", "other"),
    [
        ("metric", METRIC, {"interval": "7s", "timeout": "1s", "comparison": "Equal"}, {"threshold": 2}),
        ("metric", METRIC, {"credentialsSecretRef": {"name": "x"}}, {"url": "https://prom2"}),
        ("webhook", WEBHOOK, {"signingSecretRef": {"name": "rotated"}, "interval": "7s"}, {"url": "https://other"}),
        ("resource", RESOURCE, {"selector": {}}, {"selector": {"matchLabels": {"a": "b"}}}),
        ("resource", RESOURCE, {}, {"namespace": "elsewhere"}),
        ("vote", VOTE, {"calm": "10m", "of": "Running"}, {"of": "Desired"}),
        (
            "schedule",
            {"cron": "0 8 * * *", "duration": "2h"},
            {"duration": "120m", "timeZone": "UTC"},
            {"cron": "0 9 * * *"},
        ),
        ("schedule", {"cron": "0 8 * * *", "duration": "2h"}, {"timeZone": "UTC"}, {"timeZone": "Asia/Seoul"}),
        ("approval", {}, {}, {"maxAge": "1h"}),
    ],
)
def test_what_is_asked_makes_the_question_not_how_it_is_asked_nor_how_it_is_spelled(
    kind: str, spec: dict[str, Any], same: dict[str, Any], other: dict[str, Any]
) -> None:
    def asked(**changes: Any) -> str:
        return question_of("u", PolicyCondition.from_dict({"name": "c", kind: {**spec, **changes}}))

    assert asked() == asked(**same)
    assert asked() != asked(**other)


def test_a_question_of_a_remote_target_that_is_another_one_forgets_while_it_waits_for_its_first_answer() -> None:
    yes = Sample(True, "ComparisonTrue", "yes", NOW)
    asked = {"name": "c", "metric": METRIC, "for": "1h"}
    met = look(asked, look(asked, None, NOW - HOUR, sample=yes), NOW, sample=yes)
    restarted = look(asked, met, NOW + HOUR)
    assert look(asked, restarted, NOW + HOUR, sample=yes).value == "Met"
    edited = {**asked, "metric": {**METRIC, "query": "down"}}
    waiting = look(edited, met, NOW + HOUR)
    assert (met.value, waiting.value, waiting.reason) == ("Met", "Unknown", "NotReadYet")
    late = Sample(True, "ComparisonTrue", "yes", NOW + HOUR)
    assert look(edited, waiting, NOW + HOUR, sample=late).reason == "PendingAnew"


def own(condition: dict[str, Any], facts: GroupFacts, previous: Reading | None, now: datetime, uid: str) -> Reading:
    state = None
    if previous is not None:
        kept = Reading.from_dict(json.loads(json.dumps(previous.to_dict())))
        state = PolicyState(name="p", verdict="Met", since=NOW, readings=(kept,))
    return read_own(When.from_dict({"all": [condition]}), facts, state, now, uid).readings[0]


def test_a_groups_own_readings_are_those_of_one_policy_and_one_question() -> None:
    said = {"busy": "true", "idle": "false"}
    outputs = {name: OutputState(name=name, value=value) for name, value in said.items()}
    votes = Votes(True, (Constituency("web", 1, dict.fromkeys(said, False)),), (Voter("web", outputs),))
    approval = Approval("g", 1, "jane", NOW).encode()
    meta = ObjectMeta(name="g", namespace="ns", uid="g", generation=1, annotations={ANNOTATION_APPROVAL: approval})
    facts = GroupFacts(meta, votes)
    vote = {"name": "v", "vote": {"output": "busy", "share": 50, "calm": "1h"}, "holdFor": "1h"}
    met = own(vote, facts, None, NOW, "u")
    idle = own({**vote, "vote": {**vote["vote"], "output": "idle"}}, facts, met, NOW, "u")  # type: ignore[dict-item]
    assert (met.value, idle.value, idle.reason) == ("Met", "Unmet", "VotedAgainst")
    slow = {**vote, "for": "1h"}
    assert own(slow, facts, met, NOW, "u").value == "Met"
    assert own(slow, facts, met, NOW, "another").reason == "PendingAnew"
    asked = own({"name": "a", "approval": {}}, facts, None, NOW, "u")
    again = {"name": "a", "approval": {}, "for": "1h"}
    assert own(again, facts, asked, NOW, "u").value == "Met"
    assert own(again, facts, asked, NOW, "another").reason == "PendingAnew"
