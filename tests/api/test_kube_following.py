"""Following the API server over cuts, and leading: reflector and lease against a real one."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest
from tests.support.proxy import CutProxy

from moorage.controlplane import ControlPlane
from moorage.kube.backoff import Backoff
from moorage.kube.client import Client
from moorage.kube.errors import NotLeader
from moorage.kube.kinds import LEASE, SECRET
from moorage.kube.lease import LeaderLease
from moorage.kube.reflector import Reflector
from moorage.kube.store import Table, as_is
from moorage.kube.transport import Limits


@pytest.fixture
async def client(control_plane: ControlPlane) -> AsyncIterator[Client]:
    async with await Client.connect(str(control_plane.kubeconfig)) as client:
        yield client


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(30):
        while not condition():  # noqa: ASYNC110 - the condition has no event
            await asyncio.sleep(0.01)


async def make(client: Client, namespace: str, name: str) -> None:
    body = {"metadata": {"namespace": namespace, "name": name}, "stringData": {"password": "hunter2"}}
    await client.create(SECRET, body)


async def test_a_reflector_follows_over_a_cut_and_misses_nothing(
    client: Client, namespace: str, control_plane: ControlPlane, tmp_path: Path
) -> None:
    table = Table(SECRET, as_is)

    def names() -> set[str]:
        return {obj["metadata"]["name"] for obj in table}

    await make(client, namespace, "a")
    await make(client, namespace, "b")
    async with CutProxy(control_plane.server) as proxy:
        kubeconfig = proxy.kubeconfig(control_plane.kubeconfig, tmp_path / "kubeconfig")
        async with await Client.connect(str(kubeconfig), limits=Limits(attempts=1)) as cut_off:
            reflector = Reflector(cut_off, table, namespace=namespace, metadata_only=True, backoff=Backoff(0.01, 0.05))
            running = asyncio.create_task(reflector.run())
            await asyncio.wait_for(reflector.synced.wait(), 30)
            assert names() == {"a", "b"}
            await make(client, namespace, "c")
            await until(lambda: "c" in names())

            await proxy.cut()
            await until(lambda: reflector.last_error is not None)
            await client.delete(SECRET, namespace, "a")
            await make(client, namespace, "d")
            await proxy.mend()
            await until(lambda: names() == {"b", "c", "d"})
            assert reflector.lists == 1, "the watch goes on where it was cut"

            await client.delete(SECRET, namespace, "b")
            sweep = await reflector.relist()
            assert names() == {"c", "d"}
            assert sweep.gone in ((), ((namespace, "b"),)), "found by the watch or by the list"
            running.cancel()
    assert "hunter2" not in str(list(table))


async def test_a_watch_from_a_forgotten_version_lists_again(client: Client, namespace: str) -> None:
    table = Table(SECRET, as_is)
    reflector = Reflector(client, table, namespace=namespace, backoff=Backoff(0.01, 0.05))
    await reflector.relist()
    reflector._version = "1"  # compacted or before the watch cache's first event
    await make(client, namespace, "a")
    running = asyncio.create_task(reflector.run())
    await until(lambda: len(table) == 1)
    running.cancel()


async def test_the_lease_passes_on_and_the_stale_leader_is_refused(client: Client, namespace: str) -> None:
    now = 0.0
    first = LeaderLease(client, namespace, identity="first", steady=lambda: now)
    second = LeaderLease(client, namespace, identity="second", steady=lambda: now)
    await first.step()
    await second.step()
    client.set_guard(first.guard)
    await make(client, namespace, "by-the-leader")

    now += 15  # the first was stopped meanwhile
    await second.step()
    assert second.held()
    with pytest.raises(NotLeader):
        await make(client, namespace, "by-a-stale-leader")
    await first.step()
    await first.step()
    with pytest.raises(NotLeader):
        await make(client, namespace, "by-a-stale-leader")
    listing = await client.list(SECRET, namespace, metadata_only=True)
    assert [item["metadata"]["name"] for item in listing.items] == ["by-the-leader"]

    await second.release()
    await first.step()
    await first.step()
    await make(client, namespace, "by-the-leader-again")
    lease = await client.get(LEASE, namespace, "moorage-controller")
    assert lease["spec"]["holderIdentity"] == "first"
    assert lease["spec"]["leaseTransitions"] == 2
    assert lease["spec"]["leaseDurationSeconds"] == 15


async def test_a_renewal_is_one_write(client: Client, namespace: str) -> None:
    lease = LeaderLease(client, namespace, identity="only")
    await lease.step()
    calls: list[str] = []

    class Observer:
        def before(self, call: object) -> None:
            calls.append(str(call))

        def after(self, call: object, outcome: object, seconds: float) -> None:
            pass

    client.observers.append(Observer())
    await lease.step()
    await lease.step()
    assert calls == [f"update leases {namespace}/moorage-controller"] * 2
