"""One member's next changes, as tables; who is sick, and how tries are spaced."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from moorage.api.servergroup import Remediation, UpdateStrategy
from moorage.core.exhaustion import Attempted
from moorage.core.rollout import (
    FAILURE_BACKOFF,
    FAILURE_BACKOFF_MAX,
    GroupServer,
    MemberPlan,
    MemberWant,
    Removal,
    Sick,
    Template,
    failure_backoff,
    find_sick,
    plan_member,
    remediation_allowed,
    waves,
)

NOW = datetime(2026, 1, 1, 12, tzinfo=UTC)
S = timedelta(seconds=1)


def server(ordinal: int = 0, **changes: Any) -> GroupServer:
    """A ready server of the present revision."""
    base: dict[str, Any] = {
        "name": f"g-m-{ordinal}",
        "uid": f"u{ordinal}",
        "member": "m",
        "ordinal": ordinal,
        "placement": 1,
        "revision": "r2",
        "retain": False,
        "created": NOW - 3600 * S,
        "instantiated": True,
        "instantiated_at": NOW - 3000 * S,
        "joined": True,
        "configured": True,
        "ready": True,
    }
    return GroupServer(**{**base, **changes})


def want(replicas: int = 2, granted: int = 2, **changes: Any) -> MemberWant:
    base: dict[str, Any] = {"revision": "r2", "template": Template("image", "small")}
    return MemberWant("m", "c", replicas, granted, **{**base, **changes})


def plan(
    wanted: MemberWant,
    *servers: GroupServer,
    strategy: dict[str, Any] | None = None,
    sick: dict[str, Sick] | None = None,
    may_grow: bool = True,
) -> MemberPlan:
    return plan_member(
        wanted,
        servers,
        UpdateStrategy.from_dict(strategy or {}),
        sick or {},
        placement=1,
        may_grow=may_grow,
        now=NOW,
    )


def short(found: MemberPlan) -> tuple[list[int], list[tuple[str, str]], list[str]]:
    """Ordinals created, (name, reason) removed, names revised."""
    return (
        [c.ordinal for c in found.creations],
        [(r.name, r.reason) for r in found.removals],
        [r.name for r in found.revisions],
    )


FAILED = {"instantiated": False, "ready": False, "failed": "InsufficientCapacity", "message": "full"}
OLD = {"revision": "r1"}
OUTDATED = {"revision": "r1", "outdated": True}
DOWN = {"ready": False}

PLANS: dict[str, tuple[MemberPlan, tuple[list[int], list[tuple[str, str]], list[str]]]] = {
    "nothing to do": (plan(want(), server(0), server(1)), ([], [], [])),
    "all at once": (plan(want(3, 0)), ([0, 1, 2], [], [])),
    "a gap is filled": (plan(want(3, 3), server(0), server(2)), ([1], [], [])),
    "one that is going keeps its name": (plan(want(1, 1), server(0, deleting=True)), ([], [], [])),
    "scaled down": (plan(want(1), server(0), server(1)), ([], [("g-m-1", "ScaledDown")], [])),
    "scaled to none": (plan(want(0), server(0)), ([], [("g-m-0", "ScaledDown")], [])),
    "of an earlier placement": (plan(want(1, 1), server(0, placement=0)), ([0], [("g-m-0", "ScaledDown")], [])),
    "no growth without the policy": (plan(want(3, 1), server(0), may_grow=False), ([], [], [])),
    "what was granted is made again": (plan(want(3, 2), server(0), may_grow=False), ([1], [], [])),
    "no template: nothing is made or replaced": (
        plan(want(2, 2, template=None), server(0, **OUTDATED)),
        ([], [], []),
    ),
    "lost": (plan(want(1, 1), server(0, failed="Lost", **DOWN)), ([], [("g-m-0", "Lost")], [])),
    "made, and gone before it ran, just now": (
        plan(want(1, 1), server(0, failed_at=NOW, **{**FAILED, "failed": "Lost"})),
        ([], [], []),
    ),
    "made, and gone before it ran, a while ago": (
        plan(want(1, 1), server(0, failed_at=NOW - FAILURE_BACKOFF, **{**FAILED, "failed": "Lost"})),
        ([], [("g-m-0", "Lost")], []),
    ),
    "could not be made, just now": (plan(want(1, 1), server(0, failed_at=NOW, **FAILED)), ([], [], [])),
    "could not be made, a while ago": (
        plan(want(1, 1), server(0, failed_at=NOW - FAILURE_BACKOFF, **FAILED)),
        ([], [("g-m-0", "CreateFailed")], []),
    ),
    "sick": (
        plan(want(1, 1), server(0, **DOWN), sick={"u0": Sick(server(0), "Unhealthy", "ill", NOW)}),
        ([], [("g-m-0", "Unhealthy")], []),
    ),
    "revised, one at a time, the highest first": (
        plan(want(), server(0, **OLD), server(1, **OLD)),
        ([], [], ["g-m-1"]),
    ),
    "replaced, one at a time": (
        plan(want(), server(0, **OUTDATED), server(1, **OUTDATED)),
        ([], [("g-m-1", "Replaced")], []),
    ),
    "the budget is used up": (plan(want(), server(0, **OLD), server(1, **DOWN)), ([], [], [])),
    "the budget is used up by one that is missing": (plan(want(), server(0, **OLD)), ([1], [], [])),
    "what is down changes first and costs nothing": (
        plan(want(), server(0, **OLD), server(1, **OLD, **DOWN)),
        ([], [], ["g-m-1"]),
    ),
    "a larger budget": (
        plan(want(), server(0, **OLD), server(1, **OLD), strategy={"maxUnavailable": "100%"}),
        ([], [], ["g-m-1", "g-m-0"]),
    ),
    "Recreate": (
        plan(want(), server(0, **OUTDATED), server(1, **OUTDATED), strategy={"type": "Recreate"}),
        ([], [("g-m-0", "Replaced"), ("g-m-1", "Replaced")], []),
    ),
    "OnDelete": (plan(want(1, 1), server(0, **OUTDATED), strategy={"type": "OnDelete"}), ([], [], [])),
}


@pytest.mark.parametrize("case", PLANS)
def test_plan(case: str) -> None:
    found, expected = PLANS[case]
    assert short(found) == expected


def test_a_try_that_failed_is_spaced_counted_and_forgotten_with_success() -> None:
    waiting = plan(want(1, 1, failures=2), server(0, failed_at=NOW - S, **FAILED))
    assert waiting.wake_at == NOW - S + 4 * FAILURE_BACKOFF
    given_up = plan(want(1, 1, failures=2), server(0, failed_at=NOW - 9 * 60 * S, **FAILED))
    assert given_up.failures == 3
    vanished = plan(want(1, 1, failures=2), server(0, failed_at=NOW - 9 * 60 * S, **{**FAILED, "failed": "Lost"}))
    assert vanished.failures == 3, "what takes a new server away takes the next one as well"
    assert plan(want(1, 1, failures=3), server(0)).failures == 0
    assert [failure_backoff(n) for n in (0, 1, 99)] == [FAILURE_BACKOFF, 2 * FAILURE_BACKOFF, FAILURE_BACKOFF_MAX]


REMEDIATION = Remediation.from_dict({"bootTimeout": "60s", "joinTimeout": "30s", "unhealthyFor": "10s"})
BOOTING: dict[str, Any] = {
    "instantiated": False,
    "instantiated_at": None,
    "joined": False,
    "configured": False,
    "ready": False,
}
SICK: dict[str, tuple[GroupServer, str | None]] = {
    "ready": (server(), None),
    "booting": (server(**BOOTING, tried_at=NOW - 59 * S), None),
    "did not boot": (server(**BOOTING, tried_at=NOW - 60 * S), "BootTimeout"),
    "never asked for": (server(**BOOTING), None),
    "joining": (server(joined=False, ready=False, instantiated_at=NOW - 29 * S), None),
    "did not join": (server(joined=False, ready=False, instantiated_at=NOW - 30 * S), "JoinTimeout"),
    "adopted, no agent yet": (server(joined=False, ready=False, adopted=True), None),
    "ill": (server(ready=False, unhealthy_since=NOW - 10 * S), "Unhealthy"),
    "ill, not for long": (server(ready=False, unhealthy_since=NOW - 9 * S), None),
    "going": (server(ready=False, unhealthy_since=NOW - 99 * S, deleting=True), None),
    "failed already": (server(ready=False, unhealthy_since=NOW - 99 * S, failed="Lost"), None),
}


@pytest.mark.parametrize("case", SICK)
def test_sick(case: str) -> None:
    given, expected = SICK[case]
    found, due = find_sick([given], REMEDIATION, NOW)
    assert [s.reason for s in found] == ([] if expected is None else [expected])
    assert (due is not None) == (case in {"booting", "never asked for", "joining", "ill, not for long"})


def test_the_boot_time_counts_from_the_first_attempt_and_not_from_when_the_object_was_made() -> None:
    held = server(**BOOTING)
    found, due = find_sick([held], REMEDIATION, NOW)
    assert (found, due) == ((), NOW + 60 * S), "nothing tells of the first attempt: it is looked for in time"
    tried = replace(held, tried_at=NOW + S)
    assert find_sick([tried], REMEDIATION, NOW + 60 * S) == ((), NOW + 61 * S)
    found, _ = find_sick([tried], REMEDIATION, NOW + 61 * S)
    assert [s.reason for s in found] == ["BootTimeout"]


@pytest.mark.parametrize(
    ("limit", "sick", "total", "allowed"),
    [("40%", 1, 1, True), ("40%", 1, 2, True), ("40%", 3, 5, False), ("40%", 2, 5, True), (0, 1, 9, False)],
)
def test_a_few_sick_servers_are_replaced_and_many_are_not(
    limit: str | int, sick: int, total: int, allowed: bool
) -> None:
    assert remediation_allowed(sick, total, Remediation.from_dict({"maxUnhealthy": limit})) is allowed


def test_removals_come_in_waves_dependents_first() -> None:
    removals = [Removal(f"g-{m}-0", m, "Released", "") for m in ("db", "cache", "web", "probe")]
    member_of = {r.uid: r.uid for r in removals}
    found = waves(removals, member_of, {"db": {"cache", "web"}, "cache": {"web"}})
    assert [[r.uid for r in wave] for wave in found] == [["probe", "web"], ["cache"], ["db"]]


def test_members_that_wait_for_each_other_go_together() -> None:
    removals = [Removal(f"g-{m}-0", m, "Released", "") for m in ("a", "b")]
    found = waves(removals, {"a": "a", "b": "b"}, {"a": {"b"}, "b": {"a"}})
    assert [[r.uid for r in wave] for wave in found] == [["a", "b"]]


@pytest.mark.parametrize(
    ("offering", "settings", "reason"),
    [("large", {}, "NextOffering"), ("small", {"market": "demand"}, "NextSettings"), ("small", {}, None)],
)
def test_a_server_that_found_no_room_makes_way_for_what_is_tried_next(
    offering: str, settings: dict[str, Any], reason: str | None
) -> None:
    tried = Attempted("s", "s", "small", {}, "InsufficientCapacity", "full", NOW)
    failed = server(instantiated=False, ready=False, failed="InsufficientCapacity", failed_at=NOW, message="full")
    failed = replace(failed, attempted=tried)
    found = plan(want(1, 1, template=Template("image", offering, settings)), failed).removals
    assert [r.reason for r in found] == ([reason] if reason else [])
    if reason == "NextOffering":
        assert found[0].message == "full; offering large is tried next"


def in_zone(zone: str, market: str = "") -> dict[str, str]:
    return {"zone": zone, "market": market} if market else {"zone": zone}


@pytest.mark.parametrize(
    ("tried", "market", "zones", "told"),
    [
        (in_zone("x"), "", "yz", ("NextZone", "full; y or z is tried next")),
        (in_zone("x"), "", "xyz", None),
        (in_zone("x"), "demand", "xyz", ("NextSettings", "full; other settings are tried next")),
        (in_zone("x", "demand"), "demand", "y", ("NextZone", "full; y is tried next")),
        ({}, "", "x", ("NextZone", "full; x is tried next")),
    ],
)
def test_a_server_that_found_no_room_in_its_zone_makes_way_for_one_in_another(
    tried: dict[str, str], market: str, zones: str, told: tuple[str, str] | None
) -> None:
    settings = {"market": market} if market else {}
    template = Template("image", "small", settings, zones={zone: {"zone": zone} for zone in zones})
    failed = server(instantiated=False, ready=False, failed="InsufficientCapacity", failed_at=NOW, message="full")
    failed = replace(failed, attempted=Attempted("s", "s", "small", tried, "InsufficientCapacity", "full", NOW))
    found = plan(want(1, 1, template=template), failed).removals
    assert [(r.reason, r.message) for r in found] == ([told] if told else [])


def test_a_server_is_made_in_the_zone_with_the_fewest_of_its_siblings_that_stay() -> None:
    template = Template("image", "small", {"market": "Spot"}, zones={zone: {"zone": zone} for zone in "xyz"})

    def made(*servers: GroupServer) -> dict[int, Any]:
        creations = plan(want(5, 5, template=template), *servers).creations
        assert all(c.template.settings["market"] == "Spot" for c in creations)
        return {c.ordinal: c.template.settings["zone"] for c in creations}

    assert made() == {0: "x", 1: "y", 2: "z", 3: "x", 4: "y"}
    here = [server(n, settings=in_zone("x")) for n in (0, 1)]
    assert made(*here) == {2: "z", 3: "y", 4: "y"}
    assert made(replace(here[0], deleting=True), here[1]) == {2: "z", 3: "y", 4: "y"}
    lost = replace(here[0], failed="Lost", failed_at=NOW)
    assert made(lost, here[1]) == {2: "z", 3: "y", 4: "y"}
    assert made(*(server(n, settings=in_zone("unknown")) for n in (0, 1))) == {2: "z", 3: "x", 4: "y"}
