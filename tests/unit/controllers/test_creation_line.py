"""A creation begins once its call can go out: nothing is recorded before, and who waits is told whose turn it is."""

from __future__ import annotations

import asyncio
from typing import cast

import pytest
from tests.support.controller_bench import Bench
from tests.unit.runtime.test_service import FakeBackend, Watcher

from moorage.api.names import FINALIZER_SERVER
from moorage.controllers.context import ChannelInfo
from moorage.controllers.server import QUEUED_QUIETLY, ServerController
from moorage.hosting.contract import Backend
from moorage.hosting.errors import Unavailable
from moorage.kube.kinds import HOSTING_SERVICE, NAMESPACE, SECRET, VIRTUAL_SERVER
from moorage.runtime.budget import Budget
from moorage.runtime.circuit import THRESHOLD
from moorage.runtime.clock import ManualClock
from moorage.runtime.service import Hooks, ServiceConnection


class Scene:
    """Two servers of a group, and a service that makes one at a time."""

    def __init__(self, bench: Bench) -> None:
        self.bench, self.backend = bench, FakeBackend()
        self.clock = cast(ManualClock, bench.context.clock)
        self.controller = ServerController(bench.context, bench.tables, bench.edges)

    async def begin(self) -> None:
        bench, watcher = self.bench, Watcher()
        bench.context.channel = ChannelInfo("https://127.0.0.1:7443", "ab" * 32)
        await bench.put(NAMESPACE, "ns", {}, namespace=None)
        spec = {"type": "local", "endpoint": "http://127.0.0.1:1"}
        uid = (await bench.put(HOSTING_SERVICE, "s", spec, namespace=None))["metadata"]["uid"]
        hooks = Hooks(
            watcher.guard,
            list,
            watcher.on_inventory,
            watcher.on_trouble,
            on_room=lambda key: bench.context.enqueue(VIRTUAL_SERVER, *key),
        )
        budget = Budget(1000, 1000, clock=self.clock)
        backend = cast(Backend, self.backend)
        self.connection = ServiceConnection("s", uid, "inst", backend, hooks, self.clock, budget, 60.0, concurrency=1)
        self.connection.expected_account = "account"
        bench.context.connections[uid] = self.connection
        group = await bench.group("g")
        for name in ("first", "second"):
            wanted = {
                "serviceRef": {"name": "s", "uid": uid},
                "group": {"name": "g", "uid": group["metadata"]["uid"]},
                "member": "m",
                "image": "i",
                "offering": "small",
            }
            await bench.put(VIRTUAL_SERVER, name, wanted, metadata={"finalizers": [FINALIZER_SERVER]})

    def has_secret(self, name: str) -> bool:
        uid = self.bench.api.stored(VIRTUAL_SERVER, "ns", name)["metadata"]["uid"]
        return self.bench.tables.secrets.get("ns", uid) is not None

    async def ready(self, name: str) -> tuple[str, str]:
        await self.bench.context.writer.flush()
        status = self.bench.api.stored(VIRTUAL_SERVER, "ns", name).get("status") or {}
        found = next(c for c in status["conditions"] if c["type"] == "Ready")
        return found["reason"], found["message"]


@pytest.fixture
async def scene(bench: Bench) -> Scene:
    made = Scene(bench)
    await made.begin()
    return made


async def test_who_waits_has_recorded_nothing_and_is_called_when_there_is_room(scene: Scene) -> None:
    scene.backend.gate = asyncio.Event()
    first = asyncio.create_task(scene.controller.reconcile(("ns", "first")))
    async with asyncio.timeout(10):
        await scene.backend.called.wait()
    result = await scene.controller.reconcile(("ns", "second"))
    assert result.after == QUEUED_QUIETLY
    assert not scene.has_secret("second"), "the time of an attempt runs from its record on"
    scene.clock.advance(2 * QUEUED_QUIETLY)
    await scene.controller.reconcile(("ns", "second"))
    reason, message = await scene.ready("second")
    assert reason == "WaitingInLine"
    assert "1 creations are under way on s" in message
    scene.bench.asked()
    scene.backend.gate.set()
    await first
    assert ("VirtualServer", "ns", "second") in scene.bench.asked()
    await scene.controller.reconcile(("ns", "second"))
    assert scene.backend.calls == ["create", "create"]
    await scene.connection.close()


async def test_a_server_that_is_gone_holds_nobody_up(scene: Scene) -> None:
    scene.connection.creations.take(("ns", "ghost"), 0.0)
    await scene.controller.reconcile(("ns", "second"))
    scene.bench.asked()
    await scene.controller.reconcile(("ns", "ghost"))
    assert ("VirtualServer", "ns", "second") in scene.bench.asked()
    await scene.connection.close()


async def test_a_service_that_fails_with_every_creation_is_asked_by_no_other_server(scene: Scene) -> None:
    scene.backend.errors = [Unavailable("told to fail") for _ in range(THRESHOLD)]
    for _ in range(THRESHOLD):
        await scene.controller.reconcile(("ns", "first"))
        scene.clock.advance(61)
    scene.connection.circuit.succeeded()
    if scene.connection.admission._own:
        for own in scene.connection.admission._own.values():
            own.circuit.until = scene.clock.monotonic() + 30
    before = list(scene.backend.calls)
    result = await scene.controller.reconcile(("ns", "second"))
    assert scene.backend.calls == before
    assert result.after == pytest.approx(30, abs=1)
    reason, message = await scene.ready("second")
    assert reason == "ServiceUnavailable"
    assert "told to fail" in message
    assert not scene.bench.api.objects.get((SECRET.plural, "ns", "second"))
    assert not scene.has_secret("second")
    await scene.connection.close()
