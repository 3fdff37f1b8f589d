"""What holds for a group in any world: servers fail, fall ill and vanish, specs change, the policy turns."""

from __future__ import annotations

import random
from datetime import datetime

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.support.group_world import START, World, make_group, run

from moorage.core.group import GroupPlan, GroupWorld, decide_group

CHAOS = st.lists(st.integers(0, 109), max_size=80)
STRATEGIES = st.sampled_from(
    [
        {"type": "Rolling", "maxUnavailable": 1},
        {"type": "Rolling", "maxUnavailable": "50%"},
        {"type": "Rolling", "maxUnavailable": 2},
        {"type": "Recreate"},
        {"type": "OnDelete"},
    ]
)


def deleted(world: World) -> World:
    """The same group, a deletion asked for."""
    meta = world.group.metadata.model_copy(update={"deletion_timestamp": world.now})
    world.group = world.group.model_copy(update={"metadata": meta})
    return world


@settings(max_examples=80)
@given(CHAOS, STRATEGIES, st.booleans(), st.booleans())
def test_a_fair_world_comes_to_rest_with_what_was_asked_for(
    chaos: list[int], strategy: dict[str, object], release: bool, retain: bool
) -> None:
    spec: dict[str, object] = {"updateStrategy": strategy, "deletionPolicy": "Retain" if retain else "Delete"}
    spec["remediation"] = {"maxUnhealthy": "100%"}
    w = run(World(iter(chaos), make_group(**spec), release=release))
    if w.verdict == "Met":
        wanted = {f"g-{name}-{ordinal}" for name, count in w.replicas.items() for ordinal in range(count)}
        assert set(w.servers) == wanted
        assert all(s.ready for s in w.servers.values())
        if strategy["type"] != "OnDelete":
            assert all(s.revision == f"{s.member}-{w.revision[s.member]}" for s in w.servers.values())
            assert all(w.made_from[s.uid] == w.image[s.member] for s in w.servers.values())
            assert wanted == set() or {c.type for c in w.group.status.conditions if c.status == "True"} >= {"Ready"}
    assert all(s.retain is retain for s in w.servers.values())
    run(deleted(w))
    assert w.finished
    assert not w.servers


@settings(max_examples=40)
@given(CHAOS, STRATEGIES, st.randoms(use_true_random=False))
def test_the_same_world_gives_the_same_plan_in_any_order(
    chaos: list[int], strategy: dict[str, object], shuffler: random.Random
) -> None:
    def decide(world: GroupWorld, now: datetime) -> GroupPlan:
        first = decide_group(world, now)
        servers = list(world.servers)
        shuffler.shuffle(servers)
        assert decide_group(world, now) == first
        other = GroupWorld(world.group, world.policy, world.wants, servers, proposal=world.proposal)
        assert decide_group(other, now) == first
        return first

    run(World(iter(chaos), make_group(updateStrategy=strategy, deletionPolicy="Retain"), decide=decide))


@pytest.mark.parametrize("spec", [{"suspend": True}, {"deletionProtection": True}])
def test_what_a_person_holds_is_held(spec: dict[str, object]) -> None:
    """The world itself asserts that nothing changes; at the end the servers are as they were."""
    w = run(World(iter(()), make_group()))
    before = dict(w.servers)
    held = make_group(**spec)
    w.group = held.model_copy(update={"status": w.group.status})
    w.verdict, w.release = "Unmet", True
    for _ in range(5):
        w.step()
    assert w.servers == before
    if spec.get("deletionProtection"):
        deleted(w)
        for _ in range(5):
            w.step()
        assert w.servers == before


def test_a_quiet_group_takes_few_steps() -> None:
    w = run(World(iter(()), make_group()))
    assert len(w.servers) == 5
    assert w.count == 5
    assert w.now - START < (START.replace(minute=1) - START)
