"""An existing server is taken over by its id, refused where it is another owner's, and let go again."""

from __future__ import annotations

from typing import Any

import pytest
from tests.support.scene import Scene
from tests.support.stack import Obj

from moorage.api.names import API_VERSION, FINALIZER_SERVER
from moorage.kube.kinds import VIRTUAL_SERVER


def made_by_hand(scene: Scene, name: str, **tags: str) -> Obj:
    """A server that nobody's controller made."""
    body = {"key": f"by-hand-{scene.service}-{name}", "name": name, "image": "process/shell", "offering": "small"}
    script = "#!/bin/sh\nexec sleep 600\n"
    found: Obj = scene.host.call("POST", "/v1/servers", {**body, "settings": {}, "userData": script, "tags": tags})
    return found


def adopting(scene: Scene, name: str, provider_id: str, **spec: Any) -> Obj:
    """A VirtualServer that adopts."""
    wanted = {"serviceRef": {"name": scene.service}, "adopt": {"providerID": provider_id}, **spec}
    return {"apiVersion": API_VERSION, "kind": "VirtualServer", "metadata": {"name": name}, "spec": wanted}


def tag(scene: Scene, server: Obj) -> str | None:
    """Whose the server is, by its tags; None where it is gone."""
    there = [s for s in scene.host.servers() if s["id"] == server["id"]]
    return str(there[0]["tags"].get("moorage-server")) if there else None


@pytest.mark.parametrize("policy", [None, "Delete"], ids=["retained by default", "deleted when asked"])
async def test_an_adopted_server_is_tagged_and_released_or_deleted_with_its_object(
    scene: Scene, policy: str | None
) -> None:
    await scene.serve()
    server = made_by_hand(scene, "mine")
    spec = {} if policy is None else {"deletionPolicy": policy}
    await scene.api.apply(adopting(scene, "adopted", server["id"], **spec))
    adopted = await scene.api.condition(VIRTUAL_SERVER, "adopted", "Instantiated")
    assert adopted["status"]["providerID"] == server["id"]
    assert FINALIZER_SERVER in adopted["metadata"]["finalizers"]
    assert tag(scene, server) == adopted["metadata"]["uid"]
    await scene.api.delete(VIRTUAL_SERVER, "adopted")
    await scene.api.gone(VIRTUAL_SERVER, "adopted")
    assert tag(scene, server) == ("released" if policy is None else None)


async def test_a_released_server_can_be_adopted_again_and_another_owners_cannot(scene: Scene) -> None:
    await scene.serve()
    foreign = made_by_hand(scene, "theirs", **{"moorage-installation": "other", "moorage-server": "other-uid"})
    released = made_by_hand(scene, "free", **{"moorage-server": "released"})
    await scene.api.apply(adopting(scene, "a", foreign["id"]), adopting(scene, "b", released["id"]))
    await scene.api.condition(VIRTUAL_SERVER, "a", "Stalled", "True", "AdoptRefused")
    await scene.api.condition(VIRTUAL_SERVER, "b", "Instantiated")
    for name in ("a", "b"):
        await scene.api.delete(VIRTUAL_SERVER, name)
        await scene.api.gone(VIRTUAL_SERVER, name)
    assert tag(scene, foreign) == "other-uid"
    assert tag(scene, released) == "released"
