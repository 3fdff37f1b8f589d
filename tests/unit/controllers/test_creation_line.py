"""A creation begins once its call can go out: nothing is recorded before, and who waits is told whose turn it is."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any, cast

import pytest
from tests.support.controller_bench import Bench
from tests.unit.runtime.test_service import FakeBackend, Watcher

from moorage.api.names import FINALIZER_SERVER
from moorage.controllers.context import ChannelInfo
from moorage.controllers.server import QUEUED_QUIETLY, ServerController
from moorage.hosting.contract import TAG_NAMESPACE, Backend, CreateRequest
from moorage.hosting.errors import AuthenticationError, HostingError, Unavailable
from moorage.kube.apply import Written
from moorage.kube.kinds import HOSTING_SERVICE, NAMESPACE, VIRTUAL_SERVER, Kind
from moorage.kube.store import Obj
from moorage.runtime.budget import Budget
from moorage.runtime.circuit import PAUSE, THRESHOLD
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
    assert "1 creations at a time on s" in message
    scene.bench.asked()
    scene.backend.gate.set()
    await first
    assert ("VirtualServer", "ns", "second") in scene.bench.asked()
    await scene.controller.reconcile(("ns", "second"))
    assert scene.backend.calls == ["create", "create"]
    await scene.connection.close()


async def test_the_next_may_begin_while_what_came_of_the_last_is_written(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    write, writing, go_on = scene.bench.context.writer.write, asyncio.Event(), asyncio.Event()

    async def held(kind: Kind, obj: Obj, status: Mapping[str, Any], *, hard: bool) -> Written:
        if status.get("providerID"):
            writing.set()
            await go_on.wait()
        return await write(kind, obj, status, hard=hard)

    monkeypatch.setattr(scene.bench.context.writer, "write", held)
    first = asyncio.create_task(scene.controller.reconcile(("ns", "first")))
    async with asyncio.timeout(10):
        await writing.wait()
        second = asyncio.create_task(scene.controller.reconcile(("ns", "second")))
        while len(scene.backend.calls) < 2:  # noqa: ASYNC110 - nothing tells of calls but the list
            await asyncio.sleep(0)
        go_on.set()
        await asyncio.gather(first, second)
    await scene.connection.close()


async def test_a_server_that_is_gone_holds_nobody_up(scene: Scene) -> None:
    scene.connection.creations.take(("ns", "ghost"), 0.0)
    await scene.controller.reconcile(("ns", "second"))
    scene.bench.asked()
    await scene.controller.reconcile(("ns", "ghost"))
    assert ("VirtualServer", "ns", "second") in scene.bench.asked()
    await scene.connection.close()


@pytest.mark.parametrize("error", [Unavailable("told to fail"), AuthenticationError("told to fail")])
async def test_a_namespace_that_is_held_back_asks_no_more_and_its_servers_say_so(
    scene: Scene, error: HostingError
) -> None:
    for number in range(THRESHOLD):
        scene.backend.errors = [error]
        request = CreateRequest(f"m-{number}", "n", "i", "small", "", {TAG_NAMESPACE: "ns"})
        with pytest.raises(type(error)):
            await scene.connection.create(request, scene.clock.monotonic() + 60)
    before = list(scene.backend.calls)
    result = await scene.controller.reconcile(("ns", "second"))
    assert scene.backend.calls == before
    assert result.after == pytest.approx(PAUSE, abs=1)
    reason, message = await scene.ready("second")
    assert reason == "NamespaceHeldBack"
    assert "told to fail" in message
    assert not scene.has_secret("second")
    await scene.connection.close()


async def test_the_namespace_that_counts_is_the_one_in_the_request_of_the_server(scene: Scene) -> None:
    scene.backend.errors = [AuthenticationError("may not pass the role")]
    await scene.controller.reconcile(("ns", "first"))
    assert scene.connection.admission.creations.of("ns")[1].namespaces == {"ns"}
    await scene.connection.close()
