"""What breaks is replaced; what is interrupted goes on; and nothing is made twice."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from tests.support.scene import Scene, agent
from tests.support.stack import Hostd, Stack, condition, config, group

from moorage.kube.kinds import HOSTING_SERVICE, SERVER_GROUP, VIRTUAL_SERVER

EVERY = {"maxUnhealthy": "100%"}
PLAIN = config("plain", steps=[{"name": "start", "script": 'echo started >> "$MOORAGE_ROOT/started"'}])
PROBED = config(
    "probed",
    readiness={"exec": {"command": 'test ! -e "$MOORAGE_ROOT/sick"'}, "period": "200ms", "failureThreshold": 1},
)
ONE = (("a", "plain", 1),)


async def test_a_server_that_never_boots_is_replaced(scene: Scene) -> None:
    scene.host.faults(bootNever=True)
    await scene.begin(PLAIN, members=ONE, remediation={"bootTimeout": "4s", **EVERY})
    first = (await scene.until("a server that hangs", lambda found: found and scene.here() and found))[0]
    scene.host.faults()
    await scene.replaced(first)
    await scene.api.ready("g")
    assert "g-a-0" in scene.events("Deleted")


async def test_a_server_whose_agent_does_not_join_is_replaced(scene: Scene) -> None:
    await scene.serve(configEndpoint="https://127.0.0.1:9")
    await scene.begin(PLAIN, members=ONE, remediation={"joinTimeout": "5s", **EVERY})
    await scene.api.condition(VIRTUAL_SERVER, "g-a-0", "Instantiated")
    first = await scene.server("g-a-0")
    await scene.api.patch(HOSTING_SERVICE, scene.service, {"spec": {"configEndpoint": None}})
    await scene.replaced(first)
    await scene.api.ready("g")


async def test_an_unhealthy_server_is_replaced_but_never_too_many_at_once(scene: Scene) -> None:
    remediation = {"unhealthyFor": "1s", "maxUnhealthy": 0}
    await scene.begin(PROBED, members=(("a", "probed", 2),), remediation=remediation)
    await scene.api.ready("g")
    before = await scene.api.servers("g")
    for server in before:
        (scene.root(server) / "sick").write_text("")
    stalled = await scene.api.condition(SERVER_GROUP, "g", "Stalled", reason="RemediationBlocked")
    found = condition(stalled, "Stalled")
    assert found is not None
    assert "maxUnhealthy" in found["message"]
    assert scene.events("Deleted") == []
    (scene.root(before[0]) / "sick").unlink()
    await scene.api.condition(VIRTUAL_SERVER, "g-a-0", "Ready")
    await scene.api.patch(SERVER_GROUP, "g", {"spec": {"remediation": {"maxUnhealthy": 1}}})
    await scene.replaced(before[1])
    await scene.api.ready("g")
    assert (await scene.server("g-a-0"))["metadata"]["uid"] == before[0]["metadata"]["uid"]
    assert scene.events("Deleted") == ["g-a-1"]


async def test_a_lost_server_is_replaced(scene: Scene) -> None:
    await scene.begin(PLAIN, members=(("a", "plain", 2),))
    await scene.api.ready("g")
    lost, other = await scene.api.servers("g")
    scene.host.faults(vanish=[lost["status"]["providerID"]])
    new = await scene.replaced(lost)
    await scene.api.ready("g")
    new = await scene.server("g-a-0")
    assert new["status"]["providerID"] != lost["status"]["providerID"]
    assert (await scene.server("g-a-1"))["metadata"]["uid"] == other["metadata"]["uid"]
    assert (scene.events("Vanished"), scene.events("Deleted")) == (["g-a-0"], [])


async def test_a_stopped_controller_stops_nothing_and_goes_on_where_it_was(scene: Scene) -> None:
    await scene.begin(PLAIN, members=ONE)
    await scene.api.ready("g")
    (server,) = await scene.api.servers("g")
    assert scene.stack.controller is not None
    scene.stack.controller.stop()
    try:
        await scene.api.apply(group("g", "policy", ("a", "plain", 2)))
        assert [s["state"] for s in scene.here()] == ["Running"]
    finally:
        scene.stack.run_controller()
    await scene.until("the second server", lambda found: len(found) == 2)
    await scene.api.ready("g")
    first = await scene.server("g-a-0")
    assert first["metadata"]["uid"] == server["metadata"]["uid"]
    assert agent(first, "acknowledgedRevision") == agent(server, "acknowledgedRevision")
    assert scene.read(first, "/started") == "started\n"
    assert scene.events("Created") == ["g-a-0", "g-a-1"]


@pytest.fixture
def lasting(stack: Stack) -> Iterator[Hostd]:
    """A hosting service whose servers outlive it."""
    host = stack.hostd("lasting", ephemeral=False)
    yield host
    if host.process is None:
        host.start()
    for server in host.servers():
        host.call("DELETE", f"/v1/servers/{server['id']}")
    host.stop()


async def test_a_killed_hosting_service_finds_its_servers_again(scene: Scene, lasting: Hostd) -> None:
    await scene.serve(host=lasting)
    await scene.begin(PLAIN, members=ONE)
    await scene.api.ready("g")
    before = lasting.servers()
    lasting.kill()
    await scene.api.condition(HOSTING_SERVICE, scene.service, "Available", "False")
    assert len(await scene.api.servers("g")) == 1
    lasting.start()
    await scene.api.condition(HOSTING_SERVICE, scene.service, "Available")
    await scene.api.ready("g")
    after = lasting.servers()
    assert [(s["id"], s["state"]) for s in after] == [(s["id"], "Running") for s in before]
    (server,) = await scene.api.servers("g")
    path = lasting.folder / lasting.name / "servers" / server["status"]["providerID"] / "root" / "started"
    assert path.read_text() == "started\n", "the guest never stopped"
    await scene.api.delete(SERVER_GROUP, "g")
    await scene.api.gone(SERVER_GROUP, "g")
    assert lasting.servers() == []


async def test_without_idempotency_a_lost_answer_makes_no_second_server(scene: Scene) -> None:
    await scene.serve(settings={"idempotentCreate": False, "listingLag": 0.5, "createTimeout": 2})
    scene.host.faults(ignoreKeys=True, loseAnswers=2, loseOperations=["create"], listingLag=0.5)
    await scene.begin(PLAIN, members=(("a", "plain", 2),))
    await scene.api.ready("g")
    assert sorted(scene.events("Created")) == ["g-a-0", "g-a-1"]
    assert len(scene.here()) == 2
