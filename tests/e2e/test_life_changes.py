"""A group's life: it grows and shrinks, gets revisions in place and other servers, at the pace its owner allows."""

from __future__ import annotations

from typing import Any

from tests.support.scene import Scene, Watcher, is_true, kubectl
from tests.support.stack import Obj, config, group

from moorage.kube.kinds import SERVER_GROUP, VIRTUAL_SERVER, VIRTUAL_SERVER_CONFIG

PYTHON = {"spec": {"images": [{"image": "process/python"}]}}


def app(version: str = "1") -> Obj:
    """A server whose configuration takes a moment to apply."""
    return config(
        "app",
        configuration=[{"name": "version", "value": version}],
        steps=[{"name": "start", "script": 'sleep 0.5; echo "${version}" >> "$MOORAGE_ROOT/versions"'}],
    )


def uids(servers: list[Obj]) -> set[str]:
    return {s["metadata"]["uid"] for s in servers}


def least_ready(seen: Watcher, before: list[Obj]) -> int:
    """The least number of servers that were ready, and ready for their present generation, at any time."""
    ready: dict[str, bool] = {s["metadata"]["name"]: True for s in before}
    least = len(before)
    for type_, version in zip(seen.types, seen.versions, strict=True):
        meta = version["metadata"]
        current = (version.get("status") or {}).get("observedGeneration") == meta["generation"]
        ready[meta["name"]] = type_ != "DELETED" and current and is_true(version, "Ready")
        if meta.get("deletionTimestamp"):
            ready[meta["name"]] = False
        least = min(least, sum(ready.values()))
    return least


async def test_kubectl_scale_grows_and_shrinks_a_member(scene: Scene) -> None:
    await scene.serve()
    grown = group("g", "policy", ("app", "app", 1), scale={"member": "app", "replicas": 1})
    del grown["spec"]["members"][0]["replicas"]
    await scene.begin(app(), name="unused", members=(("app", "app", 0),))
    await scene.api.apply(grown)
    await scene.api.ready("g")
    first = await scene.server("g-app-0")
    for replicas in (3, 2):
        await kubectl(scene.api, scene.stack, "scale", "servergroup/g", f"--replicas={replicas}")
        await scene.count(replicas)
        ready = await scene.api.ready("g")
        assert (ready["status"]["scale"]["replicas"], ready["status"]["readyReplicas"]) == (replicas, replicas)
    assert [s["metadata"]["name"] for s in await scene.api.servers("g")] == ["g-app-0", "g-app-1"]
    assert (await scene.server("g-app-0"))["metadata"]["uid"] == first["metadata"]["uid"]
    assert scene.events("Deleted") == ["g-app-2"]


async def test_a_revision_reaches_servers_in_place_within_max_unavailable(scene: Scene) -> None:
    await scene.begin(app(), members=(("app", "app", 3),))
    await scene.api.ready("g")
    before = await scene.api.servers("g")
    async with Watcher(scene.api, VIRTUAL_SERVER) as seen:
        await scene.api.patch(VIRTUAL_SERVER_CONFIG, "app", {"spec": app("2")["spec"]})
        for server in before:
            await scene.file(server, "/versions", "1\n2\n")
        await scene.api.ready("g")
    assert uids(await scene.api.servers("g")) == uids(before)
    assert least_ready(seen, before) == 2


async def test_an_image_change_replaces_servers_within_max_unavailable(scene: Scene) -> None:
    await scene.begin(app(), members=(("app", "app", 2),))
    await scene.api.ready("g")
    before = await scene.api.servers("g")
    async with Watcher(scene.api, VIRTUAL_SERVER) as seen:
        await scene.api.patch(VIRTUAL_SERVER_CONFIG, "app", PYTHON)
        await scene.until("two other servers", lambda found: len(found) == 2 and not uids(found) & uids(before))
        await scene.api.ready("g")
    assert {s["image"] for s in scene.here()} == {"process/python"}
    assert len(scene.events("Created")) == 4
    assert least_ready(seen, before) == 1


async def test_recreate_replaces_all_servers_at_once(scene: Scene) -> None:
    await scene.begin(app(), members=(("app", "app", 2),), updateStrategy={"type": "Recreate"})
    await scene.api.ready("g")
    before = await scene.api.servers("g")
    async with Watcher(scene.api, VIRTUAL_SERVER) as seen:
        await scene.api.patch(VIRTUAL_SERVER_CONFIG, "app", PYTHON)
        await scene.until("two other servers", lambda found: len(found) == 2 and not uids(found) & uids(before))
        await scene.api.ready("g")
    assert least_ready(seen, before) == 0
    anew = [v["metadata"]["uid"] not in uids(before) and is_true(v, "Ready") for v in seen.versions]
    first = anew.index(True)
    marked = {v["metadata"]["uid"] for v in seen.versions[:first] if v["metadata"].get("deletionTimestamp")}
    assert marked == uids(before), "both went before another was ready"


async def test_on_delete_waits_for_a_person(scene: Scene) -> None:
    await scene.begin(app(), members=(("app", "app", 2),), updateStrategy={"type": "OnDelete"})
    await scene.api.ready("g")
    before = await scene.api.servers("g")
    await scene.api.patch(VIRTUAL_SERVER_CONFIG, "app", PYTHON)

    async def noticed() -> bool:
        found = await scene.api.get(SERVER_GROUP, "g")
        return found is not None and found["status"]["members"][0]["updated"] == 0

    await scene.api.until("the group to see that no server is up to date", noticed)
    assert uids(await scene.api.servers("g")) == uids(before)
    await scene.api.delete(VIRTUAL_SERVER, "g-app-1")
    await scene.replaced(before[1])
    await scene.api.condition(VIRTUAL_SERVER, "g-app-1", "Ready")
    assert {s["name"]: s["image"] for s in scene.here()} == {"g-app-0": "process/shell", "g-app-1": "process/python"}
    assert (await scene.server("g-app-0"))["metadata"]["uid"] == before[0]["metadata"]["uid"]


async def test_a_suspended_group_is_left_as_it_is(scene: Scene) -> None:
    await scene.begin(app(), members=(("app", "app", 1),))
    await scene.api.ready("g")
    suspended: dict[str, Any] = group("g", "policy", ("app", "app", 2), suspend=True)
    await scene.api.apply(suspended)
    await scene.api.condition(SERVER_GROUP, "g", "Ready", "False", "Suspended")
    assert len(await scene.api.servers("g")) == 1
    await scene.api.patch(SERVER_GROUP, "g", {"spec": {"suspend": False}})
    await scene.api.ready("g")
    assert len(await scene.api.servers("g")) == 2
