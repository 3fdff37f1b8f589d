"""Events of a service are noticed at once, make inventories rarer, and may break as they like."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import cast

import pytest
from tests.unit.runtime.test_service import CAPABILITIES, FakeBackend, Watcher, record

from moorage.core.facts import Lookup, LookupResult, SeenState
from moorage.hosting.contract import Backend, ServerRecord, ServerState
from moorage.hosting.errors import HostingError, NotFound, Throttled, Unavailable, Unknown
from moorage.runtime.budget import Budget
from moorage.runtime.clock import ManualClock
from moorage.runtime.events import MANY, RETRY_LONGEST
from moorage.runtime.inventory import ATTENTION, EVENTS_FACTOR, JITTER, patience
from moorage.runtime.service import Hooks, ServiceConnection

INTERVAL = 30.0
INVENTORY_SECONDS = CAPABILITIES.inventory_timeout


@dataclass
class Telling(FakeBackend):
    """Tells its events: strings are handed on, exceptions raised."""

    told: asyncio.Queue[str | Exception] = field(default_factory=asyncio.Queue)
    listened: list[float] = field(default_factory=list)
    closed_streams: int = 0

    async def events(self) -> AsyncIterator[str]:
        self.listened.append(0.0)
        try:
            while True:
                item = await self.told.get()
                if isinstance(item, Exception):
                    raise item
                yield item
        finally:
            self.closed_streams += 1

    async def get(self, provider_id: str) -> ServerRecord:
        await self._called(f"get {provider_id}")
        found = [s for s in self.servers if s.provider_id == provider_id]
        if not found:
            raise NotFound("no such server")
        return found[0]


@dataclass
class TellingMany(Telling):
    """And answers about several at once."""

    BATCH: int = 100

    async def get_many(self, provider_ids: Sequence[str]) -> Mapping[str, ServerRecord | None]:
        await self._called(f"get_many {len(provider_ids)}")
        return {id_: next((s for s in self.servers if s.provider_id == id_), None) for id_ in provider_ids}


class Scene:
    def __init__(self, backend: Telling) -> None:
        self.backend, self.watcher, self.clock = backend, Watcher(), ManualClock()
        self.heard: list[tuple[str, Lookup]] = []
        self.ours = {"s1", "s2"}
        hooks = Hooks(
            self.watcher.guard, list, self.watcher.on_inventory, self.watcher.on_trouble, on_event=self.on_event
        )
        budget = Budget(1000, 1000, clock=self.clock)
        self.connection = ServiceConnection(
            "anchor", "svc", "inst", cast(Backend, backend), hooks, self.clock, budget, INTERVAL
        )
        self.connection.expected_account = "account"

    def on_event(self, provider_id: str, lookup: Lookup) -> bool:
        self.heard.append((provider_id, lookup))
        return provider_id in self.ours

    async def turns(self) -> None:
        for _ in range(30):
            await asyncio.sleep(0)

    async def passes(self, seconds: float, step: float = 0.1) -> None:
        await self.turns()
        for _ in range(round(seconds / step)):
            self.clock.advance(step)
            await self.turns()

    async def begin(self) -> None:
        self.backend.servers = [record("s1"), record("s2")]
        self.connection.start()
        self.backend.told.put_nowait("")
        await self.passes(1)
        self.backend.calls.clear()

    def tell(self, *ids: str | Exception) -> None:
        for id_ in ids:
            self.backend.told.put_nowait(id_)

    def gets(self) -> list[str]:
        return [call for call in self.backend.calls if call.startswith("get")]


@pytest.fixture(params=[Telling, TellingMany])
async def scene(request: pytest.FixtureRequest) -> AsyncIterator[Scene]:
    made = Scene(request.param())
    yield made
    await made.connection.close()
    assert made.backend.closed_streams == len(made.backend.listened)


@pytest.mark.parametrize("error", [Unavailable("503"), Throttled("429", retry_after=1.0)])
async def test_a_change_whose_question_fails_is_told_by_an_inventory_soon(scene: Scene, error: HostingError) -> None:
    await scene.begin()
    scene.backend.errors = [error]
    scene.tell("s1")
    await scene.passes(10)
    assert scene.heard == []
    assert "inventory" in scene.backend.calls


async def test_a_server_that_nobody_can_be_asked_about_costs_few_inventories(scene: Scene) -> None:
    await scene.begin()
    for _ in range(60):
        scene.backend.errors = [Throttled("429")]
        scene.tell("s1")
        await scene.passes(0.5)
        scene.backend.errors.clear()
        await scene.passes(0.5)
    assert 1 <= scene.backend.calls.count("inventory") <= 60 / ATTENTION + 2


async def test_a_change_is_noticed_within_a_second_and_told_once(scene: Scene) -> None:
    await scene.begin()
    scene.backend.servers[0] = replace(scene.backend.servers[0], state=ServerState.STOPPED)
    scene.tell("s1", "s1", "s1")
    await scene.passes(1)
    assert [(id_, lookup.seen.state) for id_, lookup in scene.heard if lookup.seen] == [("s1", SeenState.STOPPED)]
    assert len(scene.gets()) == 1
    scene.tell("s1")
    await scene.passes(1)
    assert len(scene.heard) == 1, "nothing is new"
    scene.backend.servers[0] = replace(scene.backend.servers[0], state=ServerState.RUNNING)
    scene.tell("s1")
    await scene.passes(1)
    assert len(scene.heard) == 2, "as it was at the last inventory, and yet it changed"


async def test_one_that_is_gone_is_told_and_an_inventory_taken(scene: Scene) -> None:
    await scene.begin()
    del scene.backend.servers[0]
    scene.tell("s1")
    await scene.passes(1)
    assert [(id_, lookup.result) for id_, lookup in scene.heard] == [("s1", LookupResult.NOT_FOUND)]
    assert "inventory" in scene.backend.calls
    assert scene.connection.latest is not None
    assert set(scene.connection.latest.by_id) == {"s2"}


async def test_a_busy_neighbour_costs_one_question(scene: Scene) -> None:
    await scene.begin()
    for state in (ServerState.STOPPED, ServerState.RUNNING, ServerState.STOPPED):
        scene.backend.servers = [record("s1"), record("s2"), replace(record("other"), state=state)]
        scene.tell("other")
        await scene.passes(1)
    assert len(scene.gets()) == 1


async def test_a_creation_that_was_told_before_it_was_answered_is_asked_about_again(scene: Scene) -> None:
    await scene.begin()
    scene.backend.servers.append(record("s3"))
    scene.tell("s3")
    await scene.passes(1)
    before = len(scene.gets())
    scene.ours.add("s3")
    assert scene.connection._follower is not None
    scene.connection._follower.made("s3")
    await scene.passes(1)
    assert len(scene.gets()) == before + 1
    assert [id_ for id_, _ in scene.heard] == ["s3", "s3"]


async def test_many_changes_at_once_cost_few_calls(scene: Scene) -> None:
    await scene.begin()
    for _ in range(4):
        scene.tell(*(f"x{n}" for n in range(MANY + 1)))
        await scene.passes(1)
    assert scene.backend.calls == (["get_many 51"] if isinstance(scene.backend, TellingMany) else ["inventory"])
    await scene.passes(5)
    assert len(scene.backend.calls) <= 2


async def test_while_events_flow_inventories_are_rare_and_without_them_as_before(scene: Scene) -> None:
    await scene.begin()
    await scene.passes(EVENTS_FACTOR * INTERVAL * (1 - JITTER) - 2, step=1)
    assert scene.backend.calls == [], "idle: nothing is asked"
    await scene.passes(EVENTS_FACTOR * INTERVAL * 2 * JITTER + 3, step=1)
    assert scene.backend.calls == ["inventory"]
    scene.tell(Unavailable("gone"))
    await scene.turns()
    await scene.passes(INTERVAL * (1 + JITTER) + 1, step=1)
    before = scene.backend.calls.count("inventory")
    assert 2 <= before <= 3
    assert len(scene.backend.listened) == 2, "it listens again"
    scene.tell("")
    await scene.passes(1)
    assert scene.backend.calls.count("inventory") == before + 1, "what came meanwhile is in an inventory only"


async def late(scene: Scene) -> float:
    """Inventories fail until they are overdue; gives how long after the last complete one that is."""
    complete = scene.connection._complete
    while not scene.connection.overdue:
        await scene.passes(1, step=1)
        assert scene.clock.monotonic() < complete + 10_000
    return scene.clock.monotonic() - complete


async def test_a_service_that_is_on_schedule_is_not_overdue_because_its_events_end(scene: Scene) -> None:
    await scene.begin()
    await scene.passes(EVENTS_FACTOR * INTERVAL * (1 - JITTER) - 5, step=1)
    scene.backend.errors = [Unknown("the listing fails")] * 10_000
    scene.tell(Unavailable("the stream broke"))
    await scene.passes(1)
    assert not scene.connection.overdue, "the inventory that is due now has just been tried"
    since = scene.clock.monotonic()
    await late(scene)
    assert scene.clock.monotonic() - since == pytest.approx(patience(INTERVAL, INVENTORY_SECONDS) - INTERVAL, abs=3)


async def test_a_stream_that_comes_and_goes_does_not_hide_that_inventories_are_overdue(scene: Scene) -> None:
    await scene.begin()
    scene.backend.errors = [Unknown("the listing fails")] * 10_000
    for _ in range(2000):
        scene.tell("", Unavailable("the stream broke"))
    assert await late(scene) <= patience(EVENTS_FACTOR * INTERVAL, INVENTORY_SECONDS) + 2


@pytest.mark.parametrize("error", [Unavailable("down"), ValueError("a fault")])
async def test_a_stream_that_breaks_for_an_hour_is_begun_again_rarely(scene: Scene, error: Exception) -> None:
    await scene.begin()
    scene.backend.listened.clear()
    scene.backend.closed_streams = -1
    scene.tell(*[error] * 1000)
    await scene.passes(3600, step=5)
    assert 3600 / RETRY_LONGEST - 5 <= len(scene.backend.listened) <= 3600 / RETRY_LONGEST + 12
    while not scene.backend.told.empty():
        scene.backend.told.get_nowait()
    scene.tell("")
    await scene.passes(2 * RETRY_LONGEST, step=1)
    assert scene.connection.timetable.flows


async def test_no_answer_is_believed_before_an_inventory_told_whose_account_it_is(scene: Scene) -> None:
    await scene.begin()
    scene.backend.of, scene.backend.servers = "another", []
    scene.tell(Unavailable("the endpoint moved"))
    await scene.passes(2)
    scene.tell("", "s1", "s2")
    await scene.passes(10)
    assert scene.connection.foreign_account == "another"
    assert scene.heard == []
    assert scene.gets() == []
    scene.backend.of, scene.backend.servers = "account", [record("s1")]
    scene.connection.need_inventory(datetime.max.replace(tzinfo=scene.clock.now().tzinfo))
    scene.connection.timetable._newer_than = scene.clock.now()
    await scene.passes(2)
    assert [(id_, lookup.result) for id_, lookup in scene.heard] == [("s2", LookupResult.NOT_FOUND)]


async def test_a_service_without_events_has_no_listener() -> None:
    clock = ManualClock()
    hooks = Hooks(lambda: None, list, lambda _: None, lambda: None)
    backend = cast(Backend, FakeBackend())
    connection = ServiceConnection("anchor", "svc", "inst", backend, hooks, clock, Budget(1, 1, clock=clock), INTERVAL)
    assert connection._follower is None
    await connection.close()
