"""The configuration channel on a real API server: what only that can show (JSON patches, ownership, watches, RBAC)."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import secrets
import socket
import ssl
import sys
from collections.abc import AsyncIterator
from functools import partial
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from prometheus_client import CollectorRegistry
from tests.support.agents import ProcessAgent
from tests.support.channel import ChannelClient
from tests.support.cluster import Kubectl
from tests.support.configd import eventually

from moorage.api.channel import Document
from moorage.configd.authority import ensure_authority
from moorage.configd.pki import CAMissing, new_authority, rotated, utc_now
from moorage.configd.run import Running, start
from moorage.configd.server import ConfigdConfig
from moorage.configd.userdata import render_user_data
from moorage.controlplane import ControlPlane
from moorage.kube.client import Client
from moorage.kube.errors import NotFound
from moorage.kube.kinds import HOSTING_SERVICE, SECRET, VIRTUAL_SERVER

TOKEN = "a-token-that-works-only-once"
CANARY = "canary-5f3a9b"


@pytest.fixture
async def client(control_plane: ControlPlane) -> AsyncIterator[Client]:
    async with await Client.connect(str(control_plane.kubeconfig)) as found:
        yield found


@pytest.fixture
async def configd(client: Client, namespace: str) -> AsyncIterator[Running]:
    # Other tests' servers exist in this cluster, so that configd would make no CA of its own: it is given one.
    data = {name: base64.b64encode(value).decode() for name, value in new_authority(utc_now()).to_data().items()}
    await client.create(SECRET, {"metadata": {"name": "moorage-ca", "namespace": namespace}, "data": data})
    running = await replica(client, namespace)
    yield running
    await running.stop()


async def replica(client: Client, namespace: str) -> Running:
    config = ConfigdConfig(host="127.0.0.1", port=0, namespace=namespace, names=("127.0.0.1",))
    return await start(config, client, registry=CollectorRegistry())


async def add_server(client: Client, namespace: str, name: str) -> str:
    """A VirtualServer with its Secret, as the controller makes them. Its uid."""
    spec = {
        "serviceRef": {"name": "somewhere"},
        "group": {"name": "shop", "uid": "1"},
        "member": "db",
        "placement": 1,
        "image": "debian-12",
        "offering": "small",
        "revision": "db-1",
    }
    made = await client.create(VIRTUAL_SERVER, {"metadata": {"name": name, "namespace": namespace}, "spec": spec})
    uid: str = made["metadata"]["uid"]
    owner = {"apiVersion": "moorage.dev/v1alpha1", "kind": "VirtualServer", "name": name, "uid": uid}
    meta = {
        "name": uid,
        "namespace": namespace,
        "labels": {"moorage.dev/secret": "server"},
        "annotations": {"moorage.dev/server": name},
        "ownerReferences": [owner],
    }
    await client.create(SECRET, {"metadata": meta, "data": {"token": _b64(TOKEN), "request": _b64("{}")}})
    return uid


async def configure(client: Client, namespace: str, uid: str, revision: int, **parts: Any) -> None:
    facts = {"name": "x", "namespace": namespace}
    document = Document.model_validate({"revision": revision, "server": facts, **parts})
    body = {"data": {"configuration": base64.b64encode(document.to_json()).decode()}}
    await client.patch(SECRET, namespace, uid, body)


def boot(running: Running, namespace: str, uid: str, where: Path, pin: str = "") -> ProcessAgent:
    url = "https://{}:{}".format(*running.address)
    return ProcessAgent(
        render_user_data([url], pin or running.pin, f"{namespace}/{uid}", TOKEN), where / "state", where / "root"
    )


async def agent_state(client: Client, namespace: str, name: str) -> dict[str, Any]:
    found = await client.get(VIRTUAL_SERVER, namespace, name)
    return dict((found.get("status") or {}).get("agent") or {})


def _b64(text: str) -> str:
    return base64.b64encode(text.encode()).decode()


async def test_an_agent_is_configured_in_two_steps(
    client: Client, configd: Running, namespace: str, tmp_path: Path
) -> None:
    uid = await add_server(client, namespace, "web-0")
    agent = boot(configd, namespace, uid, tmp_path)
    outputs = [
        {"name": "address", "command": 'echo "127.0.0.1:$port"', "env": ["port"], "pattern": "[0-9.]+:[0-9]+"},
        {"name": "password", "command": f"echo {CANARY}", "sensitive": True},
    ]
    late = {"name": "late", "script": 'test "$db" = there', "env": ["db"]}
    try:
        await configure(
            client,
            namespace,
            uid,
            1,
            items={"port": "80"},
            pending=[{"item": "db", "waitingFor": "another server"}],
            steps=[{"name": "early", "script": "true"}, {**late, "pending": ["db"]}],
            outputs=outputs,
        )

        async def incomplete() -> bool:
            state = await agent_state(client, namespace, "web-0")
            return state.get("acknowledgedRevision") == 1 and len(state.get("outputs", [])) == 2

        await eventually(incomplete)
        state = await agent_state(client, namespace, "web-0")
        assert {s["name"]: s["state"] for s in state["steps"]} == {"early": "Succeeded", "late": "Waiting"}
        assert [(o["name"], o.get("value"), o.get("inSecret", False)) for o in state["outputs"]] == [
            ("address", "127.0.0.1:80", False),
            ("password", None, True),
        ]
        kept = await client.get(SECRET, namespace, f"{uid}-outputs")
        assert base64.b64decode(kept["data"]["password"]).decode() == CANARY

        both = {"port": "80", "db": "there"}
        steps = [{"name": "early", "script": "true"}, late]
        await configure(client, namespace, uid, 2, items=both, steps=steps, outputs=outputs)

        async def complete() -> bool:
            state = await agent_state(client, namespace, "web-0")
            return state.get("acknowledgedRevision") == 2 and state.get("ready") is True

        await eventually(complete)
        state = await agent_state(client, namespace, "web-0")
        assert {s["name"]: s["state"] for s in state["steps"]} == {"early": "Succeeded", "late": "Succeeded"}
        assert state["joinedAt"]
        assert CANARY not in str(await client.get(VIRTUAL_SERVER, namespace, "web-0")) + agent.logged()
    finally:
        agent.kill()


async def test_two_replicas_never_put_an_older_state_over_a_newer_one(
    client: Client, configd: Running, namespace: str
) -> None:
    uid = await add_server(client, namespace, "db-0")
    other = await replica(client, namespace)
    key = secrets.token_urlsafe(32)
    try:
        async with (
            ChannelClient.to(configd, f"{namespace}/{uid}", key) as one,
            ChannelClient.to(other, f"{namespace}/{uid}", key) as two,
        ):
            assert (await one.join(TOKEN)).status == 200
            assert (await two.join(TOKEN)).status == 200
            assert (await one.state(1, ready=True)).status == 200
            assert (await two.state(5)).status == 200
            # The first replica believes that 1 is the latest.
            refused = await one.state(3, ready=True)
            assert (refused.status, refused.json["sequence"]) == (409, 5)
            assert (await one.state(6, ready=True)).status == 200
            answers = await asyncio.gather(*(c.state(n) for n, c in enumerate((one, two) * 4, start=10)))
            assert {a.status for a in answers} <= {200, 409}
        assert (await agent_state(client, namespace, "db-0"))["sequence"] == 17
    finally:
        await other.stop()


async def test_a_state_for_a_successor_of_the_same_name_is_refused(
    client: Client, configd: Running, namespace: str
) -> None:
    uid = await add_server(client, namespace, "db-0")
    async with ChannelClient.to(configd, f"{namespace}/{uid}", secrets.token_urlsafe(32)) as agent:
        assert (await agent.join(TOKEN)).status == 200
        assert (await agent.state(1)).status == 200
        await client.delete(VIRTUAL_SERVER, namespace, "db-0")
        await add_server(client, namespace, "db-0")
        assert (await agent.state(2)).status in (401, 410)
        assert await agent_state(client, namespace, "db-0") == {}


async def test_a_replayed_token_is_refused_and_seen_in_an_event(
    client: Client, configd: Running, namespace: str, kubectl: Kubectl
) -> None:
    uid = await add_server(client, namespace, "db-0")
    async with ChannelClient.to(configd, f"{namespace}/{uid}", secrets.token_urlsafe(32)) as agent:
        assert (await agent.join(TOKEN)).status == 200
    async with ChannelClient.to(configd, f"{namespace}/{uid}", secrets.token_urlsafe(32)) as thief:
        answer = await thief.join(TOKEN)
        assert (answer.status, answer.json["reason"]) == (409, "TokenUsed")
        assert (await thief.configuration(0)).status == 401

    def event() -> Any:
        items = kubectl.json("get", "events", "--namespace", namespace)["items"]
        return [e for e in items if e["reason"] == "JoinTokenReplayed"]

    (said,) = await eventually(event)
    assert said["involvedObject"]["name"] == "db-0"
    assert TOKEN not in str(said)


async def test_the_agent_of_a_deleted_server_is_told_so(client: Client, configd: Running, namespace: str) -> None:
    uid = await add_server(client, namespace, "db-0")
    async with ChannelClient.to(configd, f"{namespace}/{uid}", secrets.token_urlsafe(32)) as agent:
        assert (await agent.join(TOKEN)).status == 200
        session = await client.get(SECRET, namespace, f"{uid}-session")
        assert [owner["uid"] for owner in session["metadata"]["ownerReferences"]] == [uid]
        poll = asyncio.create_task(agent.configuration(30))
        await eventually(lambda: configd.server.directory.waiting)
        await client.delete(VIRTUAL_SERVER, namespace, "db-0")
        gone = await agent.state(1)
        assert (gone.status, gone.json["reason"]) == (410, "Gone")
        with contextlib.suppress(NotFound):  # the garbage collector does it some time later, or has just done it
            await client.delete(SECRET, namespace, uid)
        assert (await poll).status == 410


async def test_a_missing_ca_with_servers_is_an_error_and_never_a_new_ca(client: Client, namespace: str) -> None:
    async def servers() -> bool:
        return bool((await client.list(VIRTUAL_SERVER, namespace, metadata_only=True)).items)

    first = await ensure_authority(client, namespace, utc_now(), servers)
    assert await ensure_authority(client, namespace, utc_now(), servers) == first
    await add_server(client, namespace, "db-0")
    await client.delete(SECRET, namespace, "moorage-ca")
    with pytest.raises(CAMissing, match="backup"):
        await ensure_authority(client, namespace, utc_now(), servers)
    with pytest.raises(NotFound):
        await client.get(SECRET, namespace, "moorage-ca")


async def test_a_replica_of_its_own_follows_endpoints_and_a_new_root(
    client: Client, configd: Running, control_plane: ControlPlane, namespace: str
) -> None:
    """`moorage configd` as a process: its certificate has every configEndpoint, and goes over to another root."""
    name = f"hs-{secrets.token_hex(4)}"
    spec = {"type": "local", "endpoint": "http://127.0.0.1:1", "configEndpoint": "https://localhost:7443"}
    await client.create(HOSTING_SERVICE, {"metadata": {"name": name}, "spec": spec})
    port = free_port()
    command = [sys.executable, "-m", "moorage.configd", "--host", "127.0.0.1", "--port", str(port)]
    command += ["--namespace", namespace, "--name", "127.0.0.1", "--kubeconfig", str(control_plane.kubeconfig)]
    alone = await asyncio.create_subprocess_exec(*command)
    uid = await add_server(client, namespace, "db-0")
    server, key = f"{namespace}/{uid}", secrets.token_urlsafe(32)
    try:
        for host in ("127.0.0.1", "localhost"):
            tls = ssl.create_default_context(cadata=configd.bundle.decode())
            async with ChannelClient(f"https://{host}:{port}", tls, server, key) as agent:
                await eventually(partial(_healthy, agent), what=f"a certificate for {host}")
                assert (await agent.join(TOKEN)).status == 200
        before = configd.server.certificates.authority
        after = rotated(before, utc_now())
        data = {name: base64.b64encode(value).decode() for name, value in after.to_data().items()}
        await client.patch(SECRET, namespace, "moorage-ca", {"data": data})
        for trusted in (before.certificate, after.certificate):
            tls = ssl.create_default_context(cadata=trusted.decode())
            async with ChannelClient(f"https://127.0.0.1:{port}", tls, server, key) as agent:
                await eventually(partial(_healthy, agent), what="a leaf of the new root")
                announced = (await agent.request("GET", "/v1/ca.pem")).body
                assert announced == after.bundle
        alone.terminate()
        assert await asyncio.wait_for(alone.wait(), 20) == 0
    finally:
        if alone.returncode is None:
            alone.kill()
            await alone.wait()
        await client.delete(HOSTING_SERVICE, None, name)


async def test_a_deleted_ca_is_said_and_agents_are_still_served(
    client: Client, configd: Running, namespace: str, caplog: pytest.LogCaptureFixture
) -> None:
    uid = await add_server(client, namespace, "db-0")
    kept = await client.get(SECRET, namespace, "moorage-ca")
    await client.delete(SECRET, namespace, "moorage-ca")
    await eventually(lambda: "restore" in configd.ca_problem)
    async with ChannelClient.to(configd, f"{namespace}/{uid}", secrets.token_urlsafe(32)) as agent:
        assert (await agent.join(TOKEN)).status == 200
    await client.create(SECRET, {"metadata": {"name": "moorage-ca", "namespace": namespace}, "data": kept["data"]})
    await eventually(lambda: not configd.ca_problem)


async def _healthy(agent: ChannelClient) -> bool:
    try:
        return (await agent.request("GET", "/healthz")).status == 200
    except (OSError, aiohttp.ClientError):
        return False


def free_port() -> int:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        port: int = taken.getsockname()[1]
        return port
