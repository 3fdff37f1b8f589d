"""A server that is only observed: nothing of it is ever changed, until it is to be managed."""

from __future__ import annotations

import pytest
from tests.e2e.test_adoption import adopting, made_by_hand, tag
from tests.support.scene import Scene, kubectl
from tests.support.stack import Obj, condition

from moorage.api.names import server_secret
from moorage.kube.errors import ApiError
from moorage.kube.kinds import HOSTING_SERVICE, SECRET, VIRTUAL_SERVER

OBSERVE = {"managementPolicy": "Observe"}


def there(scene: Scene, server: Obj) -> Obj:
    """The server as its service tells it."""
    found: Obj = scene.host.call("GET", f"/v1/servers/{server['id']}")
    return found


async def test_an_observed_server_is_told_and_left_as_it_is(scene: Scene) -> None:
    await scene.serve()
    theirs = made_by_hand(scene, "theirs", **{"moorage-installation": "other", "moorage-server": "other-uid"})
    await scene.api.apply(adopting(scene, "seen", theirs["id"], **OBSERVE))
    observed = await scene.api.condition(VIRTUAL_SERVER, "seen", "Ready", reason="Observed")
    assert observed["status"]["providerID"] == theirs["id"]
    assert observed["status"]["offering"] == "small"
    assert observed["status"]["addresses"]
    assert "recordedAt" not in observed["status"]
    assert not observed["metadata"].get("finalizers")
    assert await scene.api.get(SECRET, server_secret(observed["metadata"]["uid"])) is None

    scene.host.call("POST", f"/v1/servers/{theirs['id']}/stop")
    stopped = await scene.api.condition(VIRTUAL_SERVER, "seen", "Drifted", reason="Stopped")
    assert "only observed" in (condition(stopped, "Drifted") or {})["message"]
    assert (condition(stopped, "Ready") or {})["reason"] == "ServerStopped"
    scene.host.call("POST", f"/v1/servers/{theirs['id']}/start")
    again = await scene.api.condition(VIRTUAL_SERVER, "seen", "Ready", reason="Observed")
    assert condition(again, "Drifted") is None

    await scene.api.delete(VIRTUAL_SERVER, "seen")
    await scene.api.gone(VIRTUAL_SERVER, "seen")
    assert there(scene, theirs)["tags"] == theirs["tags"]
    assert there(scene, theirs)["state"] == "Running"


async def test_an_observed_server_that_is_deleted_by_others_is_lost_and_one_that_never_was_is_told(
    scene: Scene,
) -> None:
    await scene.serve()
    theirs = made_by_hand(scene, "brief")
    await scene.api.apply(adopting(scene, "seen", theirs["id"], **OBSERVE), adopting(scene, "no", "s-none", **OBSERVE))
    await scene.api.condition(VIRTUAL_SERVER, "no", "Stalled", reason="AdoptNotFound")
    await scene.api.condition(VIRTUAL_SERVER, "seen", "Ready", reason="Observed")
    scene.host.call("DELETE", f"/v1/servers/{theirs['id']}")
    lost = await scene.api.condition(VIRTUAL_SERVER, "seen", "Stalled", reason="Lost")
    assert (condition(lost, "Drifted") or {})["reason"] == "Deleted"
    service = await scene.api.condition(HOSTING_SERVICE, scene.service, "Available")
    assert not service["status"].get("orphans")


async def test_an_observed_server_can_be_taken_over_and_is_not_given_back(scene: Scene) -> None:
    await scene.serve()
    server = made_by_hand(scene, "mine")
    await scene.api.apply(adopting(scene, "mine", server["id"], **OBSERVE))
    await scene.api.condition(VIRTUAL_SERVER, "mine", "Ready", reason="Observed")
    assert tag(scene, server) == "None"
    await scene.api.patch(VIRTUAL_SERVER, "mine", {"spec": {"managementPolicy": "Manage"}})
    taken = await scene.api.condition(VIRTUAL_SERVER, "mine", "Ready", reason="Ready")
    assert (condition(taken, "Configured") or {})["reason"] == "NoConfiguration"
    assert taken["status"]["recordedAt"]
    assert tag(scene, server) == taken["metadata"]["uid"]
    with pytest.raises(ApiError, match="cannot go back to being observed"):
        await scene.api.patch(VIRTUAL_SERVER, "mine", {"spec": OBSERVE})
    assert "Manage" in await kubectl(scene.api, scene.stack, "get", "vs", "mine", "--output=wide")
    await scene.api.delete(VIRTUAL_SERVER, "mine")
    await scene.api.gone(VIRTUAL_SERVER, "mine")
    assert tag(scene, server) == "released"
