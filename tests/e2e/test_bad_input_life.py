"""Changes, deletions, agents and outputs that nobody planned for: nothing stops, nothing is lost, nothing is left."""

from __future__ import annotations

import hashlib
import json
import secrets
import ssl
from base64 import b64decode
from collections.abc import AsyncIterator

import pytest
from tests.support.channel import ChannelClient
from tests.support.stack import Api, Obj, Stack, always, condition, config, group, service

from moorage.kube.kinds import HOSTING_SERVICE, NAMESPACE, SECRET, SERVER_GROUP, VIRTUAL_SERVER, VIRTUAL_SERVER_CONFIG

GOOD = {"steps": [{"name": "s", "script": "true"}]}


@pytest.fixture
async def place(api: Api, stack: Stack) -> AsyncIterator[str]:
    """A HostingService of the test's own, a policy `always` that chooses it, a configuration `good`."""
    name = f"life-{secrets.token_hex(3)}"
    await api.apply(
        service(name, stack.hosts["anchor"].url, inventoryInterval="1s"), always("always", name), config("good", **GOOD)
    )
    yield name
    await api.delete(HOSTING_SERVICE, name)
    assert stack.controller is not None
    assert "Traceback" not in stack.controller.log.read_text()


def owned(stack: Stack, namespace: str) -> list[Obj]:
    """The servers of a namespace that the service still has."""
    return [s for s in stack.hosts["anchor"].servers() if s["tags"].get("moorage-namespace") == namespace]


async def nothing_left(api: Api, stack: Stack) -> None:
    """Wait until the service has no server of the namespace."""

    async def probe() -> bool:
        return not owned(stack, api.namespace)

    await api.until("the service to have no server of the namespace", probe)


async def outputs_of(api: Api, name: str) -> dict[str, Obj]:
    """The outputs that a server has published."""
    server = await api.get(VIRTUAL_SERVER, name)
    agent = ((server or {}).get("status") or {}).get("agent") or {}
    return {output["name"]: output for output in agent.get("outputs") or ()}


async def test_outputs_of_a_megabyte_or_of_no_text_are_named_and_the_others_flow(
    api: Api, stack: Stack, place: str
) -> None:
    outputs = [
        {"name": "huge", "command": "head -c 1048576 /dev/zero | tr '\\0' x"},
        {"name": "binary", "command": "printf '\\377\\376\\000'"},
        {"name": "shape", "command": "echo lower", "pattern": "^[A-Z]+$"},
        {"name": "fine", "command": "echo fine"},
    ]
    wants = [
        {"name": name, "valueFrom": {"output": {"member": "db", "name": name}}, "required": name == "fine"}
        for name in ("huge", "fine")
    ]
    await api.apply(
        config("db", outputs=outputs),
        config("web", configuration=wants, files=[{"path": "/etc/fine", "content": "${fine}"}]),
        group("g", "always", ("db", "db", 1), ("web", "web", 1)),
    )
    await api.ready("g")

    async def named() -> bool:
        found = await outputs_of(api, "g-db-0")
        return {name: output.get("error") for name, output in found.items()} == {
            "huge": "TooLarge",
            "binary": "NotText",
            "shape": "PatternMismatch",
            "fine": None,
        }

    await api.until("each bad output to be named", named)
    web = await api.get(VIRTUAL_SERVER, "g-web-0")
    assert web is not None
    assert {i["name"]: i["state"] for i in web["status"]["configuration"]["items"]}["huge"] == "Pending"


async def test_an_agent_cannot_be_another_server_nor_join_twice(api: Api, stack: Stack, place: str) -> None:
    await api.apply(group("g", "always", ("m", "good", 2)))
    await api.ready("g")
    first, second = [f"{api.namespace}/{o['metadata']['uid']}" for o in await api.servers("g")]
    secret = await api.client.get(SECRET, api.namespace, first.rpartition("/")[2])
    token = b64decode(secret["data"]["token"]).decode()
    tls = ssl.create_default_context(cadata=await root_ca(api))
    url = f"https://127.0.0.1:{stack.config_port}"
    key = secrets.token_hex(32)
    session = await api.client.get(SECRET, api.namespace, first.rpartition("/")[2] + "-session")
    async with ChannelClient(url, tls, first, key) as thief:
        assert (await thief.join(token)).status == 409
        assert (await thief.configuration(0.1)).status == 401
        assert (await thief.state(10**6, deliveredRevision=0, acknowledgedRevision=0, ready=True)).status == 401
        own = b64decode(session["data"]["keyHash"]).decode()
        assert (await thief.join(token, own)).status == 200, "the same key may ask again: its answer was lost"
        assert (await thief.configuration(0.1)).status == 401, "and nobody gains by that"
    async with ChannelClient(url, tls, second, key) as thief:
        assert (await thief.join(token)).status == 401
        assert (await thief.join("nonsense", hashlib.sha256(b"x").hexdigest())).status in {401, 409}
    await api.ready("g")


async def root_ca(api: Api) -> str:
    """The root that agents trust."""
    ca = await api.client.get(SECRET, "moorage-system", "moorage-ca")
    return b64decode(ca["data"]["tls.crt"]).decode()


async def test_a_configuration_that_changes_during_a_rollout_ends_with_the_last(
    api: Api, stack: Stack, place: str
) -> None:
    await api.apply(config("c", **GOOD), group("g", "always", ("m", "c", 2)))
    await api.ready("g")
    before = [o["metadata"]["uid"] for o in await api.servers("g")]
    for number in range(4):
        steps = [{"name": "s", "script": f"echo {number} > /tmp/moorage-test-{api.namespace}"}]
        await api.patch(VIRTUAL_SERVER_CONFIG, "c", {"spec": {"steps": steps}})

    async def last() -> bool:
        current = (await api.get(VIRTUAL_SERVER_CONFIG, "c") or {}).get("status") or {}
        servers = await api.servers("g")
        revisions = {(o["spec"]["revision"], o["status"]["configuration"]["controllerRevision"]) for o in servers}
        return revisions == {(current.get("currentRevision"), current.get("currentRevision"))}

    await api.condition(VIRTUAL_SERVER_CONFIG, "c", "Ready")
    await api.until("all servers to have the last generation", last)
    await api.ready("g")
    assert [o["metadata"]["uid"] for o in await api.servers("g")] == before


@pytest.mark.parametrize("propagation", ["Background", "Foreground"])
async def test_a_group_deleted_while_it_is_being_created_leaves_nothing(
    api: Api, stack: Stack, place: str, propagation: str
) -> None:
    await api.apply(group("g", "always", ("m", "good", 3)))

    async def begun() -> bool:
        return bool(await api.servers("g"))

    await api.until("the first VirtualServer", begun)
    await api.delete(SERVER_GROUP, "g", propagation=propagation)
    await api.gone(SERVER_GROUP, "g")
    assert not await api.servers("g")
    await nothing_left(api, stack)


async def test_a_group_deleted_in_the_foreground_frees_dependents_first(api: Api, stack: Stack, place: str) -> None:
    address = {"name": "db", "valueFrom": {"output": {"member": "db", "name": "address"}}}
    await api.apply(
        config("db", outputs=[{"name": "address", "command": "echo here"}]),
        config("web", configuration=[address], files=[{"path": "/etc/db", "content": "${db}"}]),
        group("g", "always", ("db", "db", 1), ("web", "web", 2)),
    )
    await api.ready("g")
    ids = {o["metadata"]["name"]: o["status"]["providerID"] for o in await api.servers("g")}
    await api.delete(SERVER_GROUP, "g", propagation="Foreground")
    await api.gone(SERVER_GROUP, "g")
    deleted = [e["id"] for e in stack.hosts["anchor"].ledger() if e["event"] == "Deleted" and e["id"] in ids.values()]
    assert sorted(deleted) == sorted(ids.values())
    assert deleted[-1] == ids["g-db-0"]


async def test_a_namespace_deleted_takes_its_servers_along(api: Api, stack: Stack, place: str) -> None:
    other = Api(api.client, f"{api.namespace}-x")
    await api.client.create(NAMESPACE, {"metadata": {"name": other.namespace}})
    await other.apply(always("always", place), config("good", **GOOD), group("g", "always", ("m", "good", 2)))
    await other.ready("g")
    assert len(owned(stack, other.namespace)) == 2
    await api.client.delete(NAMESPACE, None, other.namespace)
    await other.gone(SERVER_GROUP, "g")
    await nothing_left(other, stack)

    async def finished() -> bool:
        listing = await api.client.list(NAMESPACE)
        return other.namespace not in {o["metadata"]["name"] for o in listing.items}

    await other.until("the namespace to be gone", finished)


@pytest.mark.parametrize("damage", ["{", json.dumps({"attempts": 3}), None])
async def test_damaged_records_of_a_server_are_told_and_its_deletion_still_finds_it(
    api: Api, stack: Stack, place: str, damage: str | None
) -> None:
    await api.apply(group("g", "always", ("m", "good", 1)), group("beside", "always", ("m", "good", 1)))
    await api.ready("g")
    (server,) = await api.servers("g")
    uid = server["metadata"]["uid"]
    annotations = {"metadata": {"annotations": {"moorage.dev/state": damage}}}
    await api.client.patch(SECRET, api.namespace, uid, annotations, manager="test")
    # Nothing makes the server be looked at again but its own next event: an agent's report, or a change by a person.
    await api.patch(VIRTUAL_SERVER_CONFIG, "good", {"spec": {"steps": [{"name": "s", "script": "true # again"}]}})
    found = await api.condition(VIRTUAL_SERVER, "g-m-0", "Ready", "False", "StateDamaged")
    told = condition(found, "Ready")
    assert told is not None
    assert "restore it, or delete" in told["message"]
    await api.ready("beside")
    await api.delete(SERVER_GROUP, "g")
    await api.gone(SERVER_GROUP, "g")
    assert len(owned(stack, api.namespace)) == 1
