"""Approvals and votes from caches to status: what the group says, when it looks again, and what it never takes away."""

from __future__ import annotations

import copy
from datetime import datetime, timedelta
from typing import Any

import pytest
from tests.support.controller_bench import Bench, read_policy

from moorage.api.names import ANNOTATION_APPROVAL, ANNOTATION_REQUIRE_APPROVAL
from moorage.api.servergroup import ServerGroup, ServerGroupStatus
from moorage.controllers.edges import Edges
from moorage.controllers.group import GroupController
from moorage.controllers.group_world import GroupObserver
from moorage.core.group import GroupPlan, decide_group
from moorage.core.policy.approval import Approval
from moorage.kube.kinds import HOSTING_POLICY, NAMESPACE, SERVER_GROUP, VIRTUAL_SERVER, VIRTUAL_SERVER_CONFIG

ALWAYS = {"name": "always", "schedule": {"from": "2000-01-01T00:00:00Z"}}
OVER = {"name": "over", "schedule": {"until": "2000-01-01T00:00:00Z"}}
ASKED = {"name": "asked", "approval": {}}
BUSY = {"name": "busy", "vote": {"output": "busy", "share": 50}}
HOUR = timedelta(hours=1)
OPENED = {"gateOpened": "2026-01-01T00:00:00Z"}
PLACEMENT = {"number": 1, "service": "s", "serviceUID": "su", "time": "2026-01-01T00:00:00Z", **OPENED}
PLACED = {"observedGeneration": 1, "placement": PLACEMENT, "placements": 1}
ALLOWED = {**PLACED, "members": [{"name": "m", "config": "c", "desired": 1}]}


def now(bench: Bench) -> datetime:
    return bench.context.clock.now()


async def scene(bench: Bench, *conditions: dict[str, Any], any: Any = (), **more: Any) -> dict[str, Any]:
    """A policy that is read, a configuration with an output, and the group."""
    spec = {"when": {"all": list(conditions), "any": list(any)}, "whenUnmet": "Release"}
    await bench.put(HOSTING_POLICY, "p", spec)
    await read_policy(bench)
    outputs = [{"name": "busy", "command": "busy"}]
    await bench.put(VIRTUAL_SERVER_CONFIG, "c", {"images": [{"image": "i"}], "outputs": outputs})
    return await bench.group(**more)


def approve(bench: Bench, until: datetime | None = None, **fields: Any) -> None:
    """Somebody writes the annotation."""
    meta = bench.api.stored(SERVER_GROUP, "ns", "g")["metadata"]
    whole = {"uid": meta["uid"], "generation": 1, "by": "jane", "at": now(bench), "until": until, **fields}
    meta["annotations"] = {ANNOTATION_APPROVAL: Approval(**whole).encode()}
    bench.context.store.ingest(SERVER_GROUP, bench.api.change(SERVER_GROUP, "ns", "g", metadata=meta))


async def look(bench: Bench) -> tuple[ServerGroupStatus, float | None]:
    """Reconcile the group: its status, and after how many seconds it is looked at again."""
    observer = bench.observer = bench.observer or GroupObserver(bench.context, bench.tables)
    result = await GroupController(bench.context, bench.tables, observer, Edges(bench.tables)).reconcile(("ns", "g"))
    await bench.context.writer.flush()
    obj = bench.tables.groups.get("ns", "g")
    assert obj is not None
    return ServerGroup.from_dict(obj).status, result.after


def plan(bench: Bench) -> GroupPlan:
    """What would be done now."""
    obj = bench.tables.groups.get("ns", "g")
    assert obj is not None
    return decide_group(GroupObserver(bench.context, bench.tables).observe(obj, now(bench)), now(bench))


def told(status: ServerGroupStatus) -> tuple[str, str, str]:
    """The verdict, and the reason and message of the group's own reading."""
    assert status.policy is not None
    (reading,) = status.policy.readings
    return status.policy.verdict, reading.reason, reading.message


async def test_a_group_waits_for_its_approval_and_looks_again_when_it_ends(bench: Bench) -> None:
    await scene(bench, ALWAYS, ASKED)
    policy = bench.api.stored(HOSTING_POLICY, "ns", "p")["status"]
    assert [r["name"] for r in policy["readings"]] == ["always"]
    assert [(c["type"], c["message"]) for c in policy["conditions"]] == [("Ready", "decided for each group: asked")]
    status, after = await look(bench)
    assert (told(status), after) == (("Unmet", "NotApproved", "nobody has approved it: moorage approve g -n ns"), None)
    ready = next(c for c in status.conditions if c.type == "Ready")
    assert (ready.reason, "moorage approve g" in ready.message) == ("PolicyUnmet", True)

    approve(bench, until=now(bench) + HOUR)
    status, after = await look(bench)
    assert told(status)[:2] == ("Met", "Approved")
    assert after == 3600.0
    assert next(c for c in status.conditions if c.type == "Placed").reason == "NoFeasibleService"

    bench.context.clock.advance(3600)  # type: ignore[attr-defined]
    status, after = await look(bench)
    assert (told(status)[:2], after) == (("Unmet", "ApprovalLapsed"), None)
    before = len(bench.api.calls)
    await look(bench)
    assert len(bench.api.calls) == before, "nothing changed, and yet something was written"


async def test_what_an_approval_allowed_stays_when_it_ends_and_nothing_is_added(bench: Bench) -> None:
    group = await scene(bench, ALWAYS, ASKED, status=ALLOWED)
    await bench.server(group)
    for fields in ({}, {"at": now(bench) - 2 * HOUR, "until": now(bench) - HOUR}, {"generation": 7}):
        if fields:
            approve(bench, **fields)
        status, _ = await look(bench)
        assert told(status)[0] == "Unmet"
        assert status.placement is not None
        assert plan(bench).removals == ()
    spec = bench.api.stored(SERVER_GROUP, "ns", "g")["spec"]
    grown = {**spec, "members": [{**spec["members"][0], "replicas": 3}]}
    bench.context.store.ingest(SERVER_GROUP, bench.api.change(SERVER_GROUP, "ns", "g", spec=grown))
    assert plan(bench).creations == ()


async def test_what_else_is_unmet_gives_the_servers_back(bench: Bench) -> None:
    group = await scene(bench, OVER, ASKED, status=ALLOWED)
    await bench.server(group)
    assert [r.reason for r in plan(bench).removals] == ["Released"]


async def test_a_policy_that_only_its_servers_could_meet_is_told(bench: Bench) -> None:
    await scene(bench, ALWAYS, BUSY)
    status, _ = await look(bench)
    assert told(status)[:2] == ("Unmet", "NoServers")
    stalled = next(c for c in status.conditions if c.type == "Stalled")
    assert stalled.reason == "PolicyInvalid"
    assert "it has no servers that could vote for busy; let something else place it" in stalled.message


async def test_votes_are_counted_from_what_servers_publish(bench: Bench) -> None:
    group = await scene(bench, any=[OVER, BUSY], status=ALLOWED)
    status, _ = await look(bench)
    assert told(status)[1:] == ("VotesMissing", "no server runs that could vote")
    assert plan(bench).removals == (), "what is not known takes nothing away"

    runs = {"type": "Instantiated", "status": "True", "reason": "Running", "lastTransitionTime": "2026-01-01T00:00:00Z"}
    agent = {"sequence": 1, "outputs": [{"name": "busy", "value": "true"}]}
    server = await bench.server(group, status={"observedGeneration": 1, "conditions": [runs], "agent": agent})
    status, _ = await look(bench)
    assert told(status) == ("Met", "VotedFor", "1 of 1 servers said true, 1 have to")

    agent = {"sequence": 2, "outputs": [{"name": "busy", "value": "false"}]}
    bench.asked()
    changed = {**server, "status": {**server["status"], "agent": agent}}
    changed["metadata"] = {**server["metadata"], "resourceVersion": bench.api.version()}
    bench.context.store.ingest(VIRTUAL_SERVER, changed)
    assert ("ServerGroup", "ns", "g") in bench.asked()
    assert [r.reason for r in plan(bench).removals] == ["Released"]


async def test_a_server_that_was_stopped_has_no_vote_whatever_it_said_last(bench: Bench) -> None:
    group = await scene(bench, any=[OVER, BUSY], status=ALLOWED)
    runs = {"type": "Instantiated", "status": "True", "reason": "Running", "lastTransitionTime": "2026-01-01T00:00:00Z"}
    agent = {"sequence": 1, "outputs": [{"name": "busy", "value": "false"}]}
    seen = {"observedGeneration": 1, "conditions": [runs], "agent": agent}
    server = await bench.server(group, status={**seen, "state": "Stopped"})
    for state, reason in (("Stopped", "VotesMissing"), ("Failed", "VotesMissing"), ("Running", "VotedAgainst")):
        changed = {**server, "status": {**seen, "state": state}}
        changed["metadata"] = {**server["metadata"], "resourceVersion": bench.api.version()}
        bench.context.store.ingest(VIRTUAL_SERVER, changed)
        assert bool(plan(bench).removals) == (state == "Running")
        assert told((await look(bench))[0])[1] == reason


async def test_a_sensitive_output_is_refused_and_its_value_shown_nowhere(bench: Bench) -> None:
    group = await scene(bench, any=[ALWAYS, BUSY], status=PLACED)
    outputs = [{"name": "busy", "command": "busy", "sensitive": True}]
    spec = {"images": [{"image": "i"}], "outputs": outputs}
    changed = bench.api.change(VIRTUAL_SERVER_CONFIG, "ns", "c", spec=spec)
    changed["metadata"]["generation"] = 2
    bench.context.store.ingest(VIRTUAL_SERVER_CONFIG, changed)
    await bench.server(group)
    status, _ = await look(bench)
    assert told(status)[:2] == ("Met", "OutputSensitive")


async def asking(bench: Bench, value: str | None) -> None:
    """The group's namespace, with its annotation about approvals."""
    annotations = {} if value is None else {ANNOTATION_REQUIRE_APPROVAL: value}
    await bench.put(NAMESPACE, "ns", {}, namespace=None, metadata={"annotations": annotations})


async def test_a_namespace_asks_for_an_approval_whatever_the_policy_says(bench: Bench) -> None:
    await asking(bench, "true")
    await scene(bench, ALWAYS)
    status, _ = await look(bench)
    assert status.policy is not None
    assert status.policy.verdict == "Unmet"
    assert (
        "namespace ns asks for an approval (nobody has approved it: moorage approve g -n ns)" in status.policy.message
    )
    assert not any(c.type == "Placed" and c.status == "True" for c in status.conditions)
    approve(bench, until=now(bench) + HOUR)
    status, after = await look(bench)
    assert status.policy is not None
    assert (status.policy.verdict, after) == ("Met", 3600.0)
    assert "approved by" in status.policy.message


async def test_what_a_namespace_asks_for_releases_nothing(bench: Bench) -> None:
    await asking(bench, "true")
    group = await scene(bench, ALWAYS, status=ALLOWED)
    await bench.server(group)
    status, _ = await look(bench)
    assert status.policy is not None
    assert (status.policy.verdict, plan(bench).removals, plan(bench).creations) == ("Unmet", (), ())


@pytest.mark.parametrize(
    ("value", "verdict"), [(None, "Met"), ("false", "Met"), ("", "Unmet"), ("yes", "Unmet"), ("True", "Unmet")]
)
async def test_a_slip_does_not_lift_what_a_namespace_asks_for(bench: Bench, value: str | None, verdict: str) -> None:
    await asking(bench, value)
    await scene(bench, ALWAYS)
    status, _ = await look(bench)
    assert status.policy is not None
    assert status.policy.verdict == verdict


async def test_before_its_namespace_was_seen_a_group_is_not_placed_and_then_it_is_looked_at(bench: Bench) -> None:
    await bench.put(NAMESPACE, "another", {}, namespace=None)
    await scene(bench, ALWAYS)
    status, _ = await look(bench)
    assert status.policy is not None
    assert (status.policy.verdict, "namespace ns was not seen yet" in status.policy.message) == ("Unknown", True)
    bench.asked()
    await asking(bench, None)
    assert ("ServerGroup", "ns", "g") in bench.asked()


async def test_groups_are_looked_at_when_their_namespace_begins_to_ask(bench: Bench) -> None:
    await bench.put(NAMESPACE, "ns", {}, namespace=None)
    await scene(bench, ALWAYS)
    bench.asked()
    namespace = copy.deepcopy(bench.api.stored(NAMESPACE, None, "ns"))
    namespace["metadata"]["annotations"] = {ANNOTATION_REQUIRE_APPROVAL: "true"}
    namespace["metadata"]["resourceVersion"] = "100000"
    bench.context.store.ingest(NAMESPACE, namespace)
    assert ("ServerGroup", "ns", "g") in bench.asked()
