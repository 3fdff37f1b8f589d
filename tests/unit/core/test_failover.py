"""A group leaves the service that fails it, and only then; never three generations, whenever the controller dies."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.support.failover_world import FailoverWorld, failover, settle, until
from tests.support.group_world import S, make_group

from moorage.api.conditions import find
from moorage.api.meta import Condition
from moorage.api.names import server_name
from moorage.core.failover import order
from moorage.core.group import decide_group

CHAOS = st.lists(st.integers(0, 1000), max_size=300)


def running(**more: Any) -> FailoverWorld:
    """A group that is ready on the first service."""
    spec = more.pop("spec", {})
    world = FailoverWorld(iter(()), make_group(remediation={"maxUnhealthy": "0%"}, **spec), **more)
    settle(world)
    placement = world.group.status.placement
    assert placement is not None
    assert placement.service == "one"
    assert len(world.servers) == 5
    return world


def pending(world: FailoverWorld) -> Condition:
    found = find(world.group.status.conditions, "FailoverPending")
    assert found is not None
    return found


def ready(world: FailoverWorld) -> Condition:
    found = find(world.group.status.conditions, "Ready")
    assert found is not None
    return found


def place(world: FailoverWorld) -> tuple[str, int] | None:
    found = world.group.status.placement
    return None if found is None else (found.service, found.number)


def ill(world: FailoverWorld, count: int) -> None:
    for name in sorted(world.servers)[:count]:
        world.servers[name] = world._worse(world.servers[name], "ill")


def test_an_unreachable_service_is_left_and_the_old_servers_go_when_it_is_back() -> None:
    w = running()
    w.down.add("one")
    until(w, 5)
    assert place(w) == ("one", 1)
    until(w, 12)
    assert place(w) == ("two", 2)
    new = {name for name, s in w.servers.items() if s.placement == 2}
    assert new == {server_name("g", m, n, 2) for m, n in (("a", 0), ("a", 1), ("a", 2), ("b", 0), ("b", 1))}
    assert (ready(w).status, len(w.servers)) == ("True", 10)
    assert all(s.deleting for s in w.servers.values() if s.placement == 1)
    assert (pending(w).reason, w.group.status.replicas) == ("EarlierServersRemain", 5)
    assert "g-a-0 on one: it is being deleted" in pending(w).message
    w.down.clear()
    until(w, 3)
    assert set(w.servers) == new
    assert find(w.group.status.conditions, "FailoverPending") is None
    assert w.moves == [("one", "ServiceUnreachable")]


def test_old_servers_stay_until_the_new_ones_are_ready() -> None:
    w = running()
    w.down.add("one")
    until(w, 6)
    w.slow = True
    until(w, 10)
    assert place(w) == ("two", 2)
    assert not any(s.deleting for s in w.servers.values())
    assert "removed once the new servers are ready" in pending(w).message


def test_a_second_failover_waits_until_the_first_generation_is_gone() -> None:
    w = running()
    w.down.add("one")
    until(w, 20)
    w.down.add("two")
    until(w, 30)
    assert place(w) == ("two", 2)
    assert pending(w).reason == "EarlierServersRemain"
    assert "never more than two generations" in pending(w).message
    w.down.discard("one")
    until(w, 20)
    assert place(w) == ("three", 3)


@pytest.mark.parametrize("overlap", ["Forbidden", "Allowed"])
def test_unhealthy_servers_have_the_group_made_anew(overlap: str) -> None:
    w = running(rule=failover(overlap=overlap))
    ill(w, 2)
    until(w, 20)
    assert place(w) == ("one", 1), "two of five are not half"
    ill(w, 3)
    until(w, 25)
    assert place(w) == ("two", 2)
    assert {s.service for s in w.servers.values()} == {"two"}
    assert ready(w).status == "True"
    ending = 2 if overlap == "Allowed" else None
    assert set(w.servers) == {server_name("g", s.member, s.ordinal, ending) for s in w.servers.values()}
    assert w.group.status.failed_over[0].service == "one"


def test_without_overlap_a_service_that_cannot_be_reached_is_never_left() -> None:
    w = running(rule=failover(overlap="Forbidden"))
    before = dict(w.servers)
    w.down.add("one")
    until(w, 60)
    assert w.servers == before
    assert pending(w).reason == "OverlapForbidden"
    assert "set failover.overlap: Allowed in policy p" in pending(w).message
    w.down.clear()
    until(w, 3)
    assert find(w.group.status.conditions, "FailoverPending") is None
    assert place(w) == ("one", 1)


def test_without_overlap_a_service_that_refuses_us_is_never_left() -> None:
    """Revoked credentials, another account, a freeze: every server would be given up, and none made elsewhere."""
    w = running(rule=failover(overlap="Forbidden"))
    ill(w, 3)
    before = dict(w.servers)
    w.refusing.add("one")
    until(w, 60)
    assert w.servers == before
    assert (place(w), pending(w).reason) == (("one", 1), "OverlapForbidden")
    assert "one could confirm none now (it refuses us): it stays until that is mended" in pending(w).message
    w.refusing.clear()
    until(w, 20)
    assert place(w) == ("two", 2)


def test_without_overlap_no_server_is_given_up_on_an_inventory_from_before_the_occasion() -> None:
    """It may have ceased to answer since, and nobody has noticed yet."""
    w = running(rule=failover(overlap="Forbidden"))
    ill(w, 3)
    before = dict(w.servers)
    plan = until(w, 20, look=False)
    assert w.servers == before
    assert pending(w).reason == "InventoryAwaited"
    assert plan.failover.newer_than == plan.failover.cause.due
    w.look()
    until(w, 1, look=False)
    assert place(w) is None


def test_a_service_that_is_lost_half_way_is_told_and_waited_for() -> None:
    w = running(rule=failover(overlap="Forbidden"))
    ill(w, 3)
    while place(w) is not None:
        until(w, 1)
    w.down.add("one")
    until(w, 20)
    assert place(w) is None
    assert {s.service for s in w.servers.values()} == {"one"}
    assert pending(w).reason == "EarlierServersRemain"
    w.down.clear()
    settle(w)
    assert place(w) == ("two", 2)


def test_wait_says_so_and_does_nothing() -> None:
    w = running(rule=failover("Wait"))
    before = dict(w.servers)
    w.down.add("one")
    until(w, 30)
    assert w.servers == before
    assert (pending(w).reason, ready(w).status) == ("FailoverWaits", "True")


def test_ask_waits_for_a_person_and_a_word_about_another_occasion_does_not_count() -> None:
    w = running(rule=failover("Ask"))
    w.down.add("one")
    until(w, 10)
    assert pending(w).reason == "FailoverNotApproved"
    assert "moorage failover g --namespace ns" in pending(w).message
    w.approve()
    w.down.clear()
    until(w, 3)
    w.down.add("one")
    until(w, 20)
    assert place(w) == ("one", 1), "what was approved was another time"
    assert "for another occasion" in pending(w).message
    w.approve()
    until(w, 2)
    assert place(w) == ("two", 2)


def test_what_a_person_approved_holds_though_one_of_the_unhealthy_servers_blinks() -> None:
    w = running(rule=failover("Ask"))
    w.down |= {"two", "three"}
    ill(w, 4)
    until(w, 10)
    told = w.group.status.failover
    assert told is not None
    w.approve()
    until(w, 2)
    assert pending(w).reason == "NoCandidate", "it waits for a service, not for a person"
    first = sorted(w.servers)[0]
    w.servers[first] = replace(w.servers[first], ready=True, unhealthy_since=None)
    until(w, 3)
    w.servers[sorted(w.servers)[4]] = w._worse(w.servers[sorted(w.servers)[4]], "ill")
    for name in sorted(w.servers)[1:3]:
        w.servers[name] = replace(w.servers[name], unhealthy_since=w.now - 6 * S)
    until(w, 2)
    assert w.group.status.failover == told
    w.down.clear()
    until(w, 2)
    assert place(w) == ("two", 2)


def test_who_let_it_leave_is_named_and_a_name_changes_nothing_of_what_is_approved() -> None:
    w = running(rule=failover("Ask", "Forbidden"))
    ill(w, 3)
    until(w, 10)
    told = w.group.status.failover
    assert told is not None
    note = {"moorage.dev/failover": order(told.placement, told.since, "jane\n<b>")}
    meta = w.group.metadata.model_copy(update={"annotations": note})
    w.group = w.group.model_copy(update={"metadata": meta})
    plan = until(w, 1)
    assert plan.phase == "FailingOver"
    assert plan.message.endswith("; jane <b> let it leave")


def test_an_approval_does_not_hold_for_servers_that_were_well_in_between() -> None:
    w = running(rule=failover("Ask"))
    w.down |= {"two", "three"}
    ill(w, 4)
    until(w, 10)
    w.approve()
    w.heal()
    for name, server in w.servers.items():
        w.servers[name] = replace(server, ready=True)
    until(w, 2)
    assert w.group.status.failover is None
    w.down.clear()
    ill(w, 4)
    until(w, 10)
    assert (place(w), pending(w).reason) == (("one", 1), "FailoverNotApproved")


@pytest.mark.parametrize("overlap", ["Forbidden", "Allowed"])
def test_a_protected_group_loses_no_server(overlap: str) -> None:
    w = running(rule=failover(overlap=overlap), spec={"deletionProtection": True})
    before = set(w.servers)
    ill(w, 5)
    until(w, 40)
    assert before <= set(w.servers)
    if overlap == "Forbidden":
        assert (place(w), pending(w).reason) == (("one", 1), "DeletionProtected")
    else:
        assert (place(w), pending(w).reason) == (("two", 2), "EarlierServersRemain")
        assert "deletionProtection keeps them" in pending(w).message


def test_protection_keeps_what_a_failover_left_for_longer_than_its_service_is_avoided() -> None:
    w = running(rule=failover(overlap="Forbidden", avoid="5s"))
    ill(w, 3)
    while place(w) is not None:
        until(w, 1)
    w.servers = {name: replace(s, configured=False) for name, s in w.servers.items()}
    before = {s.uid for s in w.servers.values()}
    w.group = make_group(deletionProtection=True).model_copy(update={"status": w.group.status})
    until(w, 60)
    assert {s.uid for s in w.servers.values() if not s.deleting} == before
    assert pending(w).reason == ready(w).reason == "DeletionProtected"
    w.group = make_group().model_copy(update={"status": w.group.status})
    settle(w)
    assert place(w) is not None
    assert w.group.status.failed_over == (), "nothing is left of it, and its time is over"


def test_protection_that_is_set_once_the_placement_is_given_up_keeps_what_is_left() -> None:
    w = running(rule=failover(overlap="Forbidden"))
    ill(w, 3)
    while place(w) is not None:
        until(w, 1)
    before = set(w.servers)
    status = w.group.status
    w.group = make_group(deletionProtection=True).model_copy(update={"status": status})
    until(w, 20)
    assert set(w.servers) == before
    assert not any(s.deleting for s in w.servers.values())
    assert pending(w).reason == ready(w).reason == "DeletionProtected"
    assert "set spec.deletionProtection to false" in pending(w).message
    w.group = make_group().model_copy(update={"status": w.group.status})
    settle(w)
    assert place(w) == ("two", 2)


def test_retained_servers_are_settled_before_they_go() -> None:
    w = running(spec={"deletionPolicy": "Retain"})
    w.servers = {name: replace(s, retain=False) for name, s in w.servers.items()}
    w.down.add("one")
    until(w, 20)
    assert all(s.retain for s in w.servers.values())


def test_without_another_service_it_stays_with_the_reasons_and_nothing_flaps() -> None:
    w = running()
    w.down |= {"one", "two", "three"}
    until(w, 10)
    assert pending(w).reason == "NoCandidate"
    assert "no service can take it" in pending(w).message
    told = w.group.status
    until(w, 30)
    assert w.group.status == told, "the same world is told in the same words"
    w.down.discard("three")
    until(w, 2)
    assert place(w) == ("three", 2)


def test_the_service_that_was_left_is_not_chosen_again_for_a_while() -> None:
    w = running()
    ill(w, 5)
    until(w, 20)
    assert place(w) == ("two", 2)
    w.down.add("three")
    ill(w, 5)
    until(w, 20)
    assert (place(w), pending(w).reason) == (("two", 2), "NoCandidate")
    until(w, 60)
    assert place(w) == ("one", 3), "an hour later, so to speak, it may be chosen"


@pytest.mark.parametrize("still", [True, False])
def test_what_another_process_saw_counts_only_once_this_one_has_looked(still: bool) -> None:
    """A restart: status says since when; whether it is still so has to be seen first."""
    w = running()
    w.down.add("one")
    until(w, 3)
    w.restart()
    w.looked = {"two", "three"}
    until(w, 30, look=False)
    assert place(w) == ("one", 1)
    if not still:
        w.down.clear()
    w.look()
    until(w, 1, look=False)
    assert place(w) == (("two", 2) if still else ("one", 1))


@pytest.mark.parametrize(("verdict", "missing"), [("Unmet", False), ("Unknown", False), ("Met", True)])
def test_a_policy_that_is_not_met_or_gone_moves_nothing_and_the_group_says_so(verdict: str, missing: bool) -> None:
    w = running()
    before = dict(w.servers)
    w.verdict, w.missing = verdict, missing  # type: ignore[assignment]
    w.down.add("one")
    until(w, 30)
    assert w.servers == before
    if missing:
        told = find(w.group.status.conditions, "PolicyMet")
        assert told is not None
        assert (told.status, told.reason) == ("Unknown", "PolicyNotFound")
    else:
        assert pending(w).reason == f"Policy{verdict}"


def test_a_suspended_group_stays() -> None:
    w = running()
    w.group = make_group(suspend=True).model_copy(update={"status": w.group.status})
    w.down.add("one")
    until(w, 30)
    assert place(w) == ("one", 1)


@settings(max_examples=25, deadline=None)
@given(CHAOS, st.sampled_from(["Forbidden", "Allowed"]), st.sampled_from(["Rebuild", "Ask"]), st.booleans())
def test_never_three_generations_and_nothing_on_bad_data_whenever_the_controller_dies(
    chaos: list[int], overlap: str, action: str, protected: bool
) -> None:
    """The world itself asserts at each step, with two policies' worth of edits under way."""
    spec = {"deletionProtection": protected, "remediation": {"maxUnhealthy": "40%", "unhealthyFor": "30s"}}
    w = FailoverWorld(iter(()), make_group(**spec), rule=failover(action, overlap, "20s"))
    settle(w)
    w.chaos, w.deadly = iter(chaos), True
    for _ in range(90):
        w.happen()
        w.step()
        w.get_on()
    w.group = make_group().model_copy(update={"status": w.group.status})
    settle(w)
    wanted = {(name, ordinal) for name, count in w.replicas.items() for ordinal in range(count)}
    assert {(s.member, s.ordinal) for s in w.servers.values()} == wanted
    assert len(w.servers) == len(wanted), "one generation is left"
    assert all(s.ready for s in w.servers.values())
    assert find(w.group.status.conditions, "FailoverPending") is None


@settings(max_examples=8, deadline=None)
@given(CHAOS)
def test_the_same_world_gives_the_same_plan_in_any_order(chaos: list[int]) -> None:
    w = FailoverWorld(iter(chaos), make_group())
    for _ in range(50):
        w.happen()
        world = w.world()
        turned = replace(world, servers=list(reversed(world.servers)))
        assert decide_group(turned, w.now) == decide_group(world, w.now)
        w.step()
        w.get_on()


def test_the_world_of_these_tests_does_move_groups_and_kill_the_controller() -> None:
    """Or the property above would say nothing."""
    moves, kills = 0, 0
    held: set[str] = set()
    for seed in range(24):
        chaos = iter([(seed * 7919 + n * n * 31 + n * 17) % 1001 for n in range(1500)])
        w = FailoverWorld(iter(()), make_group(), rule=failover())
        settle(w)
        w.chaos, w.deadly = chaos, True
        for _ in range(90):
            w.happen()
            w.step()
            w.get_on()
        moves, kills, held = moves + len(w.moves), kills + w.kills, held | w.held
    assert moves > 5
    assert kills > 50
    assert held >= {"EarlierServersRemain", "OverlapForbidden", "NoCandidate", "FailoverNotApproved", "FailoverWaits"}
