"""What a group does in which order, and what it waits for."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

from tests.support.group_world import World, make_group, run

from moorage.core.group import decide_group
from moorage.core.group_status import group_status


def settled(**spec: object) -> World:
    return run(World(iter(()), make_group(**spec)))


def test_what_becomes_of_a_server_is_settled_before_its_deletion() -> None:
    w = settled()
    w.group = make_group(deletionPolicy="Retain").model_copy(update={"status": w.group.status})
    w.verdict, w.release = "Unmet", True
    plan = decide_group(w.world(), w.now)
    assert len(plan.retain) == 5
    assert plan.removals == ()
    w.servers = {name: replace(s, retain=True) for name, s in w.servers.items()}
    assert len(decide_group(w.world(), w.now).removals) == 5


def test_a_member_that_shrinks_keeps_those_whose_policy_is_not_written_yet() -> None:
    w = settled()
    w.group = make_group(deletionPolicy="Retain").model_copy(update={"status": w.group.status})
    w.replicas["a"] = 1
    one = next(iter(w.servers.values()))
    w.servers = {name: replace(s, retain=s.name != "g-a-2") for name, s in w.servers.items()}
    plan = decide_group(w.world(), w.now)
    assert [r.name for r in plan.removals] == ["g-a-1"]
    assert plan.retain == (("g-a-2", w.servers["g-a-2"].uid, True),)
    assert one.name in w.servers


def test_servers_that_fell_ill_with_it_keep_one_from_being_replaced() -> None:
    w = settled(remediation={"maxUnhealthy": "40%", "unhealthyFor": "60s"})
    ill = sorted(w.servers)[:3]
    for late, name in enumerate(ill):
        since = w.now + timedelta(seconds=late * 10)
        w.servers[name] = replace(w.servers[name], ready=False, unhealthy_since=since)
    plan = decide_group(w.world(), w.now + timedelta(seconds=65))
    assert plan.removals == ()
    assert "3 of 5 servers are unhealthy" in plan.remediation_blocked


def test_the_gate_waits_for_no_server_that_the_policy_did_not_allow() -> None:
    w = settled()
    placement = w.group.status.placement
    assert placement is not None
    closed = w.group.status.model_copy(update={"placement": placement.model_copy(update={"gate_opened": None})})
    w.group = w.group.model_copy(update={"status": closed})
    w.verdict, w.replicas["a"] = "Unmet", 4
    plan = decide_group(w.world(), w.now)
    assert plan.commit
    assert plan.placement is not None
    assert plan.placement.gate_opened is not None


def test_a_member_that_its_service_cannot_serve_is_named() -> None:
    w = settled()
    w.servers.pop("g-a-0")
    world = w.world()
    problem = ("NoOffering", "member a on s: no offering has 64 CPUs")
    world = replace(world, wants=[replace(want, problem=problem, template=None) for want in world.wants[:1]])
    status = group_status(world, decide_group(world, w.now), w.now)
    ready = next(c for c in status.conditions if c.type == "Ready")
    assert (ready.reason, ready.message) == problem
