"""A group acts on its own servers only: by uid, never by name alone."""

from __future__ import annotations

import asyncio

from tests.support.controller_bench import Bench
from tests.unit.controllers.test_ceilings import change, world

from moorage.api.placement import Placement
from moorage.api.servergroup import ServerGroup
from moorage.controllers.edges import Edges
from moorage.controllers.group import CREATIONS_AT_A_TIME, GroupController
from moorage.controllers.group_world import GroupObserver
from moorage.core.group import GroupPlan
from moorage.core.rollout import Creation, Removal
from moorage.kube.kinds import SERVER_GROUP, VIRTUAL_SERVER
from moorage.kube.lanes import Lane, current_lane


def controller(bench: Bench) -> GroupController:
    observer = GroupObserver(bench.context, bench.tables)
    return GroupController(bench.context, bench.tables, observer, Edges(bench.tables))


async def test_a_successor_of_the_same_name_is_not_deleted(bench: Bench) -> None:
    group = await bench.group()
    await bench.server(group)
    removal = Removal("g-m-0", "uid-of-its-predecessor", "ScaledDown", "m has 0 servers")
    assert await controller(bench)._remove(group, removal)
    assert bench.api.stored(VIRTUAL_SERVER, "ns", "g-m-0")


async def test_a_server_is_deleted_by_its_uid(bench: Bench) -> None:
    group = await bench.group()
    server = await bench.server(group)
    removal = Removal("g-m-0", server["metadata"]["uid"], "ScaledDown", "m has 0 servers")
    assert await controller(bench)._remove(group, removal)
    assert not bench.api.objects.get(("virtualservers", "ns", "g-m-0"))


async def test_servers_of_a_dead_group_of_the_same_name_are_not_its_servers(bench: Bench) -> None:
    group = await bench.group()
    await bench.server(group, uid="uid-of-the-dead-group")
    world = GroupObserver(bench.context, bench.tables).observe(group, bench.context.clock.now())
    assert list(world.servers) == []


async def test_servers_that_begin_to_go_together_are_told_in_one_event(bench: Bench) -> None:
    obj = await bench.group("g", ("m", "c"), ("n", "c"))
    servers = [await bench.server(obj, member) for member in ("m", "n")]
    world = GroupObserver(bench.context, bench.tables).observe(obj, bench.context.clock.now())
    why = "the policy is no longer met (whenUnmet: Release): it is day"
    gone = tuple(Removal(s["metadata"]["name"], s["metadata"]["uid"], "Released", why) for s in servers)
    await controller(bench)._act(obj, world, GroupPlan(None, removals=gone))
    told = [(key[1:], series.count) for key, series in bench.context.events._series.items()]
    assert told == [(("Warning", "Released", f"{why}; 2 servers are removed: g-m-0, g-n-0"), 1)]


class Posting(GroupController):
    """Posts VirtualServers once it is let go, and notes how many at a time and in which lane."""

    def __init__(self, bench: Bench, observer: GroupObserver) -> None:
        super().__init__(bench.context, bench.tables, observer, Edges(bench.tables))
        self.full, self.go = asyncio.Event(), asyncio.Event()
        self.under_way = self.most = 0
        self.posted: set[int] = set()
        self.lanes: set[Lane] = set()

    async def _post(self, group: ServerGroup, placement: Placement, creation: Creation) -> bool:
        self.lanes.add(current_lane.get())
        self.under_way += 1
        self.most = max(self.most, self.under_way)
        if self.under_way >= CREATIONS_AT_A_TIME:
            self.full.set()
        await self.go.wait()
        self.under_way -= 1
        self.posted.add(creation.ordinal)
        return True


async def begun(bench: Bench) -> tuple[Posting, asyncio.Task[None]]:
    """A group of 20 servers of which as many as may be are being posted."""
    observer = await world(bench, "g", ceiling=None)
    await change(bench, "g", scale={"member": "m", "replicas": 20})
    posting = Posting(bench, observer)

    async def reconcile() -> None:
        while not posting.posted:
            await posting.reconcile(("ns", "g"))
            await bench.context.writer.flush()

    reconciling = asyncio.create_task(reconcile())
    async with asyncio.timeout(10):
        await posting.full.wait()
    return posting, reconciling


async def test_many_servers_are_posted_a_few_at_a_time_after_what_is_urgent(bench: Bench) -> None:
    current_lane.set(Lane.HOT)
    posting, reconciling = await begun(bench)
    posting.go.set()
    await reconciling
    assert (posting.most, posting.posted) == (CREATIONS_AT_A_TIME, set(range(20)))
    assert posting.lanes == {Lane.COLD}


async def test_a_group_that_began_to_go_while_its_servers_were_posted_gets_no_more_of_them(bench: Bench) -> None:
    posting, reconciling = await begun(bench)
    stored = bench.api.stored(SERVER_GROUP, "ns", "g")
    going = {**stored["metadata"], "deletionTimestamp": "2026-01-01T00:00:00Z"}
    bench.context.store.ingest(SERVER_GROUP, bench.api.change(SERVER_GROUP, "ns", "g", metadata=going))
    posting.go.set()
    await reconciling
    assert len(posting.posted) == CREATIONS_AT_A_TIME
