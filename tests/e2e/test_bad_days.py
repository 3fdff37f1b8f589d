"""Bad days of a hosting service: the right word for each, back again by itself, nothing lost and nothing doubled."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from tests.support.scene import Scene
from tests.support.stack import always, condition, config, group

from moorage.kube.kinds import HOSTING_SERVICE, SERVER_GROUP, VIRTUAL_SERVER

PLAIN = config("plain", steps=[{"name": "start", "script": "true"}])
EVERYTHING = ["account", "offerings", "images", "capacity", "list", "get", "create", "delete", "tag"]


def tries(scene: Scene) -> int:
    """How often the service was asked to create a server."""
    return int(scene.host.call("GET", "/v1/stats")["calls"].get("create", 0))


def fails(kind: str, *operations: str, count: int = 100_000) -> dict[str, Any]:
    """These operations fail from now on."""
    return {"nextErrors": [{"operations": list(operations), "kind": kind, "count": count}]}


@pytest.mark.parametrize(
    ("kind", "reason"), [("Unauthorized", "AuthenticationFailed"), ("Internal", "CircuitOpen"), ("Cut", "CircuitOpen")]
)
async def test_a_service_that_fails_half_way_is_told_and_goes_on_where_it_was(
    scene: Scene, kind: str, reason: str
) -> None:
    """Credentials revoked while a group is there, a service that answers 500, one whose connections are cut."""
    await scene.begin(PLAIN, members=(("web", "plain", 2),))
    await scene.api.ready("g")
    before = {o["metadata"]["uid"] for o in await scene.api.servers("g")}
    scene.host.faults(**fails(kind, *EVERYTHING))
    await scene.api.condition(HOSTING_SERVICE, scene.service, "Available", "False", reason)
    members = [{"name": "web", "configRef": {"name": "plain"}, "replicas": 3}]
    await scene.api.patch(SERVER_GROUP, "g", {"spec": {"members": members}})
    await scene.count(3)
    assert len(scene.events("Created")) == 2
    scene.host.faults()
    await scene.api.condition(HOSTING_SERVICE, scene.service, "Available")
    await scene.api.ready("g")
    servers = await scene.api.servers("g")
    assert before < {o["metadata"]["uid"] for o in servers}
    assert len(scene.here()) == len(scene.events("Created")) == 3


@pytest.mark.parametrize("kind", ["Internal", "Cut"])
@pytest.mark.parametrize("idempotent", [True, False], ids=["idempotent", "not idempotent"])
async def test_a_service_that_creates_and_answers_with_an_error_makes_no_second_server(
    scene: Scene, kind: str, idempotent: bool
) -> None:
    await scene.serve(settings={"idempotentCreate": idempotent, "createTimeout": "2s"})
    errors = [{"operations": ["create"], "kind": kind, "count": 3, "after": True}]
    scene.host.faults(nextErrors=errors, ignoreKeys=not idempotent)
    await scene.begin(PLAIN, members=(("web", "plain", 3),))
    await scene.api.ready("g")
    assert len(scene.events("Created")) == len(scene.here()) == 3
    assert scene.host.call("GET", "/v1/faults")["nextErrors"] == []


REFUSED = [
    ("image", "the image was deleted; write one that there is"),
    ("offering", "there is no such size in this region; write another"),
    ("name", "a name may have 15 characters; write a shorter one"),
]


@pytest.mark.parametrize(("field", "remedy"), REFUSED)
async def test_a_creation_that_is_refused_says_what_to_change_and_is_tried_again_ever_more_rarely(
    scene: Scene, field: str, remedy: str
) -> None:
    await scene.serve()
    refusal = {"operations": ["create"], "kind": "Invalid", "count": 100_000, "field": field, "message": remedy}
    scene.host.faults(nextErrors=[refusal])
    before = tries(scene)
    await scene.begin(PLAIN, members=(("web", "plain", 2),))
    for name in ("g-web-0", "g-web-1"):
        found = await scene.api.condition(VIRTUAL_SERVER, name, "Stalled", "True", "Invalid")
        told = condition(found, "Stalled")
        assert told is not None
        assert told["message"] == f"{field}: POST servers: {remedy}"

    async def told_by_the_group() -> bool:
        ready = condition(await scene.api.get(SERVER_GROUP, "g") or {}, "Ready")
        return ready is not None and f"g-web-0 ({field}: POST servers: {remedy})" in ready["message"]

    async def again() -> bool:
        return tries(scene) - before == 4

    await scene.api.until("the group to say why", told_by_the_group)
    await scene.api.until("the second try, after five seconds", again)
    await asyncio.sleep(8)  # the third one is not before twenty more
    assert await again()
    assert scene.events("Created") == []
    scene.host.faults()
    await scene.api.ready("g")
    assert len(scene.events("Created")) == len(scene.here()) == 2


async def test_a_service_that_lists_only_after_30_seconds_loses_and_doubles_nothing(scene: Scene) -> None:
    await scene.serve(settings={"listingLag": "30s"})
    scene.host.faults(listingLag="30s", loseAnswers=1, loseOperations=["create"])
    await scene.api.apply(always("policy", scene.service), PLAIN, group("g", "policy", ("web", "plain", 2)))
    await scene.api.ready("g")
    assert len(scene.events("Created")) == 2
    # Its agent may be ready before the creation whose answer was lost is repeated. Deleted before that, a server is
    # known by listings alone, and they are half a minute late both ways.
    await scene.until("both ids", lambda servers: all((s.get("status") or {}).get("providerID") for s in servers))
    uids = {o["metadata"]["uid"] for o in await scene.api.servers("g")}
    # Several inventories show none of them by now, and none is called missing.
    assert {o["metadata"]["uid"] for o in await scene.api.servers("g")} == uids
    await scene.api.delete(SERVER_GROUP, "g")
    await scene.api.gone(SERVER_GROUP, "g")
    assert sorted(scene.events("Deleted")) == sorted(scene.events("Created"))


async def test_a_service_that_says_yes_and_does_nothing_is_named_and_nothing_is_left(scene: Scene) -> None:
    scene.host.faults(bootNever=True)
    await scene.begin(PLAIN, members=(("web", "plain", 1),), remediation={"bootTimeout": "2s", "maxUnhealthy": "100%"})
    first = await scene.until("the first server", lambda servers: servers and servers[0])
    found = await scene.replaced(first)

    async def made_twice() -> bool:
        return len(scene.events("Created")) >= 2

    # One that the service makes only after it was mended would boot, and never be replaced.
    await scene.api.until("the second server to be made", made_twice)
    scene.host.faults()
    await scene.replaced(found)
    await scene.api.ready("g")
    assert len(scene.here()) == 1


async def test_a_service_that_hangs_delays_no_other(scene: Scene) -> None:
    """More servers than there are workers wait for it, and for questions it does not answer."""
    other = scene.stack.hosts["bollard"]
    hung, well = f"a-{scene.service}", f"b-{scene.service}"
    await scene.serve(hung)
    await scene.serve(well, other)
    scene.host.faults(**fails("Hang", "create", "get", "delete"))
    await scene.api.apply(
        PLAIN,
        always("hangs", hung),
        always("goes", well),
        group("h", "hangs", ("web", "plain", 40)),
    )
    await scene.count(40, "h")
    await scene.api.apply(group("g", "goes", ("web", "plain", 2)))
    found = await scene.api.ready("g")
    assert condition(found, "Ready") is not None
    assert scene.here() == []
    scene.host.faults()


async def test_what_happens_between_rare_inventories_is_noticed_by_its_event(scene: Scene) -> None:
    """Without events nothing would be heard of either server before the next hour."""
    await scene.serve(inventoryInterval="1h")
    await scene.api.apply(always("policy", scene.service), PLAIN, group("g", "policy", ("web", "plain", 2)))
    await scene.api.ready("g")
    first, second = await scene.api.servers("g")
    scene.host.call("POST", f"/v1/servers/{first['status']['providerID']}/stop")
    await scene.api.condition(VIRTUAL_SERVER, first["metadata"]["name"], "Ready", "False", "ServerStopped")
    scene.host.faults(vanish=[second["status"]["providerID"]])
    await scene.replaced(second)
