"""While more servers are missing than is to be believed, nothing is declared lost, whatever is edited meanwhile."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
from tests.support.controller_bench import Bench
from tests.unit.controllers.test_hostingservice import Fallible, Scene

from moorage.controllers import hostingservice
from moorage.controllers.observation import Observed, observe
from moorage.core import steps
from moorage.core.lifecycle import decide_server
from moorage.hosting.contract import ServerRecord, ServerState, identity_key, identity_tags
from moorage.hosting.errors import NotFound
from moorage.kube.kinds import HOSTING_SERVICE, VIRTUAL_SERVER
from moorage.kube.store import Obj
from moorage.runtime.service import ServiceConnection

ENDPOINT = {"type": "local", "endpoint": "http://127.0.0.1:1"}
COUNT = 6


class Emptied(Fallible):
    """Knows no server by its id."""

    async def get(self, provider_id: str) -> ServerRecord:
        raise NotFound(f"{provider_id} is not there")


class Frozen(Scene):
    """A HostingService with some servers."""

    def __init__(self, bench: Bench, service: Fallible) -> None:
        super().__init__(bench, service)
        self.objs: list[Obj] = []

    async def servers(self, service_uid: str) -> None:
        """Servers that run, and their objects."""
        for n in range(COUNT):
            address = {"type": "Internal", "address": f"10.0.0.{n}"}
            recorded = {"providerID": f"p{n}", "recordedAt": "2026-01-01T00:00:00Z", "addresses": [address]}
            status = {"observedGeneration": 1, **recorded}
            ref = {"serviceRef": {"name": "s", "uid": service_uid}, "image": "i", "offering": "small"}
            meta = {"finalizers": ["moorage.dev/server"]}
            obj = await self.bench.put(VIRTUAL_SERVER, f"v{n}", ref, status=status, metadata=meta)
            uid = obj["metadata"]["uid"]
            tags = identity_tags("inst", "ns", service_uid, uid)
            self.service.servers.append(ServerRecord(f"p{n}", identity_key("inst", uid), tags, ServerState.RUNNING))
            self.objs.append(obj)

    async def decisions(self) -> list[type[steps.Step]]:
        """What would be done about each server, once its questions to the service are answered."""
        found: list[type[steps.Step]] = []
        for obj in self.objs:
            seen, step = self._decide(obj)
            if isinstance(step, steps.Ask):
                [connection] = self.bench.context.connections.values()
                seen.memory.lookup = await connection.ask(step.provider_id)
                _, step = self._decide(obj)
            found.append(type(step))
        return found

    def _decide(self, obj: Obj) -> tuple[Observed, steps.Step]:
        seen = observe(self.bench.context, self.bench.tables, self.bench.edges, obj, self.clock.now())
        return seen, decide_server(seen.facts, self.clock.now())


@pytest.fixture
async def scene(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> Frozen:
    service = Emptied(down=False)
    opener = SimpleNamespace(open=lambda spec, credentials: service)
    monkeypatch.setattr(hostingservice, "backend", lambda type_: opener)
    monkeypatch.setattr(ServiceConnection, "start", lambda self: None)
    stored = await bench.put(HOSTING_SERVICE, "s", ENDPOINT, namespace=None, status={"observedGeneration": -1})
    scene = Frozen(bench, service)
    await scene.servers(stored["metadata"]["uid"])
    await scene.look(2, 60.0)
    await scene.decisions()
    return scene


@pytest.mark.parametrize("corrected", [True, False], ids=["the cause is corrected", "they are still missing"])
async def test_an_edit_of_a_frozen_service_declares_nobody_lost(scene: Frozen, bench: Bench, corrected: bool) -> None:
    there = list(scene.service.servers)
    scene.service.servers.clear()
    await scene.look(3, 10.0)
    assert set(await scene.decisions()) == {steps.Wait}
    if corrected:
        scene.service.servers.extend(there)
    changed = bench.api.change(HOSTING_SERVICE, None, "s", spec={**ENDPOINT, "limits": {"requestsPerSecond": 3}})
    bench.context.store.ingest(HOSTING_SERVICE, changed)
    await scene.controller.reconcile(("", "s"))
    assert set(await scene.decisions()) == {steps.Wait}, "its connection is another, and has seen nothing yet"
    await scene.look(1, 10.0)
    assert steps.DeclareLost not in set(await scene.decisions())
    assert scene.available() == ("Available" if corrected else "OvershootFreeze")
