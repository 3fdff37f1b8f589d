"""List and watch: deletions that no watch reported are found, and no error ends it."""

from __future__ import annotations

import asyncio
import random
from typing import Any

import pytest
from tests.support.memory_api import MemoryApi

from moorage.kube.answers import WatchEvent
from moorage.kube.backoff import Backoff, backoff_delay
from moorage.kube.errors import ConfigError, Forbidden, Gone, Unavailable
from moorage.kube.kinds import SECRET
from moorage.kube.reflector import Reflector
from moorage.kube.store import Table, as_is


async def _until(condition: Any) -> None:
    async with asyncio.timeout(5):
        while not condition():  # noqa: ASYNC110 - the condition has no event
            await asyncio.sleep(0.002)


async def _make(api: MemoryApi, name: str) -> None:
    await api.create(SECRET, {"metadata": {"namespace": "ns", "name": name}})


async def test_it_follows_and_finds_what_was_deleted_unseen() -> None:
    api, table = MemoryApi(), Table(SECRET, as_is)
    await _make(api, "a")
    await _make(api, "b")
    api.events.clear()
    reflector = Reflector(api.client, table, backoff=Backoff(0.001, 0.002))
    task = asyncio.create_task(reflector.run())
    await asyncio.wait_for(reflector.synced.wait(), 5)
    assert len(table) == 2
    await _make(api, "c")
    await _until(lambda: len(table) == 3)
    api.events.append(WatchEvent("BOOKMARK", {"metadata": {"resourceVersion": api.version()}}))
    api.remove(SECRET, "ns", "c")
    await _until(lambda: len(table) == 2)
    api.remove(SECRET, "ns", "a")
    api.events.clear()  # the event is lost
    api.interrupt(Gone(410, "Expired", "too old"))
    await _until(lambda: len(table) == 1)
    assert reflector.lists == 2
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


async def test_errors_are_waited_out_and_told_once(caplog: pytest.LogCaptureFixture) -> None:
    api, table = MemoryApi(), Table(SECRET, as_is)
    api.failures = [
        Forbidden(403, "Forbidden", "may not list"),
        ConfigError("cannot read the token"),
        Unavailable(0, "ConnectionError", "no"),
    ]
    reflector = Reflector(api.client, table, backoff=Backoff(0.001, 0.002))
    task = asyncio.create_task(reflector.run())
    await asyncio.wait_for(reflector.synced.wait(), 5)
    assert reflector.last_error is None
    assert [r.message for r in caplog.records if r.levelname == "WARNING"] == [
        "watching secrets is interrupted: may not list (403 Forbidden)"
    ]
    lists = reflector.lists
    api.interrupt(Unavailable(0, "ConnectionError", "no"))
    await _until(lambda: not api.failures)
    await _make(api, "a")
    await _until(lambda: len(table) == 1)
    assert reflector.lists == lists, "a broken watch goes on where it was"
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


async def test_two_reflectors_of_one_table_leave_each_other_alone() -> None:
    one, two, table = MemoryApi(), MemoryApi(), Table(SECRET, as_is)
    await _make(one, "a")
    two.version()
    await _make(two, "b")
    first, second = Reflector(one.client, table, namespace="ns"), Reflector(two.client, table, namespace="ns")
    await first.relist()
    await second.relist()
    one.remove(SECRET, "ns", "a")
    for _ in range(5):
        one.version()
    assert (await first.relist()).gone == (("ns", "a"),)
    assert table.get("ns", "b") is not None


async def test_a_list_of_the_whole_kind_tells_also_of_what_only_an_own_write_put_there() -> None:
    api, table = MemoryApi(), Table(SECRET, as_is)
    reflector = Reflector(api.client, table)
    await reflector.relist()
    await _make(api, "posted")
    table.ingest(await api.client.get(SECRET, "ns", "posted"))
    api.remove(SECRET, "ns", "posted")
    api.version()
    assert (await reflector.relist()).gone == (("ns", "posted"),)


def test_back_off_grows_to_its_limit() -> None:
    backoff = Backoff(1.0, 5.0, rng=random.Random(1))
    waits = [backoff.next() for _ in range(5)]
    for wait, full in zip(waits, (1, 2, 4, 5, 5), strict=True):
        assert full / 2 <= wait <= full
    backoff.reset()
    assert backoff.next() <= 1
    assert backoff_delay(1.0, 60.0, 10_000) == 60.0
