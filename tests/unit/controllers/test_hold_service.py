"""A HostingService that is deleted while a group is about to make servers there."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any

import pytest
from tests.support.controller_bench import Bench
from tests.support.memory_api import MemoryApi

from moorage.api.names import FINALIZER_SERVICE
from moorage.api.placement import Placement
from moorage.controllers.edges import Edges
from moorage.controllers.group import GroupController
from moorage.controllers.group_world import GroupObserver
from moorage.controllers.hostingservice import ServiceController, hold_service
from moorage.core.rollout import Creation, Template
from moorage.kube.errors import Conflict, NotFound
from moorage.kube.kinds import HOSTING_SERVICE, VIRTUAL_SERVER
from moorage.runtime.workers import Result

Obj = dict[str, Any]
CREATION = Creation("m", 0, Template("i", "small"), "c-1")


class Slow(MemoryApi):
    """An API server whose creation of VirtualServers can be held up."""

    def __init__(self, other: MemoryApi) -> None:
        super().__init__()
        self.__dict__.update(other.__dict__)
        self.arrived, self.gate = asyncio.Event(), asyncio.Event()

    async def create(self, kind: Any, obj: Mapping[str, Any], *, manager: str = "") -> Obj:
        if kind is VIRTUAL_SERVER:
            self.arrived.set()
            await self.gate.wait()
        return await super().create(kind, obj, manager=manager)


class Scene:
    """A placed group and its service, with the controllers of both."""

    def __init__(self, bench: Bench) -> None:
        self.bench, self.api = bench, Slow(bench.api)
        bench.context.client = self.api.client
        observer = GroupObserver(bench.context, bench.tables)
        self.groups = GroupController(bench.context, bench.tables, observer, Edges(bench.tables))
        self.services = ServiceController(bench.context, bench.tables)

    async def begin(self, *finalizers: str) -> None:
        """Make the objects. The service has those finalizers."""
        spec = {"type": "local", "endpoint": "http://127.0.0.1:1"}
        metadata = {"finalizers": list(finalizers)}
        self.service = await self.bench.put(HOSTING_SERVICE, "s", spec, namespace=None, metadata=metadata)
        self.group = await self.bench.group(metadata={"finalizers": ["moorage.dev/group"]})
        self.uid = str(self.service["metadata"]["uid"])
        now = self.bench.context.clock.now()
        self.placement = Placement(number=1, service="s", service_uid=self.uid, time=now)
        self.observed = GroupObserver(self.bench.context, self.bench.tables).observe(self.group, now)

    async def decided(self) -> Any:
        """The creation of one server as it stands after the service was held."""
        (call,) = await self.groups._creations(self.group, self.observed, self.placement, [CREATION])
        return call

    async def delete_service(self, *, seen: bool = True) -> None:
        """As a person would; the cache may not have heard of it."""
        answer = await self.api.delete(HOSTING_SERVICE, None, "s")
        if seen and answer.get("metadata"):
            self.bench.context.store.ingest(HOSTING_SERVICE, answer)

    async def reconcile_service(self) -> Result:
        """One look at it."""
        return await self.services.reconcile(("", "s"))

    def servers(self) -> list[str]:
        """The calls that made any."""
        return [call for call in self.api.calls if call.startswith("create VirtualServer")]


@pytest.fixture
async def scene(bench: Bench) -> Scene:
    return Scene(bench)


async def test_no_server_is_made_on_a_service_that_began_to_go_after_it_was_held(scene: Scene) -> None:
    await scene.begin(FINALIZER_SERVICE)
    call = await scene.decided()
    await scene.delete_service()
    assert await call is False
    assert scene.servers() == []
    await scene.reconcile_service()
    assert scene.bench.tables.services.by_uid(scene.uid) is None


async def test_a_service_stays_while_a_server_is_on_its_way_and_until_that_is_gone(scene: Scene) -> None:
    await scene.begin(FINALIZER_SERVICE)
    posting = asyncio.create_task(await scene.decided())
    await scene.api.arrived.wait()
    await scene.delete_service()
    assert (await scene.reconcile_service()).after == 1.0
    assert scene.api.stored(HOSTING_SERVICE, None, "s"), "it was let go while a server was on its way"
    scene.api.gate.set()
    assert await posting is True
    service = scene.bench.tables.services.parsed(None, "s")
    assert service is not None
    await scene.services._release(service)
    assert scene.api.stored(HOSTING_SERVICE, None, "s"), "it was let go while a server is on it"
    server = scene.api.remove(VIRTUAL_SERVER, "ns", "g-m-0")
    scene.bench.context.store.table(VIRTUAL_SERVER).removed(server["metadata"]["uid"])
    await scene.reconcile_service()
    assert scene.bench.tables.services.by_uid(scene.uid) is None


async def test_a_service_whose_deletion_was_not_seen_yet_is_not_held(scene: Scene) -> None:
    """Where something else keeps it, it has a deletion timestamp, and nobody may add a finalizer any more."""
    await scene.begin("somebody/else")
    await scene.delete_service(seen=False)
    with pytest.raises(Conflict):
        await hold_service(scene.bench.context, scene.bench.tables, "s", scene.uid)
    assert await hold_service(scene.bench.context, scene.bench.tables, "s", scene.uid) is False
    assert await scene.groups._creations(scene.group, scene.observed, scene.placement, [CREATION]) == []


async def test_a_service_that_is_gone_is_not_held_nor_is_its_successor(scene: Scene) -> None:
    await scene.begin()
    await scene.delete_service(seen=False)
    with pytest.raises(NotFound):
        await hold_service(scene.bench.context, scene.bench.tables, "s", scene.uid)
    assert await hold_service(scene.bench.context, scene.bench.tables, "s", scene.uid) is False
    await scene.bench.put(HOSTING_SERVICE, "s", scene.service["spec"], namespace=None)
    assert await hold_service(scene.bench.context, scene.bench.tables, "s", scene.uid) is False
    assert await scene.groups._creations(scene.group, scene.observed, scene.placement, [CREATION]) == []


async def test_a_service_is_held_by_its_first_group(scene: Scene) -> None:
    await scene.begin()
    scene.api.gate.set()
    assert await (await scene.decided()) is True
    assert scene.api.stored(HOSTING_SERVICE, None, "s")["metadata"]["finalizers"] == [FINALIZER_SERVICE]
    assert len(scene.servers()) == 1
