"""Servers without an object: reported, and deleted only on request, after a quarantine, where everything agrees."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import cast

import pytest
from tests.support.controller_bench import Bench
from tests.unit.runtime.test_service import FakeBackend, Watcher

from moorage.api.hostingservice import Orphan
from moorage.api.names import ANNOTATION_ORPHANS
from moorage.controllers.orphans import QUARANTINE, Orphans
from moorage.hosting.contract import (
    RELEASED,
    TAG_SERVER,
    Backend,
    ServerRecord,
    ServerState,
    identity_key,
    identity_tags,
)
from moorage.hosting.errors import NotFound, Unavailable
from moorage.kube.kinds import HOSTING_SERVICE, VIRTUAL_SERVER
from moorage.runtime.budget import Budget
from moorage.runtime.clock import ManualClock
from moorage.runtime.service import Hooks, ServiceConnection

TEN_MINUTES = QUARANTINE.total_seconds()


class Emptied(FakeBackend):
    """Deletes what it is told to."""

    async def get(self, provider_id: str) -> ServerRecord:
        found = next((s for s in self.servers if s.provider_id == provider_id), None)
        if found is None:
            raise NotFound(f"no server {provider_id}")
        return found

    async def delete(self, provider_id: str) -> None:
        await super().delete(provider_id)
        self.servers = [s for s in self.servers if s.provider_id != provider_id]


@dataclass
class Scene:
    """One HostingService with servers of this installation."""

    bench: Bench
    backend: Emptied
    connection: ServiceConnection
    orphans: Orphans
    clock: ManualClock
    recorded: list[tuple[str, float]]

    def add(self, number: int, uid: str) -> None:
        """A server that says to be of the VirtualServer of that uid."""
        tags = identity_tags(self.bench.context.installation.id, "ns", self.connection.uid, uid)
        key = identity_key(self.bench.context.installation.id, uid)
        self.backend.servers.append(ServerRecord(f"s{number}", key, tags, ServerState.RUNNING))

    async def judge(self, seconds: float = 0.0) -> tuple[Orphan, ...] | None:
        """Some time later: a complete inventory, and what follows."""
        self.clock.advance(seconds)
        await self.connection._take()
        return await self.judge_again()

    async def judge_again(self) -> tuple[Orphan, ...] | None:
        """Without a younger inventory."""
        service = self.bench.tables.services.parsed(None, "s")
        assert service is not None
        return await self.orphans.look(service, self.connection)

    async def look(self, seconds: float = 0.0) -> tuple[Orphan, ...]:
        """Some time later: a complete inventory, and what is known then."""
        return await self.judge(seconds) or ()

    def counted(self) -> frozenset[str] | None:
        """What counts for ceilings and limits."""
        return self.connection.released.orphans

    async def look_again(self) -> tuple[Orphan, ...]:
        """Without a younger inventory."""
        return await self.judge_again() or ()

    async def deleted(self) -> bool:
        """Whether anything is deleted in the usual course of a quarantine."""
        await self.look()
        await self.look(10)
        await self.look(TEN_MINUTES)
        return "delete" in self.backend.calls

    def restart(self) -> None:
        """A new process knows nothing."""
        self.orphans = Orphans(self.bench.context, self.bench.tables)


async def made(bench: Bench, policy: str) -> Scene:
    clock, backend, watcher = cast(ManualClock, bench.context.clock), Emptied(), Watcher()
    recorded: list[tuple[str, float]] = []
    spec = {"type": "local", "endpoint": "http://127.0.0.1:1", "orphanPolicy": policy}
    service = await bench.put(HOSTING_SERVICE, "s", spec, namespace=None)
    hooks = Hooks(watcher.guard, lambda: recorded, watcher.on_inventory, watcher.on_trouble)
    installation = bench.context.installation.id
    connection = ServiceConnection(
        "s",
        service["metadata"]["uid"],
        installation,
        cast(Backend, backend),
        hooks,
        clock,
        Budget(1000, 1000, clock=clock),
        60.0,
    )
    connection.expected_account = "account"
    scene = Scene(bench, backend, connection, Orphans(bench.context, bench.tables), clock, recorded)
    scene.add(1, "nobody")
    return scene


@pytest.fixture
async def scene(bench: Bench) -> Scene:
    return await made(bench, "Delete")


async def test_it_is_deleted_after_the_quarantine_and_told(scene: Scene) -> None:
    assert await scene.judge() is None, "an inventory from before its object was missed tells nothing"
    assert [o.provider_id for o in await scene.look(10)] == ["s1"]
    await scene.look(TEN_MINUTES - 11)
    assert "delete" not in scene.backend.calls
    await scene.look(2)
    assert scene.backend.calls.count("delete") == 1
    assert await scene.look(10) == ()


async def test_what_an_earlier_process_told_stands_until_the_first_judgement(scene: Scene) -> None:
    assert scene.counted() is None
    assert await scene.judge() is None
    assert scene.counted() is None
    await scene.judge(10)
    assert scene.counted() == frozenset({"s1"})
    scene.add(2, "nobody2")
    assert [o.provider_id for o in await scene.judge(10) or ()] == ["s1"], "what comes up since is judged by itself"


async def test_where_nothing_is_missed_the_first_inventory_tells(scene: Scene) -> None:
    scene.backend.servers.clear()
    assert await scene.judge_again() is None, "there was no inventory yet"
    assert await scene.judge() == ()


async def test_only_reported_where_nobody_asked_for_more(bench: Bench) -> None:
    scene = await made(bench, "Report")
    assert not await scene.deleted()
    assert [o.provider_id for o in await scene.look(10)] == ["s1"]


@pytest.mark.parametrize("jump", [timedelta(hours=1), timedelta(hours=-1)])
async def test_a_clock_that_is_set_does_not_end_the_quarantine(scene: Scene, jump: timedelta) -> None:
    await scene.look()
    await scene.look(10)
    scene.clock.jump(scene.clock.now() + jump)
    await scene.look(60)
    assert "delete" not in scene.backend.calls
    await scene.look(TEN_MINUTES)
    assert "delete" in scene.backend.calls


async def test_a_restart_begins_the_quarantine_anew(scene: Scene) -> None:
    await scene.look()
    await scene.look(TEN_MINUTES - 10)
    scene.restart()
    await scene.look(60)
    await scene.look(60)
    assert "delete" not in scene.backend.calls
    await scene.look(TEN_MINUTES)
    assert "delete" in scene.backend.calls


async def test_the_server_of_an_object_is_none(scene: Scene) -> None:
    scene.backend.servers.clear()
    spec = {"serviceRef": {"name": "s", "uid": scene.connection.uid}, "image": "i", "offering": "small"}
    server = await scene.bench.put(VIRTUAL_SERVER, "mine", spec)
    scene.add(1, server["metadata"]["uid"])
    assert not await scene.deleted()


async def test_an_object_that_no_cache_shows_yet_counts(scene: Scene) -> None:
    """The live list decides: a cache may be behind."""
    scene.backend.servers.clear()
    spec = {"serviceRef": {"name": "s", "uid": scene.connection.uid}, "image": "i", "offering": "small"}
    server = await scene.bench.api.create(
        VIRTUAL_SERVER, {"metadata": {"namespace": "ns", "name": "unseen"}, "spec": spec}
    )
    scene.add(1, server["metadata"]["uid"])
    assert not await scene.deleted()


async def test_many_at_once_are_believed_by_nobody(scene: Scene) -> None:
    for number in range(2, 7):
        scene.add(number, f"nobody{number}")
    assert not await scene.deleted()
    assert len(await scene.look(10)) == 6


async def test_nothing_is_deleted_while_too_many_recorded_servers_are_missing(scene: Scene) -> None:
    scene.recorded += [(f"gone-{number}", -60.0) for number in range(4)]
    assert not await scene.deleted()
    assert "4 of 4 servers are missing" in scene.connection.frozen
    assert [o.provider_id for o in await scene.look(10)] == ["s1"], "it is told all the same"
    scene.recorded.clear()
    await scene.look(10)
    assert scene.backend.calls.count("delete") == 1


async def test_one_inventory_is_not_enough_to_delete_what_the_one_before_did_not_show(scene: Scene) -> None:
    await scene.look()
    await scene.look(10)
    listed, scene.backend.servers = scene.backend.servers, []
    scene.clock.advance(TEN_MINUTES)
    await scene.connection._take()
    scene.backend.servers = listed
    assert [o.provider_id for o in await scene.look(10)] == ["s1"]
    assert "delete" not in scene.backend.calls
    await scene.look(10)
    assert scene.backend.calls.count("delete") == 1


async def test_another_account_is_left_alone(scene: Scene) -> None:
    await scene.look()
    await scene.look(10)
    scene.backend.of = "somebody else's"
    await scene.look(TEN_MINUTES)
    assert "delete" not in scene.backend.calls


async def test_one_that_was_released_meanwhile_stays(scene: Scene) -> None:
    await scene.look()
    await scene.look(10)
    listed = list(scene.backend.servers)
    scene.clock.advance(TEN_MINUTES)
    await scene.connection._take()
    tags = {**listed[0].tags, **identity_tags("inst", "ns", scene.connection.uid, "released")}
    scene.backend.servers = [ServerRecord("s1", listed[0].key, tags, ServerState.RUNNING)]
    await scene.look_again()
    assert "delete" not in scene.backend.calls


async def ordered(scene: Scene, action: str, uid: str = "nobody", provider_id: str = "s1") -> None:
    """A person says what is to become of an orphan."""
    text = json.dumps([{"providerID": provider_id, "virtualServer": uid, "action": action}])
    await annotated(scene, text)


async def annotated(scene: Scene, text: str) -> None:
    obj = scene.bench.tables.services.get(None, "s")
    assert obj is not None
    version = str(int(obj["metadata"]["resourceVersion"]) + 1000)
    meta = {**obj["metadata"], "annotations": {ANNOTATION_ORPHANS: text}, "resourceVersion": version}
    scene.bench.context.store.ingest(HOSTING_SERVICE, {**obj, "metadata": meta})


class Tagged(Emptied):
    """Writes tags."""

    async def retag(self, provider_id: str, tags: Mapping[str, str]) -> None:
        await super().retag(provider_id, tags)
        self.servers = [
            replace(s, tags={**s.tags, **tags}) if s.provider_id == provider_id else s for s in self.servers
        ]


async def told(bench: Bench) -> Scene:
    """An orphan that is reported, on a service that can write tags."""
    scene = await made(bench, "Report")
    scene.backend.__class__ = Tagged
    await scene.look()
    assert [o.message for o in await scene.look(10)] == [None]
    return scene


async def test_an_ordered_release_is_carried_out_once_and_the_server_is_nobodys(bench: Bench) -> None:
    scene = await told(bench)
    await ordered(scene, "Release")
    assert ("HostingService", "", "s") in bench.asked(), "the order itself is noticed"
    for _ in range(2):  # without a younger inventory it is still listed
        (orphan,) = await scene.look_again()
        assert orphan.message == "Release was asked for; the service has not shown it yet"
    assert scene.backend.calls.count("retag") == 1
    assert scene.backend.servers[0].tags[TAG_SERVER] == RELEASED
    assert await scene.look(10) == ()
    assert "delete" not in scene.backend.calls


async def test_an_ordered_deletion_needs_no_quarantine(bench: Bench) -> None:
    scene = await told(bench)
    await ordered(scene, "Delete")
    await scene.look(1)
    assert scene.backend.calls.count("delete") == 1
    assert await scene.look(1) == ()


@pytest.mark.parametrize(("uid", "provider_id"), [("another", "s1"), ("nobody", "s2")])
async def test_an_order_means_one_server_of_one_object(bench: Bench, uid: str, provider_id: str) -> None:
    scene = await told(bench)
    await ordered(scene, "Delete", uid, provider_id)
    (orphan,) = await scene.look(1)
    assert orphan.message is None
    assert "delete" not in scene.backend.calls


async def test_a_server_that_is_somebody_elses_meanwhile_is_left_alone(bench: Bench) -> None:
    scene = await told(bench)
    await ordered(scene, "Delete")
    scene.backend.servers = [replace(s, tags={**s.tags, TAG_SERVER: "new-owner"}) for s in scene.backend.servers]
    (orphan,) = await scene.look_again()
    assert "somebody else's now" in (orphan.message or "")
    assert "delete" not in scene.backend.calls


async def test_why_an_order_is_not_carried_out_is_told(bench: Bench) -> None:
    scene = await told(bench)
    await ordered(scene, "Release")
    scene.clock.advance(1)
    await scene.connection._take()
    scene.backend.errors = [Unavailable("no answer")]
    (orphan,) = await scene.look_again()
    assert orphan.message == "Release failed: no answer"
    scene.connection.foreign_account = "somebody else's"
    (orphan,) = await scene.look_again()
    assert "another account" in (orphan.message or "")


async def test_orders_that_cannot_be_read_are_told_once(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    scene, recorded = await told(bench), list[str]()
    monkeypatch.setattr(bench.context.events, "record", lambda *words: recorded.append(words[3]))
    await annotated(scene, "{")
    for _ in range(2):
        (orphan,) = await scene.look(1)
        assert orphan.message is None
    assert [reason for reason in recorded if reason == "OrphanOrderInvalid"] == ["OrphanOrderInvalid"]


async def test_a_server_that_went_with_its_object_is_no_orphan_while_listings_lag(bench: Bench) -> None:
    scene = await made(bench, "Report")
    scene.backend.capabilities = replace(scene.backend.capabilities, listing_lag=30.0)
    await scene.look()
    assert await scene.look(29) == ()
    assert [o.provider_id for o in await scene.look(2)] == ["s1"]
