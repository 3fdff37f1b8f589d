"""Drift as the controller meets it: what is asked of the service, how often, and what is told of it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from itertools import pairwise
from typing import Any, cast

import pytest
from tests.support.controller_bench import Bench
from tests.unit.runtime.test_service import FakeBackend, Watcher

from moorage.api.names import ANNOTATION_STATE, FINALIZER_SERVER, LABEL_SECRET, SECRET_KIND_SERVER
from moorage.controllers.server import ServerController
from moorage.controllers.state import SecretState
from moorage.core.drift import FIRST_PAUSE
from moorage.hosting.contract import (
    TAG_NAMESPACE,
    TAG_SERVER,
    Address,
    AddressType,
    Backend,
    ServerRecord,
    ServerState,
    identity_key,
    identity_tags,
)
from moorage.hosting.errors import CapacityError, HostingError, NotFound
from moorage.kube.kinds import HOSTING_SERVICE, SECRET, SERVER_GROUP, VIRTUAL_SERVER
from moorage.runtime.budget import Budget
from moorage.runtime.clock import ManualClock
from moorage.runtime.service import Hooks, ServiceConnection

THEN = "2026-01-01T00:00:00Z"
WRITES = ("retag", "start", "resize")


@dataclass
class Able(FakeBackend):
    """Has one server, which can be changed; `refusals` are raised by the next changes."""

    refusals: list[HostingError] = field(default_factory=list)

    async def get(self, provider_id: str) -> ServerRecord:
        """The server, or a typed answer that there is none."""
        await self._called("get")
        if not self.servers:
            raise NotFound("none")
        return self.servers[0]

    def change(self, **changes: Any) -> None:
        """Behind our back."""
        self.servers = [replace(self.servers[0], **changes)]

    async def _changed(self, name: str, **changes: Any) -> None:
        await self._called(name)
        if self.refusals:
            raise self.refusals.pop(0)
        self.change(**changes)

    async def retag(self, provider_id: str, tags: Mapping[str, str]) -> None:
        """Write tags."""
        await self._changed("retag", tags={**self.servers[0].tags, **tags})

    async def start(self, provider_id: str) -> None:
        """Start it."""
        await self._changed("start", state=ServerState.RUNNING)

    async def stop(self, provider_id: str) -> None:
        """Stop it."""
        await self._changed("stop", state=ServerState.STOPPED)

    async def resize(self, provider_id: str, offering: str) -> None:
        """Resize it."""
        await self._changed("resize", offering=offering)


class Scene:
    """One VirtualServer of a group, which has run for long."""

    def __init__(self, bench: Bench) -> None:
        self.bench, self.backend = bench, Able()
        self.clock = cast(ManualClock, bench.context.clock)
        self.told: list[str] = []

    async def begin(self, policy: str = "Repair") -> None:
        """Make the objects, the connection and the server."""
        bench, installation = self.bench, self.bench.context.installation.id
        spec = {"type": "local", "endpoint": "http://127.0.0.1:1"}
        service = (await bench.put(HOSTING_SERVICE, "s", spec, namespace=None))["metadata"]["uid"]
        watcher = Watcher()
        hooks = Hooks(watcher.guard, list, watcher.on_inventory, watcher.on_trouble)
        budget = Budget(1000, 1000, clock=self.clock)
        backend = cast(Backend, self.backend)
        self.connection = ServiceConnection("s", service, installation, backend, hooks, self.clock, budget, 60.0)
        self.connection.expected_account = "account"
        bench.context.connections[service] = self.connection
        self.group = await bench.group("g")
        wanted = {
            "serviceRef": {"name": "s", "uid": service},
            "group": {"name": "g", "uid": self.group["metadata"]["uid"]},
            "member": "m",
            "image": "i",
            "offering": "small",
            "driftPolicy": policy,
        }
        ran = {"type": "Instantiated", "status": "True", "reason": "Running", "lastTransitionTime": THEN}
        status = {"providerID": "s1", "recordedAt": THEN, "observedGeneration": 1, "conditions": [ran]}
        metadata = {"finalizers": [FINALIZER_SERVER]}
        self.server = await bench.put(VIRTUAL_SERVER, "g-m-0", wanted, metadata=metadata, status=status)
        uid = self.server["metadata"]["uid"]
        await bench.put(
            SECRET,
            uid,
            {},
            metadata={
                "labels": {LABEL_SECRET: SECRET_KIND_SERVER},
                "annotations": {ANNOTATION_STATE: SecretState().encode()},
            },
        )
        tags = identity_tags(installation, "ns", service, uid)
        addresses = (Address(AddressType.INTERNAL, "10.0.0.1"),)
        key = identity_key(installation, uid)
        self.backend.servers = [
            ServerRecord("s1", key, tags, ServerState.RUNNING, addresses=addresses, offering="small")
        ]
        self.controller = ServerController(bench.context, bench.tables, bench.edges)
        await self.look()
        assert self.writes() == []

    async def look(self, seconds: float = 1.0) -> None:
        """Some time later: a complete inventory, and looks at the server until nothing is left to do at once."""
        self.clock.advance(seconds)
        await self.connection._take()
        await self.step()

    async def step(self) -> None:
        """Look at the server until nothing is left to do at once."""
        for _ in range(10):
            if not (await self.controller.reconcile(("ns", "g-m-0"))).again:
                return
        raise AssertionError("it does not come to rest")

    def writes(self) -> list[str]:
        """What was changed at the service."""
        return [call for call in self.backend.calls if call in WRITES]

    def drifted(self) -> tuple[str, str] | None:
        """Reason and message of the condition."""
        memory = self.bench.context.memory(self.server["metadata"]["uid"])
        found = self.bench.tables.servers.by_uid(self.server["metadata"]["uid"])
        assert found is not None
        status = memory.status.to_dict() if memory.status is not None else found["status"]
        drift = next((c for c in status["conditions"] if c["type"] == "Drifted"), None)
        return None if drift is None else (drift["reason"], drift["message"])


@pytest.fixture
async def scene(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> Scene:
    made = Scene(bench)
    monkeypatch.setattr(bench.context.events, "record", lambda *words: made.told.append(words[3]))
    await made.begin()
    return made


@pytest.mark.parametrize(
    ("change", "remedy"),
    [
        ({"state": ServerState.STOPPED}, "start"),
        ({"offering": "large"}, "resize"),
        ({"tags": {}}, "retag"),
    ],
)
async def test_a_drift_is_undone_once_and_told(scene: Scene, change: dict[str, Any], remedy: str) -> None:
    before = scene.backend.servers[0]
    scene.backend.change(**change)
    await scene.look()
    assert scene.writes() == [remedy]
    assert scene.backend.servers == [before]
    assert scene.told == ["Repaired"]
    assert scene.drifted() is None
    await scene.look()
    assert scene.writes() == [remedy]


async def test_a_service_that_says_yes_and_does_nothing_is_asked_ever_more_rarely(scene: Scene) -> None:
    async def nothing(provider_id: str) -> None:
        scene.backend.calls.append("start")

    scene.backend.start = nothing  # type: ignore[method-assign]
    scene.backend.change(state=ServerState.STOPPED)
    moments: list[float] = []
    for second in range(int(6 * FIRST_PAUSE)):
        count = len(scene.writes())
        await scene.look()
        if len(scene.writes()) > count:
            moments.append(second)
    pauses = [later - earlier for earlier, later in pairwise(moments)]
    assert len(pauses) == 2
    assert pauses[0] == pytest.approx(FIRST_PAUSE, abs=2)
    assert pauses[1] == pytest.approx(2 * FIRST_PAUSE, abs=2)
    assert scene.drifted() == ("Stopped", "it was stopped (repaired 3 times in a row)")


async def test_a_refusal_is_told_and_does_not_end_the_object(scene: Scene) -> None:
    scene.backend.change(offering="large")
    scene.backend.refusals = [CapacityError("no room for small")]
    await scene.look()
    assert scene.drifted() == ("Resized", "its offering is large instead of small (tried once: no room for small)")
    assert scene.told == ["RepairFailed"]
    await scene.look(FIRST_PAUSE)
    assert scene.writes() == ["resize", "resize"]
    assert scene.drifted() is None


async def test_a_drift_that_went_by_itself_is_left_alone(scene: Scene) -> None:
    scene.backend.change(state=ServerState.STOPPED)
    scene.clock.advance(1)
    await scene.connection._take()
    scene.backend.change(state=ServerState.RUNNING)
    await scene.step()
    assert scene.writes() == []
    assert scene.drifted() is None


async def test_a_server_that_somebody_else_took_between_look_and_repair_stays_theirs(scene: Scene) -> None:
    scene.backend.change(tags={})
    scene.clock.advance(1)
    await scene.connection._take()
    scene.backend.change(tags={TAG_SERVER: "another", TAG_NAMESPACE: "theirs"})
    await scene.step()
    assert scene.writes() == []


async def test_nothing_is_undone_in_a_suspended_group(scene: Scene) -> None:
    suspended = {**scene.group, "spec": {**scene.group["spec"], "suspend": True}}
    version = str(int(suspended["metadata"]["resourceVersion"]) + 1000)
    suspended["metadata"] = {**suspended["metadata"], "resourceVersion": version}
    scene.bench.context.store.ingest(SERVER_GROUP, suspended)
    scene.backend.change(state=ServerState.STOPPED)
    await scene.look()
    assert scene.writes() == []
    assert scene.drifted() == ("Stopped", "it was stopped (not repaired: its group is suspended)")


async def test_reported_only_where_nobody_asked_for_more(bench: Bench) -> None:
    scene = Scene(bench)
    await scene.begin("Report")
    scene.backend.change(state=ServerState.STOPPED, offering="large")
    await scene.look()
    assert scene.writes() == []
    told = scene.drifted()
    assert told is not None
    assert told[0] == "Stopped"
    assert told[1].count("driftPolicy: Report") == 2
