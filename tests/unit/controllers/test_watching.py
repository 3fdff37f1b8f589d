"""What Kopf reports reaches the cache; echoes do not change threads; a relist finds what was deleted unseen."""

from __future__ import annotations

import asyncio
from typing import Any

import kopf
from tests.support.memory_api import MemoryApi

from moorage.controllers import watching
from moorage.controllers.watching import Watches, kopf_settings
from moorage.kube.kinds import HOSTING_POLICY, HOSTING_SERVICE, SERVER_GROUP, VIRTUAL_SERVER_CONFIG
from moorage.kube.store import Store, as_is

Obj = dict[str, Any]


class World:
    def __init__(self) -> None:
        self.api = MemoryApi()
        self.store = Store()
        self.table = self.store.register(SERVER_GROUP, as_is)

        def unused() -> Any:
            raise AssertionError("nobody logs in here")

        self.watches = Watches(self.api.client, self.store, unused)

    async def make(self, name: str, *, cached: bool = True) -> Obj:
        obj = await self.api.create(SERVER_GROUP, {"metadata": {"namespace": "ns", "name": name}})
        if cached:
            self.table.ingest(obj)
        return obj


async def test_events_reach_the_cache_in_order() -> None:
    world = World()
    take = world.watches._handler(asyncio.get_running_loop(), SERVER_GROUP)
    obj = await world.make("a", cached=False)
    other = await world.make("b", cached=False)
    await take(event={"type": "ADDED", "object": obj})
    await take(event={"type": "ADDED", "object": other})
    await take(event={"type": "DELETED", "object": obj})
    await asyncio.sleep(0)
    assert [o["metadata"]["name"] for o in world.table] == ["b"]
    await take(event={"type": "DELETED", "object": other})
    await asyncio.sleep(0)
    assert list(world.table) == []


async def test_only_echoes_are_left_out() -> None:
    world = World()
    news = world.watches._news(SERVER_GROUP)
    obj = await world.make("a")
    assert not news(event={"type": "MODIFIED", "object": obj})
    assert news(event={"type": "DELETED", "object": obj})
    assert news(event={"type": None, "object": obj})
    newer = {**obj, "metadata": {**obj["metadata"], "resourceVersion": "99"}}
    assert news(event={"type": "MODIFIED", "object": newer})


async def test_what_a_relist_lacks_is_asked_for(monkeypatch: Any) -> None:
    monkeypatch.setattr(watching, "SWEEP_AFTER_RELIST", 0.01)
    world = World()
    there, late, gone = await world.make("there"), await world.make("late"), await world.make("gone")
    await world.api.delete(SERVER_GROUP, "ns", "gone")
    world.api.calls.clear()
    world.watches._take(SERVER_GROUP, None, there)
    async with asyncio.timeout(5):
        while world.table.by_uid(gone["metadata"]["uid"]) is not None:  # noqa: ASYNC110 - the table has no event
            await asyncio.sleep(0.002)
    assert world.table.by_uid(late["metadata"]["uid"]) is not None
    assert not any(call.startswith("list") for call in world.api.calls)


async def test_what_went_before_the_first_watch_is_found_though_nothing_is_left_to_list(monkeypatch: Any) -> None:
    monkeypatch.setattr(watching, "SWEEP_AFTER_START", 0.01)
    world = World()
    gone = await world.make("gone")
    await world.api.delete(SERVER_GROUP, "ns", "gone")
    for kind in (HOSTING_SERVICE, HOSTING_POLICY, VIRTUAL_SERVER_CONFIG):
        world.store.register(kind, as_is)
    world.api.calls.clear()
    world.watches._expect_lists()
    async with asyncio.timeout(5):
        while world.table.by_uid(gone["metadata"]["uid"]) is not None:  # noqa: ASYNC110 - the table has no event
            await asyncio.sleep(0.002)
    assert not any(call.startswith("list") for call in world.api.calls)


def test_kopf_keeps_no_state_of_objects() -> None:
    persistence = kopf_settings().persistence
    body = kopf.Body({"metadata": {"name": "a"}, "spec": {"x": 1}})
    assert persistence.diffbase_storage.build(body=body) == {}
    assert persistence.diffbase_storage.fetch(body=body) is None
    assert persistence.progress_storage.clear(essence={"spec": {}}) == {"spec": {}}
