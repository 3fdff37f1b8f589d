"""A group acts on its own servers only: by uid, never by name alone."""

from __future__ import annotations

from tests.support.controller_bench import Bench

from moorage.controllers.edges import Edges
from moorage.controllers.group import GroupController
from moorage.controllers.group_world import GroupObserver
from moorage.core.group import GroupPlan
from moorage.core.rollout import Removal
from moorage.kube.kinds import VIRTUAL_SERVER


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
