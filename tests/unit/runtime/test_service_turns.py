"""While a turn waits for a service, its place among the workers is another object's, whatever the service is asked."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import cast

import pytest
from tests.unit.runtime.test_service import REQUEST, FakeBackend, Watcher, record

from moorage.hosting.contract import Backend, ServerRecord
from moorage.runtime.budget import Budget
from moorage.runtime.clock import SystemClock
from moorage.runtime.queue import WorkQueue
from moorage.runtime.service import Hooks, ServiceConnection
from moorage.runtime.workers import DONE, Result, Workers


@dataclass
class Able(FakeBackend):
    """Starts and resizes servers, too."""

    async def start(self, provider_id: str) -> None:
        await self._called("start")

    async def stop(self, provider_id: str) -> None:
        await self._called("stop")

    async def resize(self, provider_id: str, offering: str) -> None:
        await self._called("resize")


@dataclass
class Batching(Able):
    """Answers and deletes in batches."""

    BATCH = 10

    async def get_many(self, provider_ids: Sequence[str]) -> Mapping[str, ServerRecord | None]:
        await self._called("get_many")
        return dict.fromkeys(provider_ids)

    async def delete_many(self, provider_ids: Sequence[str]) -> None:
        await self._called("delete_many")


CALLS: dict[str, Callable[[ServiceConnection], Awaitable[object]]] = {
    "about the service": lambda c: c.describe("account", c.backend.account()),
    "about a server": lambda c: c.ask("s1"),
    "to create": lambda c: c.create(REQUEST, SystemClock().monotonic() + 60),
    "to delete": lambda c: c.delete("s1"),
    "to tag": lambda c: c.retag("s1", {}),
    "to start": lambda c: c.power_on("s1"),
    "to resize": lambda c: c.resize("s1", "large"),
}


@pytest.mark.parametrize("kind", [Able, Batching])
@pytest.mark.parametrize("call", CALLS)
async def test_a_call_that_hangs_leaves_its_place_to_another(kind: type[FakeBackend], call: str) -> None:
    backend, watcher = kind(servers=[record()], gate=asyncio.Event()), Watcher()
    hooks = Hooks(watcher.guard, list, watcher.on_inventory, watcher.on_trouble)
    connection = ServiceConnection(
        "anchor", "svc", "inst", cast(Backend, backend), hooks, SystemClock(), Budget(1000, 1000), 60.0
    )
    other, ended = asyncio.Event(), asyncio.Event()

    async def reconcile(key: str) -> Result:
        if key == "hangs":
            await CALLS[call](connection)
            ended.set()
        else:
            await backend.called.wait()
            other.set()
        return DONE

    queue: WorkQueue[str] = WorkQueue("test")
    workers = Workers(queue, reconcile, count=1)
    queue.add("hangs")
    queue.add("another")
    workers.start()
    try:
        await asyncio.wait_for(other.wait(), 10)
        assert not ended.is_set()
        assert backend.gate is not None
        backend.gate.set()
        await asyncio.wait_for(ended.wait(), 10)
    finally:
        await workers.stop(0.0)
        await connection.close()
