"""How servers go: in order, only when their owner wants it, or not at all; and how existing ones are taken over."""

from __future__ import annotations

from typing import Any

import pytest
from tests.support.needs import missing
from tests.support.scene import Scene, is_true
from tests.support.stack import Hostd, Obj, condition, config, service

from moorage.api.names import API_VERSION
from moorage.kube.kinds import HOSTING_SERVICE, NAMESPACE, SERVER_GROUP, VIRTUAL_SERVER

PLAIN = config("plain", outputs=[{"name": "value", "command": "hostname"}])


def needs(member: str, name: str) -> Obj:
    """A server that needs an output of another member."""
    source = {"output": {"member": member, "name": "value"}}
    return config(
        name,
        configuration=[{"name": "up", "valueFrom": source}],
        steps=[{"name": "use", "script": "test -n ${up}"}],
        outputs=[{"name": "value", "command": "hostname", "after": ["use"]}],
    )


def of_host(host: Hostd, provider_id: str) -> Obj | None:
    return next((s for s in host.servers() if s["id"] == provider_id), None)


@pytest.mark.parametrize("way", ["Background", "Foreground", "namespace"])
async def test_dependents_go_before_what_they_depend_on(scene: Scene, way: str) -> None:
    if way != "Background" and not scene.stack.plane.controller_manager:
        missing("only kube-controller-manager deletes namespaces and owned objects")
    members = (("a", "plain", 1), ("b", "after-a", 1), ("c", "after-b", 1))
    await scene.begin(PLAIN, needs("a", "after-a"), needs("b", "after-b"), members=members)
    await scene.api.ready("g")
    if way == "namespace":
        await scene.api.client.delete(NAMESPACE, None, scene.api.namespace)
    else:
        await scene.api.delete(SERVER_GROUP, "g", propagation=way)
    await scene.api.gone(SERVER_GROUP, "g")
    assert scene.events("Deleted") == ["g-c-0", "g-b-0", "g-a-0"]
    assert scene.here() == []


async def test_deletion_protection_keeps_the_servers(scene: Scene) -> None:
    await scene.begin(PLAIN, members=(("a", "plain", 1),), deletionProtection=True)
    await scene.api.ready("g")
    await scene.api.delete(SERVER_GROUP, "g")
    await scene.api.condition(SERVER_GROUP, "g", "Ready", "False", "DeletionProtected")
    (server,) = await scene.api.servers("g")
    assert "deletionTimestamp" not in server["metadata"]
    assert [s["state"] for s in scene.here()] == ["Running"]
    await scene.api.patch(SERVER_GROUP, "g", {"spec": {"deletionProtection": False}})
    await scene.api.gone(SERVER_GROUP, "g")
    assert scene.here() == []


async def test_retain_lets_go_of_servers_that_live_on(scene: Scene) -> None:
    await scene.begin(PLAIN, members=(("a", "plain", 1),), deletionPolicy="Retain")
    await scene.api.ready("g")
    (server,) = scene.here()
    await scene.api.delete(SERVER_GROUP, "g")
    await scene.api.gone(SERVER_GROUP, "g")
    assert await scene.api.servers() == []
    found = of_host(scene.host, server["id"])
    assert found is not None
    assert (found["state"], found["tags"]["moorage-server"]) == ("Running", "released")
    scene.host.call("DELETE", f"/v1/servers/{server['id']}")


def adopted(scene: Scene, name: str, provider_id: str, **spec: Any) -> Obj:
    """A VirtualServer that takes over an existing server."""
    adopt = {"serviceRef": {"name": scene.service}, "adopt": {"providerID": provider_id}}
    return {
        "apiVersion": API_VERSION,
        "kind": VIRTUAL_SERVER.kind,
        "metadata": {"name": name, "finalizers": ["moorage.dev/server"]},
        "spec": {**adopt, **spec},
    }


async def test_an_adopted_server_is_retained_by_default(scene: Scene) -> None:
    await scene.serve()
    body = {"key": scene.service, "name": "by-hand", "image": "process/shell", "offering": "small"}
    made = scene.host.call("POST", "/v1/servers", body)
    await scene.api.apply(adopted(scene, "mine", made["id"]))
    server = await scene.api.condition(VIRTUAL_SERVER, "mine", "Instantiated")
    assert server["status"]["providerID"] == made["id"]
    (found,) = scene.here()
    assert found["tags"]["moorage-server"] == server["metadata"]["uid"]
    await scene.api.delete(VIRTUAL_SERVER, "mine")
    await scene.api.gone(VIRTUAL_SERVER, "mine")
    left = of_host(scene.host, made["id"])
    assert left is not None
    assert (left["state"], left["tags"]["moorage-server"]) == ("Running", "released")
    await scene.api.apply(adopted(scene, "again", made["id"], deletionPolicy="Delete"))
    await scene.api.condition(VIRTUAL_SERVER, "again", "Instantiated")
    await scene.api.delete(VIRTUAL_SERVER, "again")
    await scene.api.gone(VIRTUAL_SERVER, "again")
    assert of_host(scene.host, made["id"]) is None


async def test_adoption_is_refused_where_there_is_another_owner_or_no_server(scene: Scene) -> None:
    await scene.begin(PLAIN, members=(("a", "plain", 1),))
    await scene.api.ready("g")
    (server,) = await scene.api.servers("g")
    await scene.api.apply(
        adopted(scene, "thief", server["status"]["providerID"], deletionPolicy="Delete"),
        adopted(scene, "dreamer", "no-such-server"),
    )
    thief = await scene.api.condition(VIRTUAL_SERVER, "thief", "Stalled", reason="AdoptRefused")
    assert not is_true(thief, "Ready")
    await scene.api.condition(VIRTUAL_SERVER, "dreamer", "Stalled", reason="AdoptNotFound")
    for name in ("thief", "dreamer"):
        await scene.api.delete(VIRTUAL_SERVER, name)
        await scene.api.gone(VIRTUAL_SERVER, name)
    (left,) = scene.here()
    assert left["tags"]["moorage-server"] == server["metadata"]["uid"]
    assert scene.events("Deleted") == []


async def test_when_unmet_release_gives_servers_back_and_makes_them_anew(scene: Scene) -> None:
    await scene.serve()
    await scene.begin(PLAIN, members=(("a", "plain", 1),), name="unused")
    expression = f"services.exists(s, s.name == '{scene.service}' && s.minPrice < 0.05)"
    when = {"all": [{"name": "cheap", "service": {"expression": expression}}]}
    policy = {"services": {"names": [scene.service]}}
    spec = {"when": when, "select": policy, "whenUnmet": "Release"}
    await scene.api.apply(
        {"apiVersion": API_VERSION, "kind": "HostingPolicy", "metadata": {"name": "fickle"}, "spec": spec}
    )
    group = {"policyRef": {"name": "fickle"}, "members": [{"name": "a", "configRef": {"name": "plain"}}]}
    await scene.api.apply({"apiVersion": API_VERSION, "kind": "ServerGroup", "metadata": {"name": "g"}, "spec": group})
    await scene.api.ready("g")
    (first,) = await scene.api.servers("g")
    dear, cheap = (service("x", scene.host.url, price)["spec"]["offerings"] for price in ("0.90", "0.01"))
    await scene.api.patch(HOSTING_SERVICE, scene.service, {"spec": {"offerings": dear}})

    async def released() -> Obj | None:
        found = await scene.api.get(SERVER_GROUP, "g")
        assert found is not None
        return found if found["status"].get("placement") is None else None

    group_now = await scene.api.until("the placement to end", released)
    assert await scene.api.servers("g") == []
    assert "g-a-0" in scene.events("Deleted")
    placed = condition(group_now, "Placed")
    assert placed is not None
    assert placed["status"] == "False"
    await scene.api.patch(HOSTING_SERVICE, scene.service, {"spec": {"offerings": cheap}})
    again = await scene.api.ready("g")
    assert again["status"]["placement"]["number"] == 2
    (second,) = await scene.api.servers("g")
    assert second["metadata"]["uid"] != first["metadata"]["uid"]
