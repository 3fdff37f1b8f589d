"""A service that deletes many servers in one call is asked once for all that are to go."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, field
from typing import cast

import pytest
from tests.unit.runtime.test_service import FakeBackend, Watcher

from moorage.hosting.contract import Backend
from moorage.runtime.batch import WINDOW
from moorage.runtime.budget import Budget
from moorage.runtime.clock import ManualClock
from moorage.runtime.service import Hooks, ServiceConnection

GOING = ["s1", "s2", "s3"]


@dataclass
class Deleting(FakeBackend):
    """Deletes several at once."""

    BATCH = 10
    deleted: list[list[str]] = field(default_factory=list)

    async def delete_many(self, provider_ids: Sequence[str]) -> None:
        await self._called("delete_many")
        self.deleted.append(list(provider_ids))


class Scene:
    """A connection on a clock of its own."""

    def __init__(self, backend: FakeBackend) -> None:
        self.watcher, self.clock = Watcher(), ManualClock()
        hooks = Hooks(self.watcher.guard, list, self.watcher.on_inventory, self.watcher.on_trouble)
        budget = Budget(1000, 1000, clock=self.clock)
        self.connection = ServiceConnection(
            "anchor", "svc", "inst", cast(Backend, backend), hooks, self.clock, budget, 60.0
        )

    async def delete(self) -> list[BaseException | None]:
        """Ask for the end of some servers at the same time; what came of each."""
        tasks = [asyncio.create_task(self.connection.delete(id_)) for id_ in GOING]
        for _ in range(20):
            await asyncio.sleep(0)
        self.clock.advance(WINDOW)
        return await asyncio.wait_for(asyncio.gather(*tasks, return_exceptions=True), 10)


@pytest.fixture
async def backend() -> Deleting:
    return Deleting()


@pytest.fixture
async def scene(backend: Deleting) -> AsyncIterator[Scene]:
    made = Scene(backend)
    yield made
    await made.connection.close()


async def test_deletions_at_the_same_time_are_one_call(scene: Scene, backend: Deleting) -> None:
    assert await scene.delete() == [None] * 3
    assert (backend.calls, backend.deleted) == (["delete_many"], [GOING])


async def test_they_need_the_lease_like_a_single_one(scene: Scene, backend: Deleting) -> None:
    scene.watcher.leads = False
    assert [type(error) for error in await scene.delete()] == [PermissionError] * 3
    assert backend.calls == []


async def test_a_service_without_the_ability_is_asked_for_each() -> None:
    backend = FakeBackend()
    assert await Scene(backend).delete() == [None] * 3
    assert backend.calls == ["delete"] * 3
