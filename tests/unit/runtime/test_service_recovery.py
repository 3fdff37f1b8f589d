"""What a connection to a hosting service recovers from by itself."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import cast

import pytest
from tests.unit.runtime.test_service import REQUEST, FakeBackend, Watcher, record

from moorage.core.facts import LookupResult
from moorage.hosting.contract import Backend
from moorage.hosting.errors import TimedOut, Unavailable
from moorage.runtime.budget import Budget
from moorage.runtime.circuit import PAUSE, THRESHOLD
from moorage.runtime.clock import ManualClock
from moorage.runtime.inventory import Timetable
from moorage.runtime.service import Hooks, ServiceConnection

HOUR = timedelta(hours=1)


class Scene:
    """A connection on a clock of its own."""

    def __init__(self) -> None:
        self.backend, self.watcher, self.clock = FakeBackend(servers=[record()]), Watcher(), ManualClock()
        watcher = self.watcher
        hooks = Hooks(watcher.guard, lambda: watcher.recorded, watcher.on_inventory, watcher.on_trouble)
        self.connection = ServiceConnection(
            "anchor", "svc", "inst", cast(Backend, self.backend), hooks, self.clock, Budget(1000, 1000), 60.0
        )
        self.connection.expected_account = "account"


@pytest.fixture
async def scene() -> AsyncIterator[Scene]:
    made = Scene()
    yield made
    await made.connection.close()


async def test_a_trial_that_was_never_made_leaves_the_next_one_free(scene: Scene) -> None:
    for _ in range(THRESHOLD):
        scene.backend.errors.append(Unavailable("down"))
        with pytest.raises(Unavailable):
            await scene.connection.ask("s1")
    scene.clock.advance(PAUSE + 1)
    with pytest.raises(TimedOut, match="deadline passed"):
        await scene.connection.create(REQUEST, scene.clock.monotonic())
    assert (await scene.connection.ask("s1")).result is LookupResult.FOUND
    assert scene.connection.circuit.state == "Closed"


async def test_a_changed_account_is_looked_at_no_more_often_than_any(scene: Scene) -> None:
    scene.backend.of = "other"
    scene.connection.start()
    await scene.watcher.changed.wait()
    for _ in range(200):
        await asyncio.sleep(0)
    assert scene.connection.foreign_account == "other"
    assert scene.backend.calls == ["inventory"]


async def test_inventories_go_on_after_a_fault_that_is_no_error_of_the_service(scene: Scene) -> None:
    scene.backend.errors.append(ValueError("a fault"))
    scene.connection.start()
    await scene.backend.called.wait()
    async with asyncio.timeout(10):
        while scene.connection.latest is None:
            scene.clock.advance(1)
            await asyncio.sleep(0)


async def test_a_close_together_with_a_wake_up_ends_the_inventories(scene: Scene) -> None:
    scene.connection.start()
    await scene.watcher.changed.wait()
    for _ in range(20):
        await asyncio.sleep(0)
    scene.connection.watch()
    async with asyncio.timeout(5):
        await scene.connection.close()


@pytest.mark.parametrize("jump", [HOUR, -HOUR])
async def test_the_deadline_of_a_creation_does_not_move_with_the_time_of_day(scene: Scene, jump: timedelta) -> None:
    deadline = scene.clock.monotonic() + 30
    scene.clock.jump(scene.clock.now() + jump)
    assert (await scene.connection.create(REQUEST, deadline)).provider_id == "s1"
    scene.clock.advance(30)
    scene.clock.jump(scene.clock.now() + jump)
    with pytest.raises(TimedOut, match="deadline passed"):
        await scene.connection.create(REQUEST, deadline)


async def test_an_inventory_from_later_than_now_says_nothing(scene: Scene) -> None:
    scene.connection.start()
    await scene.watcher.changed.wait()
    latest = scene.connection.facts().latest
    assert latest is not None
    scene.clock.jump(scene.clock.now() - HOUR)
    assert scene.connection.facts().latest is None
    scene.connection.latest = replace(latest, started=scene.clock.now())
    assert scene.connection.facts().latest is not None


def test_what_is_waited_for_after_a_clock_was_set_back_does_not_wait_for_the_interval() -> None:
    now = datetime(2026, 1, 1, tzinfo=UTC)
    timetable = Timetable(3600.0, jitter=lambda: 0.5)
    timetable.need(now)
    assert timetable.delay(now + HOUR, now) < 1
