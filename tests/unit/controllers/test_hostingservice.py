"""What a HostingService's object hears of its service, and how often."""

from __future__ import annotations

from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any, cast

import pytest
from tests.support.controller_bench import Bench
from tests.unit.runtime.test_service import FakeBackend

from moorage.controllers import hostingservice
from moorage.controllers.hostingservice import ServiceController
from moorage.controllers.service_news import ServiceNews
from moorage.hosting.contract import Capacity, Offering
from moorage.hosting.errors import Unavailable
from moorage.kube.kinds import HOSTING_SERVICE, VIRTUAL_SERVER
from moorage.runtime.clock import ManualClock
from moorage.runtime.service import ServiceConnection

WRITE = "apply HostingService s status"


@dataclass
class Fallible(FakeBackend):
    """A service that is there, or is not."""

    down: bool = True

    async def _called(self, name: str) -> None:
        self.calls.append(name)
        if self.down:
            raise Unavailable("connection refused")

    async def offerings(self) -> tuple[Offering, ...]:
        await self._called("offerings")
        return ()

    async def images(self) -> tuple[str, ...] | None:
        await self._called("images")
        return None

    async def capacity(self) -> Capacity:
        await self._called("capacity")
        return Capacity(10, 0)


class Scene:
    """One HostingService with its controller."""

    def __init__(self, bench: Bench, service: Fallible) -> None:
        self.bench, self.service = bench, service
        self.controller = ServiceController(bench.context, bench.tables)
        self.clock = cast(ManualClock, bench.context.clock)

    async def look(self, times: int, seconds: float) -> int:
        """Reconcile, and take inventories, again and again; the status writes that it cost."""
        before = self.bench.api.calls.count(WRITE)
        for _ in range(times):
            await self.controller.reconcile(("", "s"))
            for connection in self.bench.context.connections.values():
                if connection.expected_account is not None:
                    await connection._take()
            await self.controller.reconcile(("", "s"))
            await self.bench.context.writer.flush()
            self.clock.advance(seconds)
        return self.bench.api.calls.count(WRITE) - before

    def status(self) -> Any:
        """As it is stored."""
        return self.bench.api.stored(HOSTING_SERVICE, None, "s")["status"]

    def available(self) -> str:
        """The reason of the condition."""
        return str(next(c["reason"] for c in self.status()["conditions"] if c["type"] == "Available"))


@pytest.fixture
async def scene(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> Scene:
    service = Fallible()
    opener = SimpleNamespace(open=lambda spec, credentials: service)
    monkeypatch.setattr(hostingservice, "backend", lambda type_: opener)
    # Inventories are taken by the tests.
    monkeypatch.setattr(ServiceConnection, "start", lambda self: None)
    spec = {"type": "local", "endpoint": "http://127.0.0.1:1"}
    status = {"observedGeneration": -1}
    await bench.put(HOSTING_SERVICE, "s", spec, namespace=None, status=status)
    return Scene(bench, service)


async def test_a_service_that_stays_down_costs_no_writes(scene: Scene) -> None:
    scene.service.down = False
    await scene.look(3, 10.0)
    assert scene.available() == "Available"
    scene.service.down = True
    assert await scene.look(10, 10.0) > 0
    assert (scene.available(), scene.status()["circuit"]["state"]) == ("CircuitOpen", "Open")
    since = scene.status()["circuit"]["since"]
    tried = len(scene.service.calls)
    assert await scene.look(100, 10.0) == 0
    assert 10 < len(scene.service.calls) - tried < 1000 / 60 + 10
    assert scene.status()["lastError"]["message"] == "connection refused"
    assert scene.status()["circuit"]["since"] == since, "it is open since then, trials or not"
    for connection in scene.bench.context.connections.values():
        connection.circuit.state = "HalfOpen"
    await scene.controller.reconcile(("", "s"))
    await scene.bench.context.writer.flush()
    assert scene.status()["circuit"]["state"] == "Open", "a call on trial is nothing to a reader"
    for connection in scene.bench.context.connections.values():
        connection.circuit.abandoned(scene.clock.monotonic())
    scene.service.down = False
    await scene.look(10, 10.0)
    assert (scene.available(), scene.status()["circuit"]["state"]) == ("Available", "Closed")
    assert scene.status()["circuit"]["since"] > since
    assert await scene.look(10, 10.0) == 0


async def test_a_service_that_never_answered_costs_no_writes(scene: Scene) -> None:
    assert await scene.look(10, 10.0) > 0
    tried = len(scene.service.calls)
    assert await scene.look(100, 10.0) == 0
    assert len(scene.service.calls) - tried > 10
    assert scene.status()["lastError"]["message"] == "connection refused"


async def test_servers_recorded_by_a_clock_that_was_ahead_count_against_the_freeze_too(bench: Bench) -> None:
    """They are judged to be missing by the steady clock, and so is how many of them are."""
    news = ServiceNews(bench.context, bench.tables)
    for name, known in (("old", True), ("unseen", False)):
        spec = {"serviceRef": {"name": "s", "uid": "su"}, "image": "i", "offering": "small"}
        status = {"observedGeneration": 1, "providerID": f"p-{name}", "recordedAt": "2099-01-01T00:00:00Z"}
        server = await bench.put(VIRTUAL_SERVER, name, spec, status=status)
        if known:
            bench.context.memory(server["metadata"]["uid"]).knows_record("p-old", 7.0)
    assert news.recorded("s") == [("p-old", 7.0)], "one that was not looked at is not judged, and counts not"
