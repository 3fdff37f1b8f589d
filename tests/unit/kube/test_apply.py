"""Status is written when it differs, hard changes at once, soft ones in company; finalizers by guarded patches."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest
from tests.support.memory_api import MemoryApi

from moorage.kube.apply import StatusWriter, Written, add_finalizer, desired_status, remove_finalizer
from moorage.kube.errors import Conflict, NotFound, NotLeader
from moorage.kube.kinds import VIRTUAL_SERVER, Kind
from moorage.kube.store import Store, as_is

Obj = dict[str, Any]


class World:
    def __init__(self) -> None:
        self.api = MemoryApi()
        self.store = Store()
        self.table = self.store.register(VIRTUAL_SERVER, as_is)
        self.requeued: list[tuple[Kind, str, str]] = []
        self.writer = StatusWriter(self.api.client, self.store, "m", lambda *key: self.requeued.append(key), delay=0.02)

    async def make(self, status: Obj | None = None, **meta: Any) -> Obj:
        body = {"metadata": {"namespace": "ns", "name": "a", **meta}, "status": status or {"observedGeneration": -1}}
        obj = await self.api.create(VIRTUAL_SERVER, body)
        self.table.ingest(obj)
        self.api.calls.clear()
        return obj

    def now(self) -> Obj:
        held = self.table.get("ns", "a")
        assert held is not None
        return held


@pytest.fixture
async def world() -> AsyncIterator[World]:
    world = World()
    task = asyncio.create_task(world.writer.run())
    yield world
    task.cancel()


async def test_what_does_not_differ_is_not_written(world: World) -> None:
    obj = await world.make({"observedGeneration": 1, "agent": {"sequence": 7}, "state": "Running"})
    same = {"observedGeneration": 1, "state": "Running", "startedAt": None}
    assert await world.writer.write(VIRTUAL_SERVER, obj, same, hard=True) is Written.UNCHANGED
    assert world.api.calls == []


async def test_transition_times_change_only_with_the_condition(world: World) -> None:
    ready = {"type": "Ready", "status": "False", "reason": "R", "message": "m", "lastTransitionTime": "old"}
    obj = await world.make({"observedGeneration": 1, "conditions": [ready]})
    status = {"observedGeneration": 1, "conditions": [{**ready, "lastTransitionTime": "new"}]}
    assert await world.writer.write(VIRTUAL_SERVER, obj, status, hard=True) is Written.UNCHANGED
    status["conditions"] = [{**ready, "message": "other", "lastTransitionTime": "new"}]
    assert await world.writer.write(VIRTUAL_SERVER, obj, status, hard=True) is Written.WRITTEN
    assert world.now()["status"]["conditions"][0]["lastTransitionTime"] == "old"
    status["conditions"] = [{**ready, "status": "True", "lastTransitionTime": "new"}]
    await world.writer.write(VIRTUAL_SERVER, world.now(), status, hard=True)
    assert world.now()["status"]["conditions"][0]["lastTransitionTime"] == "new"


async def test_soft_changes_share_one_write_with_a_hard_one(world: World) -> None:
    obj = await world.make()
    soft = {"observedGeneration": 1}
    assert await world.writer.write(VIRTUAL_SERVER, obj, soft, hard=False) is Written.HELD
    assert world.writer.held == 1
    assert await world.writer.write(VIRTUAL_SERVER, obj, {**soft, "providerID": "p"}, hard=True) is Written.WRITTEN
    assert world.writer.held == 0
    assert world.api.calls == ["apply VirtualServer a status"]


async def _until(condition: Any) -> None:
    async with asyncio.timeout(5):
        while not condition():  # noqa: ASYNC110 - the condition has no event
            await asyncio.sleep(0.002)


async def test_a_soft_change_is_written_by_itself_after_the_delay(world: World) -> None:
    obj = await world.make()
    await world.writer.write(VIRTUAL_SERVER, obj, {"observedGeneration": 1}, hard=False)
    await world.writer.write(VIRTUAL_SERVER, obj, {"observedGeneration": 1, "state": "x"}, hard=False)
    await _until(lambda: world.api.calls)
    await _until(lambda: world.now()["status"].get("state") == "x")
    assert world.api.calls == ["apply VirtualServer a status"]
    assert world.requeued == []


async def test_a_hard_change_after_our_own_held_one_is_no_conflict(world: World) -> None:
    """A decision that rests on the object as it was before our own held change still holds."""
    obj = await world.make()
    await world.writer.write(VIRTUAL_SERVER, obj, {"observedGeneration": 1}, hard=False)
    await _until(lambda: world.now()["status"].get("observedGeneration") == 1)
    status = {"observedGeneration": 1, "providerID": "p"}
    assert await world.writer.write(VIRTUAL_SERVER, obj, status, hard=True) is Written.WRITTEN
    assert world.now()["status"]["providerID"] == "p"
    assert world.api.calls == ["apply VirtualServer a status"] * 2
    assert world.requeued == []


async def test_a_hard_change_after_anybody_elses_is_a_conflict(world: World) -> None:
    obj = await world.make()
    await world.writer.write(VIRTUAL_SERVER, obj, {"observedGeneration": 1}, hard=False)
    await _until(lambda: world.now()["status"].get("observedGeneration") == 1)
    world.table.ingest(world.api.change(VIRTUAL_SERVER, "ns", "a", spec={"x": 1}))
    status = {"observedGeneration": 1, "providerID": "p"}
    assert await world.writer.write(VIRTUAL_SERVER, obj, status, hard=True) is Written.CONFLICT


async def test_what_a_held_change_said_already_is_not_held_again(world: World) -> None:
    obj = await world.make()
    await world.writer.write(VIRTUAL_SERVER, obj, {"observedGeneration": 1}, hard=False)
    await _until(lambda: world.now()["status"].get("observedGeneration") == 1)
    assert await world.writer.write(VIRTUAL_SERVER, obj, {"observedGeneration": 1}, hard=False) is Written.UNCHANGED
    assert world.writer.held == 0


async def test_a_held_change_of_an_older_version_is_decided_again(world: World) -> None:
    obj = await world.make()
    await world.writer.write(VIRTUAL_SERVER, obj, {"observedGeneration": 1}, hard=False)
    world.table.ingest(world.api.change(VIRTUAL_SERVER, "ns", "a", spec={"x": 1}))
    await _until(lambda: world.requeued)
    assert world.requeued == [(VIRTUAL_SERVER, "ns", "a")]
    assert world.api.calls == []


async def test_a_held_change_that_was_taken_back_is_not_written(world: World) -> None:
    obj = await world.make()
    await world.writer.write(VIRTUAL_SERVER, obj, {"observedGeneration": 1}, hard=False)
    assert await world.writer.write(VIRTUAL_SERVER, obj, {"observedGeneration": -1}, hard=False) is Written.UNCHANGED
    assert world.writer.held == 0


async def test_a_held_change_goes_too_where_the_caller_sees_that_all_stands(world: World) -> None:
    obj = await world.make()
    await world.writer.write(VIRTUAL_SERVER, obj, {"observedGeneration": 1}, hard=False)
    assert world.writer.stands(VIRTUAL_SERVER, obj) is Written.UNCHANGED
    assert world.writer.held == 0


@pytest.mark.parametrize("compared", [False, True])
async def test_a_change_that_is_on_its_way_is_taken_back_by_another(world: World, compared: bool) -> None:
    obj = await world.make()
    await world.writer.write(VIRTUAL_SERVER, obj, {"observedGeneration": 1}, hard=False)
    world.writer._start((VIRTUAL_SERVER, obj["metadata"]["uid"]), float("inf"))
    if compared:
        assert world.writer.stands(VIRTUAL_SERVER, obj) is Written.HELD
    else:
        status = {"observedGeneration": -1}
        assert await world.writer.write(VIRTUAL_SERVER, obj, status, hard=False) is Written.HELD
    await world.writer.flush()
    assert world.now()["status"]["observedGeneration"] == -1


async def test_flush_writes_all_that_is_held(world: World) -> None:
    obj = await world.make()
    await world.writer.write(VIRTUAL_SERVER, obj, {"observedGeneration": 1}, hard=False)
    await world.writer.flush()
    assert world.api.calls == ["apply VirtualServer a status"]


async def test_a_refused_held_change_is_asked_for_again(world: World) -> None:
    obj = await world.make()
    await world.writer.write(VIRTUAL_SERVER, obj, {"observedGeneration": 1}, hard=False)
    world.api.failures.append(NotLeader("not the leader"))
    await world.writer.flush()
    assert world.requeued == [(VIRTUAL_SERVER, "ns", "a")]


async def test_a_conflict_reads_again_and_leaves_the_decision_to_the_caller(world: World) -> None:
    obj = await world.make()
    world.api.change(VIRTUAL_SERVER, "ns", "a", spec={"x": 1})
    assert await world.writer.write(VIRTUAL_SERVER, obj, {"observedGeneration": 1}, hard=True) is Written.CONFLICT
    assert world.now()["spec"] == {"x": 1}
    assert world.now()["status"] == {"observedGeneration": -1}


async def test_a_successor_is_not_written_to(world: World) -> None:
    obj = await world.make()
    world.api.remove(VIRTUAL_SERVER, "ns", "a")
    successor = await world.api.create(VIRTUAL_SERVER, {"metadata": {"namespace": "ns", "name": "a"}})
    assert await world.writer.write(VIRTUAL_SERVER, obj, {"observedGeneration": 1}, hard=True) is Written.GONE
    assert "status" not in world.api.stored(VIRTUAL_SERVER, "ns", "a")
    assert world.now()["metadata"]["uid"] == successor["metadata"]["uid"]


async def test_an_object_that_is_gone_leaves_the_store(world: World) -> None:
    obj = await world.make()
    world.api.remove(VIRTUAL_SERVER, "ns", "a")
    assert await world.writer.write(VIRTUAL_SERVER, obj, {"observedGeneration": 1}, hard=True) is Written.GONE
    assert len(world.table) == 0


def test_what_an_apply_would_remove_must_be_carried() -> None:
    with pytest.raises(ValueError, match="observedGeneration"):
        desired_status({}, {"state": "x"})
    with pytest.raises(ValueError, match="providerID"):
        desired_status({"providerID": "p"}, {"observedGeneration": 1})
    assert desired_status({}, {"observedGeneration": 1, "agent": {}, "list": [{"a": None}]}) == {
        "observedGeneration": 1,
        "list": [{}],
    }


async def test_finalizers_are_added_once_and_removed(world: World) -> None:
    obj = await world.make(finalizers=["other"])
    obj = await add_finalizer(world.api.client, world.store, VIRTUAL_SERVER, obj, "moorage.dev/server")
    assert obj["metadata"]["finalizers"] == ["other", "moorage.dev/server"]
    world.api.calls.clear()
    assert await add_finalizer(world.api.client, world.store, VIRTUAL_SERVER, obj, "moorage.dev/server") is obj
    assert world.api.calls == []
    assert not await remove_finalizer(world.api.client, world.store, VIRTUAL_SERVER, obj, "moorage.dev/server")
    assert world.now()["metadata"]["finalizers"] == ["other"]
    assert not await remove_finalizer(world.api.client, world.store, VIRTUAL_SERVER, world.now(), "absent")


async def test_the_last_finalizer_ends_the_object(world: World) -> None:
    obj = await world.make(finalizers=["f"], deletionTimestamp="2026-01-01T00:00:00Z")
    with pytest.raises(ValueError, match="no new finalizer"):
        await add_finalizer(world.api.client, world.store, VIRTUAL_SERVER, obj, "g")
    assert await remove_finalizer(world.api.client, world.store, VIRTUAL_SERVER, obj, "f")
    assert len(world.table) == 0
    assert await remove_finalizer(world.api.client, world.store, VIRTUAL_SERVER, obj, "f"), "gone already"


async def test_a_finalizer_is_decided_again_after_a_conflict(world: World) -> None:
    obj = await world.make()
    world.api.change(VIRTUAL_SERVER, "ns", "a", spec={"x": 1})
    with pytest.raises(Conflict):
        await add_finalizer(world.api.client, world.store, VIRTUAL_SERVER, obj, "f")
    assert world.now()["spec"] == {"x": 1}
    world.api.remove(VIRTUAL_SERVER, "ns", "a")
    await world.api.create(VIRTUAL_SERVER, {"metadata": {"namespace": "ns", "name": "a"}})
    with pytest.raises(NotFound, match="of this uid is gone"):
        await add_finalizer(world.api.client, world.store, VIRTUAL_SERVER, obj, "f")
    assert "finalizers" not in world.api.stored(VIRTUAL_SERVER, "ns", "a")["metadata"]
