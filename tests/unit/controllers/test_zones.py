"""What a group knows of the zones of its service: from specs alone, and in an order of each member's own."""

from __future__ import annotations

from collections import Counter
from datetime import timedelta
from typing import Any

import pytest
from tests.support.controller_bench import Bench, read_policy

from moorage.controllers.group_world import GroupObserver
from moorage.core.exhaustion import settings_mark
from moorage.core.group import GroupWorld, decide_group
from moorage.kube import kinds

ALWAYS = {"when": {"all": [{"name": "always", "schedule": {"from": "2020-01-01T00:00:00Z"}}]}}
SINCE = "2026-01-01T00:00:00Z"
SUBNETS = {f"zone-{one}": f"subnet-{one}" for one in "abc"}
SPOT = {"market": "SpotThenOnDemand"}


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

    async def group(self, name: str, replicas: int, *full: dict[str, Any], reason: str = "InsufficientCapacity") -> Any:
        until = self.bench.context.clock.now() + timedelta(minutes=5)
        entry = {"service": "cloud", "serviceUID": self.service, "offering": "small", "reason": reason}
        entry |= {"message": "full", "until": f"{until:%Y-%m-%dT%H:%M:%SZ}"}
        status = {
            "placement": {"number": 1, "service": "cloud", "serviceUID": self.service, "time": SINCE},
            "placements": 1,
            "exhausted": [{**entry, "settings": settings_mark(one)} for one in full],
        }
        members = [{"name": "m", "configRef": {"name": "c"}, "replicas": replicas}]
        return await self.bench.put(
            kinds.SERVER_GROUP, name, {"policyRef": {"name": "p"}, "members": members}, status=status
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


@pytest.mark.parametrize(
    ("settings", "subnets"),
    [({"zone": "zone-b"}, SUBNETS), ({"subnet": "subnet-9"}, SUBNETS), ({}, {}), ({}, "no map at all")],
)
async def test_what_is_chosen_already_stays_and_what_has_no_zones_gets_none(
    cloud: Cloud, settings: dict[str, Any], subnets: Any
) -> None:
    await cloud.begin(settings, subnets)
    assert cloud.made(await cloud.group("g", 2)) == [settings, settings]
