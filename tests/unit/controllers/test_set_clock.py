"""A clock that is set while nobody knows whether a server was made, on a service that knows no keys."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from datetime import timedelta
from typing import Any, cast

import pytest
from tests.support.controller_bench import Bench
from tests.unit.runtime.test_service import CAPABILITIES, FakeBackend, Watcher

from moorage.api.names import FINALIZER_SERVER
from moorage.controllers.server import ServerController
from moorage.core.steps import AwaitInventory, Record, Wait
from moorage.hosting.contract import Backend, Capabilities, CreateRequest, ServerRecord, ServerState
from moorage.hosting.errors import Unavailable
from moorage.kube.kinds import HOSTING_SERVICE, VIRTUAL_SERVER
from moorage.runtime.budget import Budget
from moorage.runtime.clock import ManualClock
from moorage.runtime.service import Hooks, ServiceConnection

HOUR = timedelta(hours=1)
WAITS = Wait | AwaitInventory
NO_KEYS = replace(CAPABILITIES, idempotent_create=False)
LAG, TIMEOUT = CAPABILITIES.listing_lag, CAPABILITIES.create_timeout


@dataclass
class Forgetful(FakeBackend):
    """Makes a server for every call, shows it late, and never says so."""

    capabilities: Capabilities = NO_KEYS
    made: list[ServerRecord] = field(default_factory=list)

    async def create(self, request: CreateRequest) -> ServerRecord:
        """The answer is lost."""
        await self._called("create")
        self.made.append(ServerRecord(f"s{len(self.made)}", request.key, request.tags, ServerState.RUNNING))
        raise Unavailable("the connection broke")

    def show(self) -> None:
        """From now on listings show what was made."""
        self.servers = list(self.made)


class Scene:
    """One VirtualServer whose creation had no answer."""

    def __init__(self, bench: Bench) -> None:
        self.bench, self.backend = bench, Forgetful()
        self.clock = cast(ManualClock, bench.context.clock)

    async def begin(self) -> None:
        """Make the objects, the connection and the one call."""
        bench = self.bench
        spec = {"type": "local", "endpoint": "http://127.0.0.1:1"}
        service = await bench.put(HOSTING_SERVICE, "s", spec, namespace=None)
        uid = service["metadata"]["uid"]
        watcher = Watcher()
        hooks = Hooks(watcher.guard, list, watcher.on_inventory, watcher.on_trouble)
        budget = Budget(1000, 1000, clock=self.clock)
        self.connection = ServiceConnection(
            "s", uid, "inst", cast(Backend, self.backend), hooks, self.clock, budget, 60.0
        )
        self.connection.expected_account = "account"
        bench.context.connections[uid] = self.connection
        bench.context.channel = replace(bench.context.channel, pin="0" * 64)
        wanted: dict[str, Any] = {
            "serviceRef": {"name": "s", "uid": uid},
            "image": "i",
            "offering": "small",
            "settings": {},
        }
        self.server = await bench.put(VIRTUAL_SERVER, "lonely", wanted, metadata={"finalizers": [FINALIZER_SERVER]})
        self.restart()
        await self.step()
        assert self.backend.calls == ["create"]

    def restart(self) -> None:
        """A new process: all that was learnt is gone."""
        self.bench.context.memories.clear()
        self.connection.latest = self.connection.previous = None
        self.controller = ServerController(self.bench.context, self.bench.tables, self.bench.edges)

    async def step(self) -> object:
        """One look at the server; what was decided."""
        await self.controller.reconcile(("ns", "lonely"))
        return self.bench.context.memory(self.server["metadata"]["uid"]).step

    async def look(self) -> object:
        """A complete inventory, and a look at the server."""
        await self.connection._take()
        return await self.step()

    def set_clock(self, by: timedelta) -> None:
        """As an administrator would."""
        self.clock.jump(self.clock.now() + by)


@pytest.fixture
async def scene(bench: Bench) -> Scene:
    made = Scene(bench)
    await made.begin()
    return made


@pytest.mark.parametrize("jumps", [[HOUR], [-HOUR], [HOUR, -HOUR], [-HOUR, HOUR]])
@pytest.mark.parametrize("restarts", [False, True])
async def test_no_second_server_is_made(scene: Scene, jumps: list[timedelta], restarts: bool) -> None:
    for jump in jumps:
        scene.set_clock(jump)
        if restarts:
            scene.restart()
        assert isinstance(await scene.step(), WAITS)
        scene.clock.advance(2)
        assert isinstance(await scene.look(), WAITS)
    scene.clock.advance(TIMEOUT - 3 * len(jumps))
    assert isinstance(await scene.look(), WAITS), "the call might still be under way"
    scene.backend.show()
    scene.clock.advance(LAG + 5 * len(jumps))
    assert isinstance(await scene.look(), Record)
    assert scene.backend.calls.count("create") == 1


@pytest.mark.parametrize("jump", [HOUR, -HOUR])
async def test_a_server_that_was_not_made_is_made_when_its_time_is_over(scene: Scene, jump: timedelta) -> None:
    scene.backend.made.clear()
    scene.clock.advance(1)
    assert isinstance(await scene.step(), WAITS)
    scene.set_clock(jump)
    scene.clock.advance(TIMEOUT + LAG)
    await scene.look()
    assert scene.backend.calls.count("create") == 2
