"""Where there is no room: other settings first, then another service, and never two placements at once."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.support.capacity_world import CapacityWorld, fallback
from tests.support.group_world import make_group, run

from moorage.api.placement import Exhausted
from moorage.core.exhaustion import (
    EXHAUSTED_FOR,
    MAX_EXHAUSTED,
    MAX_FULL_ZONES,
    Attempted,
    Exhaustion,
    Room,
    in_trouble,
    in_turn,
    no_fallback,
    remembered,
    settings_mark,
)
from moorage.core.gate import is_complete
from moorage.core.group import decide_group
from moorage.core.group_status import group_status
from moorage.core.zones import ZonesOf

NOW = datetime(2026, 1, 1, tzinfo=UTC)
FULL = {("one", ""): 0, ("one", "demand"): 0}
CHAOS = st.lists(st.integers(0, 109), max_size=120)


def attempt(service: str = "one", at: datetime = NOW, offering: str = "small", **tried: Any) -> Attempted:
    return Attempted(service, service, offering, tried, "InsufficientCapacity", "full", at)


def zoned(count: int) -> ZonesOf:
    """So many zones, for settings that name none."""
    return lambda _uid, settings: {} if "zone" in settings else {f"z{n}": {"zone": f"z{n}"} for n in range(count)}


# What is remembered


def test_settings_are_tried_in_turn_and_then_there_are_none_left() -> None:
    entries = remembered((), [attempt()], NOW)
    left = Exhaustion(entries, NOW, fallback).left("one", "one", "small", {})
    assert left == Room({"market": "demand"})
    entries = remembered(entries, [attempt(market="demand")], NOW)
    exhaustion = Exhaustion(entries, NOW, fallback)
    over = exhaustion.left("one", "one", "small", {})
    assert isinstance(over, Exhausted)
    assert over.settings == settings_mark({"market": "demand"})
    assert exhaustion.left("one", "one", "large", {}) == Room({})
    assert exhaustion.left("two", "two", "small", {}) == Room({})
    assert exhaustion.until() == NOW + EXHAUSTED_FOR
    later = Exhaustion(entries, NOW + EXHAUSTED_FOR, fallback)
    assert (later.left("one", "one", "small", {}), later.until()) == (Room({}), None)


def test_the_other_zones_are_tried_before_other_settings() -> None:
    def left(*attempts: Attempted, zones: int = 2, **settings: Any) -> Room | Exhausted:
        return Exhaustion(remembered((), attempts, NOW), NOW, fallback, zoned(zones)).left(
            "one", "one", "small", settings
        )

    first = left()
    assert isinstance(first, Room)
    assert (set(first.zones), first.full) == ({"z0", "z1"}, {})
    one = left(attempt(zone="z0"))
    assert isinstance(one, Room)
    assert (one.settings, one.zones, set(one.full)) == ({}, {"z1": {"zone": "z1"}}, {"z0"})
    both = attempt(zone="z0"), attempt(zone="z1", at=NOW + timedelta(seconds=1))
    market = left(*both)
    assert isinstance(market, Room)
    assert (market.settings, set(market.zones)) == ({"market": "demand"}, {"z0", "z1"})
    every = [replace(a, settings={**a.settings, "market": "demand"}) for a in both]
    over = left(*both, *every)
    assert isinstance(over, Exhausted)
    assert (over.message, over.until) == ("in no zone of z0, z1: full", every[-1].at + EXHAUSTED_FOR)
    named = left(attempt(zone="z0"), zone="z0")
    assert named == Room({"zone": "z0", "market": "demand"}), "settings that name a zone are tried there alone"


def test_what_a_service_has_no_room_for_holds_as_long_as_the_last_of_it() -> None:
    """Or trying all of it, which takes longer than one entry holds, would begin anew for ever."""
    entries: tuple[Exhausted, ...] = ()
    for number in range(12):
        now = NOW + number * timedelta(minutes=3)
        entries = remembered(entries, [attempt(at=now, zone=f"z{number}"), attempt("two", at=NOW)], now)
    last = NOW + 33 * timedelta(minutes=1) + EXHAUSTED_FOR
    assert [(entry.service, entry.until) for entry in entries] == [("one", last)] * 12


def test_a_zone_in_trouble_is_passed_over_while_another_is_open_and_says_nothing_of_room() -> None:
    def left(*zones: str, full: int = 0) -> Room | Exhausted:
        attempts = [replace(attempt(), settings=in_trouble(zone, "", {}), reason="JoinTimeout") for zone in zones]
        attempts += [attempt(zone=f"z{n}") for n in range(full)]
        return Exhaustion(remembered((), attempts, NOW), NOW, no_fallback, zoned(3)).left("one", "one", "small", {})

    for one in (left("z0"), left("z0", "gone")):
        assert isinstance(one, Room)
        assert (set(one.zones), set(one.troubled), one.full) == ({"z1", "z2"}, {"z0"}, {})
    every = left("z0", "z1", "z2")
    assert isinstance(every, Room)
    assert set(every.zones) == {"z0", "z1", "z2"}
    rest = left("z2", full=2)
    assert isinstance(rest, Room)
    assert set(rest.zones) == {"z2"}
    assert isinstance(left("z2", full=3), Exhausted)


def test_zones_in_trouble_take_no_place_of_what_has_no_room_and_the_same_is_new_only_once() -> None:
    full = [attempt(offering=f"o{n}") for n in range(MAX_EXHAUSTED + 5)]
    troubled = [
        replace(attempt(at=NOW + timedelta(seconds=n)), settings=in_trouble(f"z{n}", "i", {}), reason="JoinTimeout")
        for n in range(MAX_EXHAUSTED + 5)
    ]
    entries = remembered((), [*full, *troubled], NOW)
    assert {entry.reason for entry in entries} == {"InsufficientCapacity"}
    assert len(entries) == MAX_EXHAUSTED
    once = remembered((), troubled, NOW)
    assert remembered(once, troubled, NOW) == once, "or it would be written at each look"
    of_another_size = [replace(one, offering="large") for one in troubled]
    assert remembered(once, of_another_size, NOW) == once


def test_a_quota_is_the_whole_services_and_many_full_zones_are_enough() -> None:
    def room(*attempts: Attempted) -> Room | Exhausted:
        return Exhaustion(remembered((), attempts, NOW), NOW, zones=zoned(9)).room("one", "small", {})

    found = room(replace(attempt(zone="z3"), reason="QuotaExceeded"))
    assert isinstance(found, Exhausted)
    assert found.reason == "QuotaExceeded"
    full = [attempt(zone=f"z{n}") for n in range(MAX_FULL_ZONES)]
    assert isinstance(room(*full[:-1]), Room)
    assert isinstance(room(*full), Exhausted)


def test_a_service_that_fills_the_memory_has_no_room_for_anything() -> None:
    """With many members, offerings and zones, the first would be forgotten when the last is remembered."""
    attempts = [attempt(offering=f"o{n}") for n in range(MAX_EXHAUSTED)]

    def room(*attempts: Attempted, service: str = "one", now: datetime = NOW) -> Room | Exhausted:
        return Exhaustion(remembered((), attempts, NOW), now, zones=zoned(2)).room(service, "new", {})

    assert isinstance(room(*attempts[1:]), Room)
    assert isinstance(room(*attempts), Exhausted)
    assert isinstance(room(*attempts, service="two"), Room)
    assert isinstance(room(*attempts, now=NOW + EXHAUSTED_FOR), Room)


def test_a_backend_whose_fallback_never_ends_does_not_hang_the_group() -> None:
    assert len(list(in_turn("t", {"n": 0}, lambda _, s: {"n": s["n"] + 1}))) < 100
    assert list(in_turn("t", {}, no_fallback)) == [{}]


@given(
    st.lists(st.tuples(st.integers(0, 40), st.integers(0, 2), st.integers(0, 1300)), max_size=60),
    st.integers(0, 2000),
)
def test_what_is_remembered_is_bounded_ordered_and_still_holds(tried: list[tuple[int, int, int]], passed: int) -> None:
    now = NOW + timedelta(seconds=passed)
    attempts = [attempt(f"s{n}", NOW + timedelta(seconds=at), f"o{o}") for n, o, at in tried]
    found = remembered((), attempts, now)
    assert len(found) <= MAX_EXHAUSTED
    assert all(entry.until > now for entry in found)
    assert list(found) == sorted(found, key=lambda e: e.until)
    assert remembered(found, attempts, now) == found, "it may be seen again and again"
    assert remembered((), list(reversed(attempts)), now) == found, "the order of servers does not matter"
    assert remembered(found, (), now) == found


# What a group does


@pytest.mark.parametrize("mode", ["GroupInstantiated", "ServerInstantiated"])
def test_a_group_without_room_is_placed_elsewhere_before_its_gate_opens(mode: str) -> None:
    w = CapacityWorld(iter(()), make_group(configureWhen=mode, remediation={"maxUnhealthy": "100%"}), room=dict(FULL))
    run(w)
    assert w.moves == ["one"]
    assert [service for _, service in w.chosen] == ["one", "two"]
    assert len(w.servers) == 5
    assert all(s.ready and s.placement == 2 for s in w.servers.values())
    assert {(e.service, e.settings) for e in w.group.status.exhausted} <= {
        ("one", settings_mark({})),
        ("one", settings_mark({"market": "demand"})),
    }


def test_other_settings_of_the_same_service_come_first_and_take_no_other_placement() -> None:
    w = run(CapacityWorld(iter(()), make_group(), room={("one", ""): 0}))
    assert (w.moves, [service for _, service in w.chosen]) == ([], ["one"])
    assert {w.on[s.uid] for s in w.servers.values()} == {("one", "demand")}
    assert w.count == 10, "each was made once more"


def in_zones(w: CapacityWorld) -> dict[str, list[str]]:
    """The zones of each member's servers, by ordinal."""
    found = sorted(w.servers.values(), key=lambda s: s.ordinal)
    return {m: [w.on[s.uid][1].partition("@")[2] for s in found if s.member == m] for m in ("a", "b")}


def test_the_servers_of_a_member_are_spread_over_the_zones() -> None:
    w = run(CapacityWorld(iter(()), make_group(), zones=("x", "y", "z")))
    assert sorted(in_zones(w)["a"]) == ["x", "y", "z"]
    assert len(set(in_zones(w)["b"])) == 2
    w.replicas["a"] = 7
    run(w)
    assert sorted(Counter(in_zones(w)["a"]).values()) == [2, 2, 3]
    lost = w.servers.pop("g-a-1")
    run(w)
    assert w.on[w.servers["g-a-1"].uid] == w.on[lost.uid], "there it is the emptiest"


def test_a_full_zone_leads_to_the_other_zones_and_nowhere_else() -> None:
    w = run(CapacityWorld(iter(()), make_group(), room={("one", "@x"): 0}, zones=("x", "y")))
    assert (w.moves, [service for _, service in w.chosen]) == ([], ["one"])
    assert {w.on[s.uid] for s in w.servers.values()} == {("one", "@y")}, "and on the same market"
    made = w.count
    w.now += EXHAUSTED_FOR
    w.room["one", "@x"] = 5
    w.replicas["a"] = 4
    run(w)
    assert w.count == made + 1, "nothing that runs is moved"
    assert in_zones(w)["a"] == ["y", "y", "y", "x"]


def test_only_a_service_whose_zones_are_all_full_is_left() -> None:
    full = {("one", f"{market}@{zone}"): 0 for market in ("", "demand") for zone in ("x", "y")}
    w = run(CapacityWorld(iter(()), make_group(), room=full, zones=("x", "y")))
    assert w.moves == ["one"]
    assert all(s.ready and w.on[s.uid][0] == "two" for s in w.servers.values())
    assert set(in_zones(w)["a"]) == {"x", "y"}


def test_half_a_group_that_fits_is_removed_before_the_next_placement() -> None:
    w = run(CapacityWorld(iter(()), make_group(), room={("one", ""): 3, ("one", "demand"): 0}))
    assert w.moves == ["one"]
    assert all(s.placement == 2 for s in w.servers.values())


def test_a_group_that_is_configured_server_by_server_is_placed_elsewhere_until_all_of_it_has_run() -> None:
    """Servers that have configuration already go, and their sessions with them, before anything is made elsewhere."""
    group = make_group(configureWhen="ServerInstantiated")
    w = CapacityWorld(iter(()), group, room={("one", ""): 3, ("one", "demand"): 0})
    configured = False
    for _ in range(60):
        w.step()
        w.get_on()
        configured = configured or any(s.configured and s.placement == 1 for s in w.servers.values())
    assert configured
    assert (w.moves, [service for _, service in w.chosen]) == (["one"], ["one", "two"])
    run(w)
    assert all(s.ready and s.placement == 2 for s in w.servers.values())
    placement = w.group.status.placement
    assert placement is not None
    assert placement.completed is not None
    w.room["two", ""] = 5
    w.replicas["a"] = 4
    for _ in range(60):
        w.step()
        w.get_on()
    assert w.moves == ["one"], "what was whole stays"


def test_a_protected_group_with_configured_servers_stays_where_there_is_no_room_and_says_so() -> None:
    group = make_group(configureWhen="ServerInstantiated", deletionProtection=True)
    w = CapacityWorld(iter(()), group, room={("one", ""): 3, ("one", "demand"): 0})
    for _ in range(60):
        w.step()
        w.get_on()
    kept = {s.name for s in w.servers.values() if s.configured}
    assert (w.moves, len(kept)) == ([], 3)
    ready = next(c for c in w.group.status.conditions if c.type == "Ready")
    assert ready.reason == "NoRoom"
    assert "deletionProtection keeps its servers, some of which have configuration" in ready.message
    w.group = make_group(configureWhen="ServerInstantiated").model_copy(update={"status": w.group.status})
    run(w)
    assert w.moves == ["one"], "the protection was lifted"


def test_protection_does_not_keep_a_group_without_room_while_no_configuration_has_flowed() -> None:
    w = run(CapacityWorld(iter(()), make_group(deletionProtection=True), room={("one", ""): 3, ("one", "demand"): 0}))
    assert w.moves == ["one"]
    assert len(w.servers) == 5


def test_protection_that_is_set_while_a_group_moves_keeps_what_has_configuration() -> None:
    group = make_group(configureWhen="ServerInstantiated")
    w = CapacityWorld(iter(()), group, room={("one", ""): 3, ("one", "demand"): 0})
    while not w.moves:
        w.step()
        w.get_on()
    kept = {s.name for s in w.servers.values() if s.configured}
    assert kept
    status = w.group.status
    w.group = make_group(configureWhen="ServerInstantiated", deletionProtection=True).model_copy(
        update={"status": status}
    )
    for _ in range(20):
        w.step()
        w.get_on()
    assert kept <= set(w.servers)
    placed = next(c for c in w.group.status.conditions if c.type == "Placed")
    assert (placed.reason, w.group.status.placement) == ("DeletionProtected", None)


def test_a_group_whose_configuration_flows_stays_and_says_so() -> None:
    w = run(CapacityWorld(iter(()), make_group(), room={("one", ""): 5, ("one", "demand"): 0}))
    w.replicas["a"] = 4
    for _ in range(60):
        w.step()
        w.get_on()
    assert w.moves == []
    plan = decide_group(w.world(), w.now)
    ready = next(c for c in group_status(w.world(), plan, w.now).conditions if c.type == "Ready")
    assert (ready.status, ready.reason) == ("False", "NoRoom")
    assert "configuration has flowed" in ready.message
    w.room["one", ""] = 6
    run(w)
    assert all(s.ready for s in w.servers.values())


def test_without_room_anywhere_it_waits_where_it_is_with_back_off_and_says_so() -> None:
    full = {(name, market): 0 for name in ("one", "two", "three") for market in ("", "demand")}
    w = CapacityWorld(iter(()), make_group(), room=full)
    made: list[int] = []
    for _ in range(3600):
        w.step()
        w.get_on()
        made.append(w.count)
    assert len(w.moves) >= 2
    assert made[-1] - made[-600] <= 5 * 8, "tries are spaced"
    placement = w.group.status.placement
    conditions = {c.type: (c.reason, c.message) for c in w.group.status.conditions}
    if placement is not None:
        assert "none has room" in conditions["Ready"][1]
    else:
        assert conditions["Placed"][0] == "NoFeasibleService"
    w.room = {("two", ""): 5, **{key: 0 for key in full if key[0] != "two"}}
    run(w, limit=3000)
    assert [service for _, service in w.chosen][-1] == "two"
    assert all(s.ready for s in w.servers.values())


def test_a_stopped_policy_a_suspension_and_a_deletion_move_nothing() -> None:
    for spec, verdict in (({}, "Unmet"), ({}, "Unknown"), ({"suspend": True}, "Met")):
        w = CapacityWorld(iter(()), make_group(), room=dict(FULL))
        while not any(want.exhausted for want in w.world().wants):
            w.step()
            w.get_on()
        held = make_group(**spec).model_copy(update={"status": w.group.status})
        w.group, w.verdict = held, verdict  # type: ignore[assignment]
        for _ in range(20):
            w.step()
            w.get_on()
        assert w.moves == []


@settings(max_examples=60, deadline=None)
@given(
    CHAOS,
    st.booleans(),
    st.sampled_from(["GroupInstantiated", "ServerInstantiated"]),
    st.booleans(),
    st.sampled_from([(), ("x", "y", "z")]),
)
def test_two_placements_never_overlap_and_a_fair_world_comes_to_rest(
    chaos: list[int], release: bool, mode: str, retain: bool, zones: tuple[str, ...]
) -> None:
    """The world itself asserts at each step; at the end there is room on one service."""
    spec: dict[str, Any] = {"configureWhen": mode, "remediation": {"maxUnhealthy": "100%"}}
    spec["deletionPolicy"] = "Retain" if retain else "Delete"
    w = CapacityWorld(iter(chaos), make_group(**spec), release=release, zones=zones)
    for number in range(200):
        if number < 60:
            w.happen()
        w.step()
        w.get_on()
    w.chaos, w.slow = iter(()), False
    w.room = {("two", ""): 10, **{key: 0 for key in w.room if key[0] != "two"}}
    placement = w.group.status.placement
    stays = placement is not None and is_complete(w.group, placement)
    if stays and placement is not None:
        w.room[placement.service, ""] = 10
    run(w, limit=4000)
    if w.verdict == "Met":
        wanted = {f"g-{name}-{ordinal}" for name, count in w.replicas.items() for ordinal in range(count)}
        assert set(w.servers) == wanted
        assert all(s.ready for s in w.servers.values())


@settings(max_examples=30, deadline=None)
@given(CHAOS)
def test_the_same_world_gives_the_same_plan_in_any_order(chaos: list[int]) -> None:
    w = CapacityWorld(iter(chaos), make_group())
    for _ in range(60):
        w.happen()
        world = w.world()
        turned = replace(world, servers=list(reversed(world.servers)))
        assert decide_group(turned, w.now) == decide_group(world, w.now)
        w.step()
        w.get_on()
