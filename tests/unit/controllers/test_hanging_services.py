"""A service that hangs while it is asked about itself holds up no other: more of them than there are workers."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any

import pytest
from tests.support.controller_bench import Bench
from tests.unit.controllers.test_hostingservice import Fallible

from moorage.controllers import hostingservice
from moorage.controllers.context import QueueKey
from moorage.controllers.hostingservice import ServiceController
from moorage.controllers.operator import WORKERS
from moorage.kube.kinds import HOSTING_SERVICE
from moorage.runtime.queue import WorkQueue
from moorage.runtime.service import ServiceConnection
from moorage.runtime.workers import Workers

PLACES = WORKERS[HOSTING_SERVICE]
HANGING = [f"hangs-{number}" for number in range(PLACES + 1)]


@dataclass
class Hanging(Fallible):
    """A service that gives no answer to one question until that is over."""

    down: bool = False
    hangs: str = ""
    over: asyncio.Event = field(default_factory=asyncio.Event)

    async def _called(self, name: str) -> None:
        await super()._called(name)
        if name == self.hangs:
            await self.over.wait()


class Scene:
    """HostingServices and the workers that the controller has for them."""

    def __init__(self, bench: Bench) -> None:
        self.bench = bench
        self.services: dict[str, Hanging] = {}
        self.queue: WorkQueue[QueueKey] = WorkQueue("services", clock=bench.context.clock)
        controller = ServiceController(bench.context, bench.tables)
        self.workers = Workers(self.queue, controller.reconcile, count=PLACES, clock=bench.context.clock)

    async def add(self, name: str, hangs: str = "") -> None:
        """One more, which is to be looked at."""
        endpoint = f"http://{name}"
        self.services[endpoint] = Hanging(hangs=hangs)
        spec, status = {"type": "local", "endpoint": endpoint}, {"observedGeneration": -1}
        await self.bench.put(HOSTING_SERVICE, name, spec, namespace=None, status=status)
        self.queue.add(("", name))

    def calls(self, question: str) -> int:
        """How many services were asked this."""
        return sum(question in service.calls for service in self.services.values())

    def available(self) -> set[str]:
        """Those whose status says so."""
        found = set()
        for obj in self.bench.tables.services:
            status: Any = self.bench.api.stored(HOSTING_SERVICE, None, obj["metadata"]["name"])["status"]
            if any((c["type"], c["status"]) == ("Available", "True") for c in status.get("conditions", ())):
                found.add(obj["metadata"]["name"])
        return found

    async def until(self, holds: Callable[[], bool]) -> None:
        async with asyncio.timeout(10):
            while not holds():  # noqa: ASYNC110 - the store of objects has no event for it
                await asyncio.sleep(0)


@pytest.fixture
async def scene(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Scene]:
    made = Scene(bench)
    opener = SimpleNamespace(open=lambda spec, credentials: made.services[spec.endpoint])
    monkeypatch.setattr(hostingservice, "backend", lambda type_: opener)
    monkeypatch.setattr(ServiceConnection, "start", lambda self: None)
    yield made
    await made.workers.stop(0.0)


@pytest.mark.parametrize("question", ["account", "offerings", "images", "capacity"])
async def test_more_services_that_hang_than_there_are_workers_delay_no_other(scene: Scene, question: str) -> None:
    for name in HANGING:
        await scene.add(name, hangs=question)
    await scene.add("well")
    scene.workers.start()
    await scene.until(lambda: scene.available() == {"well"})
    assert scene.calls(question) == len(HANGING) + 1, "all were asked, and the hanging ones wait for their answers"
    for service in scene.services.values():
        service.over.set()
    await scene.until(lambda: scene.available() == {"well", *HANGING})
