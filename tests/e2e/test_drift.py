"""What is changed of servers behind Moorage's back is told, and undone where that is asked for."""

from __future__ import annotations

import pytest
from tests.e2e.test_adoption import adopting, made_by_hand, tag
from tests.support.scene import Scene, is_true, kubectl
from tests.support.stack import Obj, condition, config

from moorage.hosting.abilities import Power
from moorage.hosting.registry import backend
from moorage.kube.kinds import SERVER_GROUP, VIRTUAL_SERVER

PLAIN = config("plain", steps=[{"name": "start", "script": "true"}])
NAMESPACE, SERVER = "moorage-namespace", "moorage-server"


def retag(scene: Scene, server: Obj, **tags: str) -> None:
    """Write tags as anybody with access to the account could."""
    provider_id = server["status"]["providerID"]
    body = {"tags": {name.replace("_", "-"): value for name, value in tags.items()}}
    scene.host.call("PATCH", f"/v1/servers/{provider_id}/tags", body)


def tags(scene: Scene, server: Obj) -> dict[str, str]:
    """The tags as the service tells them."""
    found: dict[str, str] = scene.host.call("GET", f"/v1/servers/{server['status']['providerID']}")["tags"]
    return found


async def test_changed_tags_are_told_and_written_again_once_the_group_says_so(scene: Scene) -> None:
    await scene.begin(PLAIN, members=(("web", "plain", 1),))
    await scene.api.ready("g")
    server = await scene.server("g-web-0")
    before = tags(scene, server)
    retag(scene, server, moorage_namespace="elsewhere")
    told = await scene.api.condition(VIRTUAL_SERVER, "g-web-0", "Drifted", reason="TagsChanged")
    assert "driftPolicy: Report" in (condition(told, "Drifted") or {})["message"]
    assert is_true(told, "Ready"), "it works as before"
    await scene.api.ready("g")

    await scene.api.patch(SERVER_GROUP, "g", {"spec": {"driftPolicy": "Repair"}})

    async def mended() -> bool:
        found = await scene.server("g-web-0")
        return tags(scene, server) == before and condition(found, "Drifted") is None

    await scene.api.until("the tags to be as they were", mended)
    assert (await scene.server("g-web-0"))["metadata"]["uid"] == server["metadata"]["uid"]


async def test_a_server_whose_owner_tag_went_is_tagged_again_and_one_with_another_owner_is_not(scene: Scene) -> None:
    await scene.begin(PLAIN, members=(("web", "plain", 2),), driftPolicy="Repair")
    await scene.api.ready("g")
    emptied, taken = await scene.server("g-web-0"), await scene.server("g-web-1")
    before = tags(scene, emptied)
    retag(scene, emptied, moorage_server="")
    retag(scene, taken, moorage_server="another-uid")

    async def mended() -> bool:
        return tags(scene, emptied) == before

    await scene.api.until("the tag to be written again", mended)
    await scene.api.condition(VIRTUAL_SERVER, "g-web-1", "Drifted", reason="OwnerChanged")
    await scene.api.condition(VIRTUAL_SERVER, "g-web-1", "Ready", "False", "IdentityMismatch")
    assert tags(scene, taken)[SERVER] == "another-uid"
    retag(scene, taken, moorage_server=taken["metadata"]["uid"])
    await scene.api.ready("g")


@pytest.mark.parametrize("policy", ["Report", "Repair"])
async def test_a_stopped_server_is_told_and_started_where_that_is_asked_for(scene: Scene, policy: str) -> None:
    assert issubclass(backend("local").implementation, Power)
    await scene.begin(PLAIN, members=(("web", "plain", 1),), driftPolicy=policy)
    await scene.api.ready("g")
    server = await scene.server("g-web-0")
    scene.host.call("POST", f"/v1/servers/{server['status']['providerID']}/stop")
    if policy == "Report":
        told = await scene.api.condition(VIRTUAL_SERVER, "g-web-0", "Drifted", reason="Stopped")
        assert not is_true(told, "Ready")
        scene.host.call("POST", f"/v1/servers/{server['status']['providerID']}/start")
    else:

        async def repaired() -> bool:
            return "Repaired" in await kubectl(scene.api, scene.stack, "get", "events")

        await scene.api.until("the repair to be told", repaired)
    back = await scene.api.condition(VIRTUAL_SERVER, "g-web-0", "Ready")
    assert condition(back, "Drifted") is None
    assert back["status"]["providerID"] == server["status"]["providerID"]
    await scene.api.ready("g")


async def test_an_adopted_server_that_is_deleted_behind_our_back_is_lost(scene: Scene) -> None:
    await scene.serve()
    server = made_by_hand(scene, "mine")
    await scene.api.apply(adopting(scene, "mine", server["id"], driftPolicy="Repair"))
    await scene.api.condition(VIRTUAL_SERVER, "mine", "Ready")
    scene.host.call("DELETE", f"/v1/servers/{server['id']}")
    lost = await scene.api.condition(VIRTUAL_SERVER, "mine", "Stalled", reason="Lost")
    assert (condition(lost, "Drifted") or {})["reason"] == "Deleted"
    await scene.api.delete(VIRTUAL_SERVER, "mine")
    await scene.api.gone(VIRTUAL_SERVER, "mine")
    assert tag(scene, server) is None
