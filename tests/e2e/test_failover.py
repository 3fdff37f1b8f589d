"""A group leaves the service that fails it: as its policy says, with old servers cleared away, and sessions ended."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import pytest
from tests.support.cli import moorage
from tests.support.scene import Scene
from tests.support.stack import Hostd, Obj, always, condition, config, group

from moorage.api.names import server_secret
from moorage.kube.errors import NotFound
from moorage.kube.kinds import HOSTING_SERVICE, SECRET, SERVER_GROUP

PLAIN = config(
    "plain",
    steps=[{"name": "start", "script": "true"}],
    readiness={"exec": {"command": 'test ! -e "$MOORAGE_ROOT/ill"'}, "period": "200ms", "failureThreshold": 1},
)


@pytest.fixture
async def failing(scene: Scene) -> AsyncIterator[Hostd]:
    """A hosting service of the test's own, which it may kill. Its servers outlive it, so they are removed by their
    group."""
    name = f"f-{scene.service}"
    host = scene.stack.hostd(name, ephemeral=False)
    yield host
    if host.process is None:
        host.start()
    await scene.api.delete(SERVER_GROUP, "g")
    await scene.api.gone(SERVER_GROUP, "g")
    host.stop()
    del scene.stack.hosts[name]


async def begin(scene: Scene, failing: Hostd, *, number: int = 2, **failover: Any) -> tuple[str, str]:
    """A group that is ready on the first of two services."""
    first, second = f"a-{scene.service}", f"b-{scene.service}"
    await scene.serve(first, failing)
    await scene.serve(second)
    when = {"unreachableFor": "2s", "unhealthyShare": "50%", "unhealthyFor": "2s"}
    policy = always("policy", first, second, failover={"when": when, **failover})
    await scene.api.apply(policy, PLAIN, group("g", "policy", ("web", "plain", number)))
    found = await scene.api.ready("g")
    assert found["status"]["placement"]["service"] == first
    return first, second


async def pending(scene: Scene, reason: str) -> str:
    found = await scene.api.condition(SERVER_GROUP, "g", "FailoverPending", "True", reason)
    told = condition(found, "FailoverPending")
    assert told is not None
    return str(told["message"])


async def placed(scene: Scene, service: str) -> Obj:
    """Wait until the group is ready on that service."""

    async def ask() -> Obj | None:
        found = await scene.api.get(SERVER_GROUP, "g")
        placement = ((found or {}).get("status") or {}).get("placement") or {}
        told = condition(found or {}, "Ready")
        right = placement.get("service") == service and told is not None and told["status"] == "True"
        return found if right else None

    return await scene.api.until(f"g to be ready on {service}", ask)


async def settled(scene: Scene) -> None:
    async def ask() -> bool:
        found = await scene.api.get(SERVER_GROUP, "g")
        return found is not None and condition(found, "FailoverPending") is None

    await scene.api.until("nothing to be left of the failover", ask)


async def ended(scene: Scene, server: Obj) -> bool:
    """Whether a server's agent can get nothing any more: no token and no configuration is kept for it."""
    name = server_secret(server["metadata"]["uid"])
    try:
        secret = await scene.api.client.get(SECRET, scene.api.namespace, name)
    except NotFound:
        return True
    marked = "moorage.dev/revoked" in secret["metadata"]["annotations"]
    return marked and not {"token", "configuration"} & set(secret.get("data") or {})


async def test_a_group_whose_service_is_killed_is_ready_elsewhere_and_the_old_servers_go_when_it_is_back(
    scene: Scene, failing: Hostd
) -> None:
    first, second = await begin(scene, failing, action="Rebuild", overlap="Allowed")
    old = await scene.api.servers("g")
    failing.kill()
    found = await placed(scene, second)
    assert found["status"]["placement"]["number"] == 2
    assert [e["service"] for e in found["status"]["failedOver"]] == [first]
    assert "servers of the service that was left are still there" in await pending(scene, "EarlierServersRemain")
    servers = await scene.api.servers("g")
    names = {s["metadata"]["name"] for s in servers}
    assert names == {"g-web-0", "g-web-1", "g-web-0-2", "g-web-1-2"}

    async def all_ended() -> bool:
        return all([await ended(scene, server) for server in old])

    await scene.api.until("the sessions to end although their service cannot be reached", all_ended)
    failing.start()
    await settled(scene)
    assert {s["metadata"]["name"] for s in await scene.api.servers("g")} == {"g-web-0-2", "g-web-1-2"}
    assert scene.here(failing) == []
    assert len(scene.here()) == 2


async def test_without_overlap_it_waits_says_so_and_is_there_again(scene: Scene, failing: Hostd) -> None:
    first, _ = await begin(scene, failing, action="Rebuild")
    before = {s["metadata"]["uid"] for s in await scene.api.servers("g")}
    failing.kill()
    assert "set failover.overlap: Allowed in policy policy" in await pending(scene, "OverlapForbidden")
    failing.start()
    await scene.api.condition(HOSTING_SERVICE, first, "Available")
    await settled(scene)
    assert {s["metadata"]["uid"] for s in await scene.api.servers("g")} == before
    assert scene.here() == []


async def test_unhealthy_servers_have_the_group_made_anew_once_a_person_says_so(scene: Scene, failing: Hostd) -> None:
    _, second = await begin(scene, failing, action="Ask")
    for server in await scene.api.servers("g"):
        (scene.root(server, failing) / "ill").touch()
    assert "moorage failover g" in await pending(scene, "FailoverNotApproved")
    assert len(scene.here(failing)) == 2
    told = await moorage(scene.stack, "failover", "g", "--yes", "-n", scene.api.namespace)
    assert "g: may leave" in told.stdout, told.stderr
    found = await placed(scene, second)
    assert found["status"]["failedOver"][0]["reason"] == "ServersUnhealthy"
    assert {s["metadata"]["name"] for s in await scene.api.servers("g")} == {"g-web-0", "g-web-1"}
    assert scene.here(failing) == []
