"""Simulated servers: what their agents read, do and keep."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.support.configd import World, eventually
from tests.support.hostd import Hostd, in_state, is_gone

from moorage.configd.userdata import render_user_data
from moorage.hostd.simulate.memory import Memory
from moorage.hostd.simulate.userdata import UserDataError, parse
from moorage.hostd.simulate.wire import _take_answer
from moorage.hosting.contract import Backend, ServerState

PIN = "ab" * 32


@pytest.mark.parametrize("format", ["shell", "cloud-config"])
def test_the_settings_are_found_in_what_servers_are_booted_with(format: Any) -> None:
    text = render_user_data(["https://a:1", "https://b"], PIN, "ns/uid", "t" * 20, format)
    found = parse(text)
    assert (found.urls, found.pin, found.server) == (("https://a:1", "https://b"), PIN, "ns/uid")
    assert found.token == "t" * 20
    assert found.token not in repr(found)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "#!/bin/sh\necho {}\n",
        "{" * 5000,
        '{"urls": [], "pin": "p", "server": "s", "token": "t"}',
        '{"urls": ["http://x"], "pin": "p", "server": "s", "token": "t"}',
        '{"urls": ["https://x"], "pin": "p", "server": "s", "token": ""}',
        '{"urls": ["https://x"], "pin": 7, "server": "s", "token": "canary"}',
    ],
)
def test_user_data_without_an_agent_is_refused(text: str) -> None:
    with pytest.raises(UserDataError) as caught:
        parse(text)
    assert "canary" not in str(caught.value)


WHOLE = b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\nETag: x\r\n\r\nabc"
CHUNKED = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2;x=y\r\nab\r\n1\r\nc\r\n0\r\n\r\n"
EMPTY = b"HTTP/1.1 304 Not Modified\r\nETag: x\r\n\r\n"


@given(st.sampled_from([WHOLE, CHUNKED, EMPTY]), st.integers(min_value=0, max_value=120))
def test_an_answer_is_taken_only_when_it_is_whole(data: bytes, cut: int) -> None:
    buffer = bytearray(data[:cut])
    if cut < len(data):
        assert _take_answer(buffer) is None
        buffer += data[cut:]
    buffer += b"HTTP/1.1 "
    answer = _take_answer(buffer)
    assert answer is not None
    assert answer.body == (b"" if data is EMPTY else b"abc")
    assert buffer == b"HTTP/1.1 "


@pytest.mark.parametrize(
    "data",
    [
        b"SSH-2.0-x\r\n\r\n",
        b"HTTP/1.1 abc\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 999999999\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
        b"x" * 70_000,
    ],
)
def test_what_is_no_answer_is_refused(data: bytes) -> None:
    with pytest.raises(ValueError, match=r"."):
        _take_answer(bytearray(data))


def test_the_memory_is_kept_and_shows_no_key(tmp_path: Path) -> None:
    memory = Memory.load(tmp_path)
    memory.sequence = 7
    memory.save()
    again = Memory.load(tmp_path)
    assert (again.key, again.sequence) == (memory.key, 7)
    assert memory.key not in repr(memory)
    assert (tmp_path / "simulated.json").stat().st_mode & 0o077 == 0


@pytest.fixture
async def world() -> AsyncIterator[World]:
    made = World()
    await made.start()
    yield made
    await made.stop()


@pytest.fixture
async def hostd(tmp_path: Path) -> AsyncIterator[Hostd]:
    made = Hostd(tmp_path / "hostd", simulate=True)
    await made.start()
    yield made
    await made.stop()


@pytest.fixture
async def backend(hostd: Hostd) -> Backend:
    return hostd.open()


def configure(world: World, server: str, revision: int, **parts: Any) -> None:
    steps = [{"name": "start", "script": 'run "$x"', "env": ["x"]}]
    outputs = [{"name": "address", "command": "true", "after": ["start"]}, {"name": "me", "field": "name"}]
    world.configure(server, revision, **{"items": {"x": "1"}, "steps": steps, "outputs": outputs, **parts})


async def test_a_simulated_server_lives_the_whole_life(world: World, hostd: Hostd, backend: Backend) -> None:
    server = world.add_server()
    settings = {"simulate": {"bootTime": "20ms", "stepTime": "10ms", "outputs": {"address": "${SERVER_ADDRESS}:${x}"}}}
    made = await backend.create(hostd.request(user_data=world.user_data(server), settings=settings))
    running = await in_state(backend, made.provider_id, ServerState.RUNNING)
    await eventually(lambda: world.told.joins)
    configure(world, server, 1)
    await eventually(lambda: world.agent_state(server).get("ready"))
    values = {row["name"]: row["value"] for row in world.agent_state(server)["outputs"]}
    assert values == {"address": f"{running.addresses[0].address}:1", "me": "db"}
    await hostd.call("POST", f"servers/{made.provider_id}/stop")
    await in_state(backend, made.provider_id, ServerState.STOPPED)
    sequence = world.agent_state(server)["sequence"]
    configure(world, server, 2, items={"x": "2"})
    await hostd.call("POST", f"servers/{made.provider_id}/start")
    await eventually(lambda: world.agent_state(server)["acknowledgedRevision"] == 2)
    assert world.agent_state(server)["sequence"] > sequence
    assert world.told.replays == []
    await backend.delete(made.provider_id)
    await is_gone(backend, made.provider_id)


async def test_a_step_that_is_told_to_fails_and_its_outputs_stay_away(
    world: World, hostd: Hostd, backend: Backend
) -> None:
    server = world.add_server()
    configure(world, server, 1)
    settings = {"simulate": {"failSteps": ["start"]}}
    await backend.create(hostd.request(user_data=world.user_data(server), settings=settings))
    await eventually(lambda: world.agent_state(server).get("acknowledgedRevision") == 1)
    state = world.agent_state(server)
    assert [(s["name"], s["state"], s["exitCode"]) for s in state["steps"]] == [("start", "Failed", 1)]
    assert [row["name"] for row in state["outputs"]] == ["me"]
    assert not state["ready"]


async def test_user_data_without_an_agent_gives_a_server_that_says_so(hostd: Hostd, backend: Backend) -> None:
    made = await backend.create(hostd.request())
    await in_state(backend, made.provider_id, ServerState.RUNNING)
    _, console = await hostd.call("GET", f"servers/{made.provider_id}/console")
    assert "no agent" in console["text"]


async def test_hundreds_of_agents_share_one_process(world: World, hostd: Hostd, backend: Backend) -> None:
    hostd.options["capacity"] = None
    await hostd.stop()
    await hostd.start()
    backend = hostd.open()
    servers = [world.add_server(f"s{number}") for number in range(150)]
    for server in servers:
        configure(world, server, 1)
        await backend.create(hostd.request(user_data=world.user_data(server)))
    await eventually(lambda: all(world.agent_state(server).get("ready") for server in servers), 60)
    keys = {obj["data"]["keyHash"] for (_, _, name), obj in world.cluster.objects.items() if name.endswith("-session")}
    assert len(keys) == 150
