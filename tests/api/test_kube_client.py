"""What the rules of writing rest on, shown on a real API server, by way of our own client."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import pytest
from tests.support.crd_cases import built

from moorage.api.names import FINALIZER_SERVER, MANAGER_CONFIGD, MANAGER_CONTROLLER
from moorage.controlplane import ControlPlane
from moorage.kube.apply import StatusWriter, Written, add_finalizer, remove_finalizer
from moorage.kube.client import Client
from moorage.kube.errors import AlreadyExists, ApiError, Conflict, Invalid, NotFound
from moorage.kube.events import EventRecorder
from moorage.kube.installation import ensure_installation
from moorage.kube.kinds import EVENT, NAMESPACE, SECRET, VIRTUAL_SERVER
from moorage.kube.store import Obj, Store, as_is


@pytest.fixture
async def client(control_plane: ControlPlane) -> AsyncIterator[Client]:
    async with await Client.connect(str(control_plane.kubeconfig)) as client:
        yield client


def server(namespace: str, name: str = "one", **meta: Any) -> Obj:
    return {**built("VirtualServer", {}), "metadata": {"name": name, "namespace": namespace, **meta}}


async def replaced(client: Client, namespace: str) -> tuple[Obj, Obj]:
    """An object and its successor of the same name."""
    old = await client.create(VIRTUAL_SERVER, server(namespace))
    await client.delete(VIRTUAL_SERVER, namespace, "one", uid=old["metadata"]["uid"])
    new = await client.create(VIRTUAL_SERVER, server(namespace))
    assert new["metadata"]["uid"] != old["metadata"]["uid"]
    return old, new


async def test_a_status_apply_of_an_old_version_is_refused(client: Client, namespace: str) -> None:
    old = await client.create(VIRTUAL_SERVER, server(namespace))
    version = old["metadata"]["resourceVersion"]
    assert old["status"] == {"observedGeneration": -1}, "what tools wait for"
    first = {"observedGeneration": 1, "providerID": "p"}
    new = await client.apply_status(VIRTUAL_SERVER, namespace, "one", version, first, MANAGER_CONTROLLER)
    assert new["status"]["providerID"] == "p"
    with pytest.raises(Conflict):
        await client.apply_status(
            VIRTUAL_SERVER, namespace, "one", version, {"observedGeneration": 1}, MANAGER_CONTROLLER
        )
    assert (await client.get(VIRTUAL_SERVER, namespace, "one"))["status"]["providerID"] == "p"


async def test_an_apply_removes_what_it_omits_and_leaves_what_another_manager_owns(
    client: Client, namespace: str
) -> None:
    obj = await client.create(VIRTUAL_SERVER, server(namespace))
    patch = [
        {"op": "test", "path": "/metadata/uid", "value": obj["metadata"]["uid"]},
        {"op": "add", "path": "/status/agent", "value": {"sequence": 1}},
    ]
    obj = await client.patch(VIRTUAL_SERVER, namespace, "one", patch, subresource="status", manager=MANAGER_CONFIGD)
    for status in ({"observedGeneration": 1, "providerID": "p", "state": "Running"}, {"observedGeneration": 1}):
        version = obj["metadata"]["resourceVersion"]
        obj = await client.apply_status(VIRTUAL_SERVER, namespace, "one", version, status, MANAGER_CONTROLLER)
    assert "providerID" not in obj["status"], "why a recorded providerID must always be carried"
    assert "state" not in obj["status"]
    assert obj["status"]["agent"]["sequence"] == 1


async def test_on_status_only_version_or_a_json_patch_protect_a_successor(client: Client, namespace: str) -> None:
    old, _ = await replaced(client, namespace)
    uid, version = old["metadata"]["uid"], old["metadata"]["resourceVersion"]
    with pytest.raises(Conflict):
        await client.apply_status(VIRTUAL_SERVER, namespace, "one", version, {"observedGeneration": 1}, "m")
    tested = [
        {"op": "test", "path": "/metadata/uid", "value": uid},
        {"op": "add", "path": "/status/agent", "value": {"sequence": 1}},
    ]
    with pytest.raises(Invalid):
        await client.patch(VIRTUAL_SERVER, namespace, "one", tested, subresource="status")
    merged = {"metadata": {"uid": uid}, "status": {"state": "Running"}}
    answer = await client.patch(VIRTUAL_SERVER, namespace, "one", merged, subresource="status")
    assert answer["status"]["state"] == "Running", "a uid in a merge patch of the status guards nothing"


async def test_writes_to_the_main_resource_are_refused_by_uid(client: Client, namespace: str) -> None:
    old, new = await replaced(client, namespace)
    uid = old["metadata"]["uid"]
    with pytest.raises(Invalid, match=r"metadata\.uid.*immutable"):
        await client.apply(VIRTUAL_SERVER, server(namespace, uid=uid), "m")
    patch = {"metadata": {"uid": uid, "finalizers": ["a.b/c"]}}
    with pytest.raises(Invalid, match=r"metadata\.uid.*immutable"):
        await client.patch(VIRTUAL_SERVER, namespace, "one", patch)
    patch["metadata"]["resourceVersion"] = old["metadata"]["resourceVersion"]
    with pytest.raises(Conflict):
        await client.patch(VIRTUAL_SERVER, namespace, "one", patch)
    with pytest.raises(Conflict):
        await client.delete(VIRTUAL_SERVER, namespace, "one", uid=uid)
    await client.delete(VIRTUAL_SERVER, namespace, "one", uid=new["metadata"]["uid"])
    with pytest.raises(ApiError) as caught:
        await client.apply(VIRTUAL_SERVER, server(namespace, uid=new["metadata"]["uid"]), "m")
    assert caught.value.status in (404, 409), "an apply with a uid makes nothing anew"
    with pytest.raises(NotFound):
        await client.get(VIRTUAL_SERVER, namespace, "one")


async def test_a_post_of_a_taken_name_is_already_exists(client: Client, namespace: str) -> None:
    secret = {"metadata": {"namespace": namespace, "name": "x"}}
    await client.create(SECRET, secret)
    with pytest.raises(AlreadyExists):
        await client.create(SECRET, secret)


async def test_a_post_into_a_terminating_namespace_says_so(client: Client, namespace: str) -> None:
    held = server(namespace, finalizers=[FINALIZER_SERVER])
    obj = await client.create(VIRTUAL_SERVER, held)
    await client.delete(NAMESPACE, None, namespace)
    with pytest.raises(ApiError) as caught:
        await client.create(SECRET, {"metadata": {"namespace": namespace, "name": "x"}})
    assert caught.value.namespace_terminating
    store = Store()
    store.register(VIRTUAL_SERVER, as_is)
    fresh = await client.get(VIRTUAL_SERVER, namespace, "one")
    assert obj["metadata"]["uid"] == fresh["metadata"]["uid"]
    await remove_finalizer(client, store, VIRTUAL_SERVER, fresh, FINALIZER_SERVER)


async def test_finalizers_come_and_go_and_the_last_one_ends_the_object(client: Client, namespace: str) -> None:
    store = Store()
    table = store.register(VIRTUAL_SERVER, as_is)
    obj = await client.create(VIRTUAL_SERVER, server(namespace))
    store.ingest(VIRTUAL_SERVER, obj)
    obj = await add_finalizer(client, store, VIRTUAL_SERVER, obj, FINALIZER_SERVER)
    deleting = await client.delete(VIRTUAL_SERVER, namespace, "one", uid=obj["metadata"]["uid"])
    store.ingest(VIRTUAL_SERVER, deleting)
    with pytest.raises(Conflict):
        await remove_finalizer(client, store, VIRTUAL_SERVER, obj, FINALIZER_SERVER)
    held = table.get(namespace, "one")
    assert held is not None
    assert held["metadata"]["deletionTimestamp"]
    assert await remove_finalizer(client, store, VIRTUAL_SERVER, held, FINALIZER_SERVER)
    assert len(table) == 0
    with pytest.raises(NotFound):
        await client.get(VIRTUAL_SERVER, namespace, "one")


async def test_the_status_writer_keeps_to_the_object_it_looked_at(client: Client, namespace: str) -> None:
    store, requeued = Store(), list[Any]()
    table = store.register(VIRTUAL_SERVER, as_is)
    writer = StatusWriter(client, store, MANAGER_CONTROLLER, lambda *key: requeued.append(key))
    obj = await client.create(VIRTUAL_SERVER, server(namespace))
    store.ingest(VIRTUAL_SERVER, obj)
    status = {
        "observedGeneration": 1,
        "providerID": "p",
        "conditions": [
            {
                "type": "Ready",
                "status": "False",
                "reason": "Booting",
                "message": "boots",
                "observedGeneration": 1,
                "lastTransitionTime": "2026-01-01T00:00:00Z",
            }
        ],
    }
    assert await writer.write(VIRTUAL_SERVER, obj, status, hard=True) is Written.WRITTEN
    held = table.get(namespace, "one")
    assert held is not None
    assert await writer.write(VIRTUAL_SERVER, held, status, hard=True) is Written.UNCHANGED, "what was sent came back"
    await client.patch(VIRTUAL_SERVER, namespace, "one", {"metadata": {"labels": {"by": "somebody-else"}}})
    assert await writer.write(VIRTUAL_SERVER, held, {**status, "state": "Running"}, hard=True) is Written.CONFLICT
    fresh = table.get(namespace, "one")
    assert fresh is not None
    assert await writer.write(VIRTUAL_SERVER, fresh, {**status, "state": "Running"}, hard=False) is Written.HELD
    await writer.flush()
    assert (await client.get(VIRTUAL_SERVER, namespace, "one"))["status"]["state"] == "Running"
    assert requeued == []


async def test_metadata_only_lists_hold_no_data_and_sweep_the_cache(client: Client, namespace: str) -> None:
    store = Store()
    table = store.register(SECRET, as_is)
    for name in ("a", "b", "c"):
        body = {"metadata": {"namespace": namespace, "name": name}, "stringData": {"password": "hunter2"}}
        store.ingest(SECRET, await client.create(SECRET, body))
    await client.delete(SECRET, namespace, "a")
    await client.patch(SECRET, namespace, "b", {"metadata": {"labels": {"x": "y"}}})
    listing = await client.list(SECRET, namespace, metadata_only=True, limit=1)
    assert "hunter2" not in str(listing.items)
    assert all("data" not in item for item in listing.items)
    sweep = table.sweep(listing.items, listing.resource_version)
    assert (namespace, "a") in sweep.gone
    assert (namespace, "b") in sweep.newer
    assert table.get(namespace, "c") is not None


async def test_the_installation_is_made_once(client: Client, namespace: str) -> None:
    first = await ensure_installation(client, namespace)
    again = await ensure_installation(client, namespace)
    assert first == again
    assert len(first.hmac_key) == 32
    assert repr(first.hmac_key) not in repr(first)


async def test_events_are_written_counted_and_found_by_kubectl(
    client: Client, namespace: str, control_plane: ControlPlane
) -> None:
    import asyncio

    recorder = EventRecorder(client, instance="test")
    obj = await client.create(VIRTUAL_SERVER, server(namespace))
    running = asyncio.create_task(recorder.run())
    recorder.record(VIRTUAL_SERVER, obj, "Normal", "Created", "the server was created")
    await recorder.flush(10)
    recorder.record(VIRTUAL_SERVER, obj, "Normal", "Created", "the server was created")
    recorder.record(VIRTUAL_SERVER, obj, "Normal", "Created", "the server was created")
    recorder.record(VIRTUAL_SERVER, obj, "Warning", "Lost", "the server is lost")
    await recorder.flush(10)
    running.cancel()
    events = (await client.list(EVENT, namespace)).items
    assert {(e["reason"], e["count"]) for e in events} == {("Created", 3), ("Lost", 1)}
    described = control_plane.run_kubectl("describe", "vs", "one", f"--namespace={namespace}").stdout
    assert "the server is lost" in described
    assert recorder.dropped == 0
