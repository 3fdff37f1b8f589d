"""A group acts on its own servers only: by uid, never by name alone."""

from __future__ import annotations

from tests.support.controller_bench import Bench

from moorage.controllers.edges import Edges
from moorage.controllers.group import GroupController
from moorage.controllers.group_world import GroupObserver
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
