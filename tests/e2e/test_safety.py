"""Nothing is deleted or called missing on the word of a service that may be wrong."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator

import pytest
from tests.e2e.test_adoption import made_by_hand
from tests.support.impatient import QUARANTINE
from tests.support.scene import Scene, kubectl
from tests.support.stack import Stack, condition, config

from moorage.hosting.contract import RELEASED, TAG_INSTALLATION, TAG_SERVER
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


@pytest.fixture
def _impatient(stack: Stack) -> Iterator[None]:
    """The controller has a short quarantine of orphans."""
    assert stack.controller is not None
    stack.controller.stop()
    stack.run_controller(module="tests.support.impatient")
    yield
    stack.controller.stop()
    stack.run_controller()


@pytest.mark.usefixtures("_impatient")
async def test_orphans_are_deleted_after_a_quarantine_where_that_is_asked_for_and_nobody_elses(scene: Scene) -> None:
    await scene.serve(orphanPolicy="Delete")
    await scene.begin(PLAIN, members=(("web", "plain", 3),))
    await scene.api.ready("g")
    lost, *kept = await scene.api.servers("g")
    ours: dict[str, str] = scene.here()[0]["tags"]
    strangers = {
        made_by_hand(scene, "by-hand")["id"],
        made_by_hand(scene, "others", **{**ours, TAG_INSTALLATION: "other"})["id"],
        made_by_hand(scene, "released", **{**ours, TAG_SERVER: RELEASED})["id"],
    }
    gone = time.monotonic()
    await scene.api.patch(VIRTUAL_SERVER, "g-web-0", {"metadata": {"finalizers": None}})
    await scene.api.delete(VIRTUAL_SERVER, "g-web-0")

    async def orphans() -> list[str]:
        found = await scene.api.get(HOSTING_SERVICE, scene.service)
        assert found is not None
        return [o["providerID"] for o in (found.get("status") or {}).get("orphans") or ()]

    async def reported() -> bool:
        return await orphans() == [lost["status"]["providerID"]]

    await scene.api.until("the orphan, and no other server, to be reported", reported)
    assert scene.events("Deleted") == [], "it is in quarantine"

    async def deleted() -> bool:
        return scene.events("Deleted") == ["g-web-0"] and not await orphans()

    await scene.api.until("the orphan to be deleted", deleted)
    assert time.monotonic() - gone > QUARANTINE
    assert "OrphanDeleted" in await kubectl(scene.api, scene.stack, "get", "events", "--all-namespaces")
    await scene.replaced(lost)
    await scene.api.ready("g")
    assert {s["metadata"]["uid"] for s in kept} < {s["metadata"]["uid"] for s in await scene.api.servers("g")}
    assert strangers <= {server["id"] for server in scene.host.servers() if server["state"] == "Running"}


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
