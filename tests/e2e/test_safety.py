"""Nothing is deleted or called missing on the word of a service that may be wrong."""

from __future__ import annotations

import asyncio

from tests.support.scene import Scene
from tests.support.stack import condition, config

from moorage.kube.kinds import HOSTING_SERVICE, VIRTUAL_SERVER

PLAIN = config("plain", steps=[{"name": "start", "script": "true"}])


async def test_a_server_whose_object_lost_its_finalizer_is_reported_as_an_orphan_and_stays(scene: Scene) -> None:
    await scene.begin(PLAIN, members=(("web", "plain", 2),))
    await scene.api.ready("g")
    lost = await scene.server("g-web-0")
    # What a restored backup or a careless hand leaves: the object is gone, its server is not.
    await scene.api.patch(VIRTUAL_SERVER, "g-web-0", {"metadata": {"finalizers": None}})
    await scene.api.delete(VIRTUAL_SERVER, "g-web-0")

    async def reported() -> bool:
        service = await scene.api.get(HOSTING_SERVICE, scene.service)
        assert service is not None
        orphans = (service.get("status") or {}).get("orphans") or ()
        return [o["providerID"] for o in orphans] == [lost["status"]["providerID"]]

    await scene.api.until("the orphan to be reported", reported)
    await scene.replaced(lost)
    await scene.api.ready("g")
    assert lost["status"]["providerID"] in {s["id"] for s in scene.here()}
    scene.host.call("DELETE", f"/v1/servers/{lost['status']['providerID']}")


async def test_many_servers_missing_at_once_freeze_the_service_until_they_are_back(scene: Scene) -> None:
    await scene.begin(PLAIN, members=(("web", "plain", 5),))
    await scene.api.ready("g")
    before = {o["metadata"]["uid"] for o in await scene.api.servers("g")}
    gone = [o["status"]["providerID"] for o in (await scene.api.servers("g"))[:4]]
    scene.host.faults(vanish=gone)
    await scene.api.condition(HOSTING_SERVICE, scene.service, "Available", "False", "OvershootFreeze")
    await asyncio.sleep(3)  # several inventories agree by now, and still nothing is called lost
    servers = await scene.api.servers("g")
    assert {o["metadata"]["uid"] for o in servers} == before
    assert not any((o.get("status") or {}).get("lost") for o in servers)


async def test_another_account_behind_the_same_endpoint_freezes_everything_on_it(scene: Scene) -> None:
    other = scene.stack.hosts["capstan"]
    await scene.begin(PLAIN, members=(("web", "plain", 2),))
    await scene.api.ready("g")
    await scene.api.patch(HOSTING_SERVICE, scene.service, {"spec": {"endpoint": other.url}})
    await scene.api.condition(HOSTING_SERVICE, scene.service, "Available", "False", "ScopeChanged")
    # A deletion waits as well: the other account must not be asked to do it.
    await scene.api.delete(VIRTUAL_SERVER, "g-web-0")
    await scene.api.condition(VIRTUAL_SERVER, "g-web-0", "Ready", "False", "ScopeChanged")
    assert len(scene.here()) == 2
    await scene.api.patch(HOSTING_SERVICE, scene.service, {"spec": {"endpoint": scene.host.url}})
    await scene.api.condition(HOSTING_SERVICE, scene.service, "Available")
    await scene.api.ready("g")
    assert len(scene.here()) == 2
    assert scene.here(other) == []


async def test_a_service_that_cannot_be_reached_loses_nothing(scene: Scene) -> None:
    host = scene.stack.hostd(f"island-{scene.service}")
    await scene.serve(host=host)
    scene.host = host
    await scene.begin(PLAIN, members=(("web", "plain", 2),))
    await scene.api.ready("g")
    before = {o["metadata"]["uid"] for o in await scene.api.servers("g")}
    host.faults(nextErrors=[{"operations": ["list"], "kind": "Unavailable", "count": 6}])

    async def troubled() -> bool:
        service = await scene.api.get(HOSTING_SERVICE, scene.service)
        assert service is not None
        return bool((service.get("status") or {}).get("lastError"))

    await scene.api.until("the failure to be told", troubled)
    await scene.api.condition(HOSTING_SERVICE, scene.service, "Available")
    servers = await scene.api.servers("g")
    assert {o["metadata"]["uid"] for o in servers} == before
    assert all((condition(o, "Ready") or {}).get("status") == "True" for o in servers)
