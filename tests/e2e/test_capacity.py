"""A group for which its service turns out to have no room goes elsewhere before its gate opens, and only then."""

from __future__ import annotations

from typing import Any

import pytest
from tests.support.scene import Scene, Watcher
from tests.support.stack import Obj, always, condition, config, group

from moorage.api.names import server_secret
from moorage.kube.errors import NotFound
from moorage.kube.kinds import SECRET, SERVER_GROUP

PLAIN = config("plain", steps=[{"name": "start", "script": "true"}])


def full(skip: int = 0, kind: str = "InsufficientCapacity") -> dict[str, Any]:
    """Every creation after `skip` finds no room."""
    return {"nextErrors": [{"operations": ["create"], "kind": kind, "count": 1000, "skip": skip}]}


@pytest.mark.parametrize("kind", ["InsufficientCapacity", "QuotaExceeded"])
async def test_a_group_without_room_is_placed_on_the_next_service_and_leaves_nothing_behind(
    scene: Scene, kind: str
) -> None:
    other = scene.stack.hosts["bollard"]
    first, second = f"a-{scene.service}", f"b-{scene.service}"
    await scene.serve(first)
    await scene.serve(second, other)
    scene.host.faults(**full(skip=1, kind=kind))
    async with Watcher(scene.api, SERVER_GROUP) as groups:
        await scene.api.apply(always("policy", first, second), PLAIN, group("g", "policy", ("web", "plain", 3)))
        found = await scene.api.ready("g")
    placement = found["status"]["placement"]
    assert (placement["service"], placement["number"]) == (second, 2)
    left = next(c for c in placement["candidates"] if c["service"] == first)
    assert not left["feasible"]
    assert "turned out to have no room" in left["reasons"][0]
    exhausted = found["status"]["exhausted"]
    assert {e["service"] for e in exhausted} == {first}
    tried = [e["offering"] for e in exhausted]
    assert len(tried) == len(set(tried)) == 3, "each of three offerings was tried there once"
    made, gone = scene.events("Created"), scene.events("Deleted")
    assert (len(made), sorted(gone)) == (1, sorted(made)), "the one that had found room is removed"
    assert scene.here() == []
    assert len(scene.here(other)) == 3
    numbers = groups.told("g", lambda o: ((o.get("status") or {}).get("placement") or {}).get("number"))
    assert numbers == [1, 2]
    gates = {
        v["status"]["placement"]["number"]
        for v in groups.of("g")
        if ((v.get("status") or {}).get("placement") or {}).get("gateOpened")
    }
    assert gates == {2}, "configuration flowed on the second service only"


async def test_without_another_service_it_waits_where_it_is_says_so_and_goes_on_by_itself(scene: Scene) -> None:
    """The quota is reached in the middle of a group."""
    await scene.serve()
    scene.host.faults(**full(skip=2, kind="QuotaExceeded"))
    await scene.api.apply(always("policy", scene.service), PLAIN, group("g", "policy", ("web", "plain", 4)))
    found = await scene.api.condition(SERVER_GROUP, "g", "Ready", "False", "NoRoom")
    told = condition(found, "Ready")
    assert told is not None
    assert "no service can take the group" in told["message"]
    assert "the quota is used up" in told["message"]
    assert len(scene.here()) == 2
    for server in await scene.api.servers("g"):
        assert not await has_configuration(scene, server)
    scene.host.faults()
    found = await scene.api.ready("g")
    assert found["status"]["placement"]["number"] == 1
    assert len(scene.here()) == 4
    assert len(scene.events("Created")) == 4, "nothing was made twice"


async def has_configuration(scene: Scene, server: Obj) -> bool:
    """Whether any was rendered for the server."""
    try:
        secret = await scene.api.client.get(SECRET, scene.api.namespace, server_secret(server["metadata"]["uid"]))
    except NotFound:
        return False
    return "configuration" in (secret.get("data") or {})


async def test_a_group_whose_gate_is_open_stays_when_it_grows_and_finds_no_room(scene: Scene) -> None:
    other = scene.stack.hosts["bollard"]
    first, second = f"a-{scene.service}", f"b-{scene.service}"
    await scene.serve(first)
    await scene.serve(second, other)
    await scene.api.apply(always("policy", first, second), PLAIN, group("g", "policy", ("web", "plain", 1)))
    await scene.api.ready("g")
    scene.host.faults(**full())
    members = [{"name": "web", "configRef": {"name": "plain"}, "replicas": 2}]
    await scene.api.patch(SERVER_GROUP, "g", {"spec": {"members": members}})
    found = await scene.api.condition(SERVER_GROUP, "g", "Ready", "False", "NoRoom")
    assert found["status"]["placement"]["service"] == first
    assert "stays where it is" in str(condition(found, "Ready"))
    scene.host.faults()
    await scene.api.ready("g")
    assert scene.here(other) == []
