"""What a group knows of the zones of its service: from specs alone, and in an order of each member's own."""

from __future__ import annotations

from collections import Counter
from datetime import datetime, timedelta
from typing import Any, cast

import pytest
from tests.support.controller_bench import Bench, read_policy

from moorage.controllers.group_world import GroupObserver
from moorage.controllers.revisions import ensure_revision
from moorage.core.exhaustion import in_trouble, settings_mark
from moorage.core.group import GroupWorld, decide_group
from moorage.kube import kinds
from moorage.kube.kinds import Kind
from moorage.runtime.clock import ManualClock

ALWAYS = {"when": {"all": [{"name": "always", "schedule": {"from": "2020-01-01T00:00:00Z"}}]}}
SINCE = "2026-01-01T00:00:00Z"
SUBNETS = {f"zone-{one}": f"subnet-{one}" for one in "abc"}
SPOT = {"market": "SpotThenOnDemand"}


def condition(type_: str, status: str = "True", reason: str = "Told", message: str = "") -> dict[str, Any]:
    return {"type": type_, "status": status, "reason": reason, "message": message, "lastTransitionTime": SINCE}


class Cloud:
    """EC2 with three zones, and groups that are placed there."""

    def __init__(self, bench: Bench) -> None:
        self.bench = bench
        self.observer = GroupObserver(bench.context, bench.tables)
        self.service = ""

    async def begin(self, settings: dict[str, Any], subnets: Any) -> None:
        offering = {"name": "small", "cpu": 1, "memory": "1Gi", "arch": "amd64"}
        spec = {"type": "ec2", "endpoint": "https://x", "region": "r", "settings": {"subnets": subnets}}
        made = await self.bench.put(kinds.HOSTING_SERVICE, "cloud", {**spec, "offerings": [offering]}, None)
        self.service = made["metadata"]["uid"]
        await self.bench.put(kinds.HOSTING_POLICY, "p", ALWAYS)
        await read_policy(self.bench)
        values = [{"serviceType": "ec2", "values": settings}] if settings else []
        await self.bench.put(kinds.VIRTUAL_SERVER_CONFIG, "c", {"images": [{"image": "i"}], "settings": values})

    def now(self) -> datetime:
        return self.bench.context.clock.now()

    async def server(self, group: str, ordinal: int, settings: Any, conditions: list[Any], **more: Any) -> None:
        """One of the group's, as it was made; ``more`` is its revision, and its zone by the service's word."""
        spec = {
            "serviceRef": {"name": "cloud", "uid": self.service},
            "group": {"name": group, "uid": self.bench.api.stored(kinds.SERVER_GROUP, "ns", group)["metadata"]["uid"]},
            "member": "m",
            "ordinal": ordinal,
            "placement": 1,
            "image": more.pop("image", "i"),
            "offering": "small",
            "settings": settings,
        }
        if (revision := more.pop("revision", None)) is not None:
            spec["revision"] = revision
        status = {"observedGeneration": 1, "conditions": conditions, **more}
        await self.bench.put(kinds.VIRTUAL_SERVER, f"{group}-m-{ordinal}", spec, status=status)

    async def group(
        self,
        name: str,
        replicas: int,
        *full: dict[str, Any],
        reason: str = "InsufficientCapacity",
        members: tuple[str, ...] = ("m",),
    ) -> Any:
        until = self.bench.context.clock.now() + timedelta(minutes=5)
        entry = {"service": "cloud", "serviceUID": self.service, "offering": "small", "reason": reason}
        entry |= {"message": "full", "until": f"{until:%Y-%m-%dT%H:%M:%SZ}"}
        status = {
            "placement": {"number": 1, "service": "cloud", "serviceUID": self.service, "time": SINCE},
            "placements": 1,
            "exhausted": [{**entry, "settings": settings_mark(one)} for one in full],
        }
        asked = [{"name": member, "configRef": {"name": "c"}, "replicas": replicas} for member in members]
        return await self.bench.put(
            kinds.SERVER_GROUP, name, {"policyRef": {"name": "p"}, "members": asked}, status=status
        )

    def world(self, group: Any) -> GroupWorld:
        return self.observer.observe(group, self.bench.context.clock.now())

    def made(self, group: Any) -> list[dict[str, Any]]:
        """The settings of the servers that are made now."""
        plan = decide_group(self.world(group), self.bench.context.clock.now())
        return [dict(creation.template.settings) for creation in plan.creations]


@pytest.fixture
def cloud(bench: Bench) -> Cloud:
    return Cloud(bench)


async def test_replicas_are_spread_and_so_are_groups_of_one_server(cloud: Cloud) -> None:
    await cloud.begin({}, SUBNETS)
    six = await cloud.group("six", 6)
    assert Counter(s["zone"] for s in cloud.made(six)) == dict.fromkeys(SUBNETS, 2)
    assert cloud.made(six) == cloud.made(six)
    alone = [cloud.made(await cloud.group(f"g{n}", 1))[0]["zone"] for n in range(30)]
    assert set(alone) == set(SUBNETS)


async def test_zones_that_are_full_are_passed_over_and_it_is_told_then_the_next_settings_have_all_zones(
    cloud: Cloud,
) -> None:
    await cloud.begin(SPOT, SUBNETS)
    in_a, in_b, in_c = ({**SPOT, "zone": zone} for zone in SUBNETS)
    group = await cloud.group("one", 4, in_a)
    assert Counter(s["zone"] for s in cloud.made(group)) == {"zone-b": 2, "zone-c": 2}
    want = cloud.world(group).wants[0]
    assert want.narrowed.startswith("offering small turned out to have no room in zone-a (full)")
    assert not want.instead, "nothing else is taken, and no ceiling has a say in it"
    every = cloud.made(await cloud.group("all", 3, in_a, in_b, in_c))
    assert {s["zone"]: s["market"] for s in every} == dict.fromkeys(SUBNETS, "OnDemand")
    quota = cloud.made(await cloud.group("quota", 3, in_a, reason="QuotaExceeded"))
    assert {s["zone"]: s["market"] for s in quota} == dict.fromkeys(SUBNETS, "OnDemand"), "a quota is not a zone's"
    on_demand = [{"market": "OnDemand", "zone": zone} for zone in SUBNETS]
    over = await cloud.group("over", 3, in_a, in_b, in_c, *on_demand)
    assert cloud.world(over).wants[0].exhausted
    assert {s["zone"]: s["market"] for s in cloud.made(over)} == dict.fromkeys(SUBNETS, "SpotThenOnDemand")


async def test_the_servers_of_a_group_s_members_begin_in_different_zones(cloud: Cloud) -> None:
    await cloud.begin({}, SUBNETS)
    for number in range(10):
        group = await cloud.group(f"g{number}", 1, members=("first", "second", "third"))
        assert {s["zone"] for s in cloud.made(group)} == set(SUBNETS)


async def test_after_a_failure_that_is_not_for_room_the_other_zones_come_first(cloud: Cloud) -> None:
    """A subnet that is gone, say: the emptiest zone is always the one where the last server failed."""
    await cloud.begin({}, SUBNETS)
    group = await cloud.group("g", 3)
    there = cloud.made(group)
    bad = there[2]["zone"]
    why: dict[str, str] = {"reason": "Invalid", "message": "settings.subnet: InvalidSubnetID.NotFound"}
    failed = [condition("Instantiated", "False"), condition("Ready", "False", **why), condition("Stalled", **why)]
    for ordinal, settings in enumerate(there):
        conditions = [condition("Instantiated")] if ordinal != 2 else failed
        await cloud.server("g", ordinal, settings, conditions)
    plan = decide_group(cloud.world(group), cloud.now())
    assert plan.exhausted is not None
    assert not plan.removals, "it is remembered before anything rests on it"
    (entry,) = plan.exhausted
    assert (entry.reason, entry.message) == ("Invalid", "g-m-2: settings.subnet: InvalidSubnetID.NotFound")
    status = {**group["status"], "exhausted": [entry.to_dict()]}
    changed = cloud.bench.api.change(kinds.SERVER_GROUP, "ns", "g", status=status)
    cloud.bench.context.store.ingest(kinds.SERVER_GROUP, changed)
    assert decide_group(cloud.world(changed), cloud.now()).exhausted is None
    gone = cloud.bench.api.remove(kinds.VIRTUAL_SERVER, "ns", "g-m-2")
    cloud.bench.context.store.ingest(kinds.VIRTUAL_SERVER, gone, deleted=True)
    (again,) = cloud.made(changed)
    assert again["zone"] != bad
    told = cloud.world(changed).wants[0].narrowed
    assert told.startswith(f"servers failed in {bad} (Invalid: g-m-2: settings.subnet")
    assert "turned out to have no room" not in told


async def test_what_was_wrong_with_an_image_is_not_held_against_the_zones_for_another(cloud: Cloud) -> None:
    await cloud.begin({}, SUBNETS)
    group = await cloud.group("g", 2)
    why: dict[str, str] = {"reason": "Invalid", "message": "InvalidAMIID.NotFound"}
    failed = [condition("Instantiated", "False"), condition("Ready", "False", **why), condition("Stalled", **why)]
    for ordinal, settings in enumerate(cloud.made(group)):
        await cloud.server("g", ordinal, settings, failed, image="wrong")
    plan = decide_group(cloud.world(group), cloud.now())
    assert plan.exhausted is not None
    assert len(plan.exhausted) == 2
    status = {**group["status"], "exhausted": [entry.to_dict() for entry in plan.exhausted]}
    changed = cloud.bench.api.change(kinds.SERVER_GROUP, "ns", "g", status=status)
    cloud.bench.context.store.ingest(kinds.SERVER_GROUP, changed)
    want = cloud.world(changed).wants[0]
    assert want.template is not None
    assert (set(want.template.zones), want.narrowed) == (set(SUBNETS), "")


async def test_a_zone_where_agents_never_join_is_in_trouble(cloud: Cloud) -> None:
    await cloud.begin({}, SUBNETS)
    group = await cloud.group("g", 1)
    (settings,) = cloud.made(group)
    up = {**condition("Instantiated"), "lastTransitionTime": f"{cloud.now():%Y-%m-%dT%H:%M:%SZ}"}
    await cloud.server("g", 0, settings, [up], providerID="i-1")
    assert decide_group(cloud.world(group), cloud.now()).exhausted is None
    cast(ManualClock, cloud.bench.context.clock).advance(timedelta(minutes=11).total_seconds())
    plan = decide_group(cloud.world(group), cloud.now())
    assert plan.exhausted is not None
    (entry,) = plan.exhausted
    assert (entry.reason, entry.settings) == ("JoinTimeout", settings_mark(in_trouble(settings["zone"], "i", {})))


async def test_servers_from_before_zones_were_chosen_count_where_the_service_says_that_they_are(cloud: Cloud) -> None:
    await cloud.begin({}, SUBNETS)
    group = await cloud.group("g", 3)
    for ordinal, zone in enumerate(("zone-a", "zone-b")):
        await cloud.server("g", ordinal, {}, [condition("Instantiated")], zone=zone)
    assert [s["zone"] for s in cloud.made(group)] == ["zone-c"]


@pytest.mark.parametrize("subnets", [SUBNETS, {"zone-c": "subnet-c"}, {}])
async def test_servers_that_run_are_not_replaced_for_the_zones_that_a_service_has_no_more(
    cloud: Cloud, subnets: dict[str, str]
) -> None:
    await cloud.begin({}, SUBNETS)
    group = await cloud.group("g", 1)
    config = cloud.bench.tables.configs.parsed("ns", "c")
    assert config is not None
    await ensure_revision(cloud.bench.context, cloud.bench.tables, config)
    revision = cloud.world(group).wants[0].revision
    await cloud.server("g", 0, {"zone": "zone-a"}, [condition("Instantiated")], revision=revision)
    edits: list[tuple[Kind, str | None, str, dict[str, Any]]] = [
        (kinds.HOSTING_SERVICE, None, "cloud", {"settings": {"subnets": subnets}}),
        (
            kinds.VIRTUAL_SERVER_CONFIG,
            "ns",
            "c",
            {"images": [{"image": "h", "serviceType": "hetzner"}, {"image": "i"}]},
        ),
    ]
    for kind, namespace, name, edit in edits:
        held = cloud.bench.api.stored(kind, namespace, name)
        meta = {**held["metadata"], "generation": held["metadata"]["generation"] + 1}
        changed = cloud.bench.api.change(kind, namespace, name, metadata=meta, spec={**held["spec"], **edit})
        cloud.bench.context.store.ingest(kind, changed)
    assert [server.outdated for server in cloud.world(group).servers] == [False]


@pytest.mark.parametrize(
    ("settings", "subnets"),
    [({"zone": "zone-b"}, SUBNETS), ({"subnet": "subnet-9"}, SUBNETS), ({}, {}), ({}, "no map at all")],
)
async def test_what_is_chosen_already_stays_and_what_has_no_zones_gets_none(
    cloud: Cloud, settings: dict[str, Any], subnets: Any
) -> None:
    await cloud.begin(settings, subnets)
    assert cloud.made(await cloud.group("g", 2)) == [settings, settings]
