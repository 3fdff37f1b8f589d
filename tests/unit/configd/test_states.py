"""What agents report: taken in order, written once, bounded, and refused without being quoted."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from tests.support.configd import World
from tests.unit.configd.conftest import OUTPUTS, Connect, joined

from moorage.kube.kinds import SECRET, VIRTUAL_SERVER


async def test_a_state_is_one_patch(world: World, connect: Connect) -> None:
    server, agent = await joined(world, connect)
    world.configure(server, 1, outputs=OUTPUTS)
    world.cluster.calls.clear()
    answer = await agent.state(1, deliveredRevision=1, outputs=[{"name": "a", "value": "x", "version": 1}])
    assert (answer.status, answer.json) == (200, {"problems": []})
    assert world.cluster.calls == [("patch", "virtualservers", "db")]
    assert (await agent.state(2, deliveredRevision=1)).status == 200
    assert world.cluster.calls == [("patch", "virtualservers", "db")] * 2
    assert world.agent_state(server)["sequence"] == 2


async def test_an_older_state_is_refused_with_the_known_sequence(world: World, connect: Connect) -> None:
    server, agent = await joined(world, connect)
    assert (await agent.state(5, ready=True)).status == 200
    for old in (4, 5):
        answer = await agent.state(old)
        assert (answer.status, answer.json["sequence"]) == (409, 5)
    assert (await agent.state(5, ready=True)).status == 200  # the same again: its answer may have been lost
    assert world.agent_state(server)["ready"] is True


async def test_replicas_do_not_put_an_older_state_over_a_newer_one(world: World, connect: Connect) -> None:
    server, one = await joined(world, connect)
    two = connect(server, await world.start())
    assert (await one.state(1)).status == 200
    assert (await two.state(4, ready=True)).status == 200
    answer = await one.state(3)
    assert (answer.status, answer.json["sequence"]) == (409, 4)
    assert (await one.state(5)).status == 200
    assert (await two.state(6)).status == 200
    assert world.agent_state(server)["sequence"] == 6


async def test_a_late_state_does_not_bring_back_older_outputs(world: World, connect: Connect) -> None:
    """A state that hangs in one replica must not replace the values of a newer one that went through another."""
    server, one = await joined(world, connect)
    world.configure(server, 1, outputs=OUTPUTS)
    two = connect(server, await world.start())
    assert (await one.state(1, outputs=[{"name": "s", "value": "first", "version": 1}])).status == 200
    hung = asyncio.Event()
    hold = asyncio.Event()

    async def hang(verb: str, plural: str, name: str) -> None:
        if verb == "update" and not hung.is_set():
            hung.set()
            await hold.wait()

    world.cluster.before = hang
    late = asyncio.create_task(one.state(2, outputs=[{"name": "s", "value": "second", "version": 2}]))
    await hung.wait()
    assert (await two.state(3, outputs=[{"name": "s", "value": "third", "version": 3}])).status == 200
    hold.set()
    assert (await late).status == 409
    assert world.output_secret(server) == {"s": "third"}
    assert world.agent_state(server)["outputs"] == [{"name": "s", "version": 3, "inSecret": True}]


async def test_secrets_are_written_before_the_status_that_names_them(world: World, connect: Connect) -> None:
    server, agent = await joined(world, connect)
    world.configure(server, 1, outputs=OUTPUTS)
    world.cluster.calls.clear()
    told: dict[str, Any] = {"outputs": [{"name": "s", "value": "canary", "version": 1}]}
    assert (await agent.state(1, **told)).status == 200
    assert (await agent.state(2, **told, ready=True)).status == 200
    assert [(verb, name) for verb, _, name in world.cluster.calls] == [
        ("create", "uid-of-db-outputs"),
        ("patch", "db"),
        ("patch", "db"),
    ]
    kept = world.cluster.found(SECRET, "shop", "uid-of-db-outputs")["metadata"]
    assert kept["annotations"]["moorage.dev/versions"] == '{"s":1}'
    assert "canary" not in world.everything()


async def test_a_successor_of_the_same_name_is_not_written_to(world: World, connect: Connect) -> None:
    _, agent = await joined(world, connect)
    world.cluster.remove(VIRTUAL_SERVER, "shop", "db")
    assert (await agent.state(1)).status == 410
    successor = world.add_server("db", "another-uid")
    assert (await agent.state(2)).status == 410
    assert world.agent_state(successor) == {}


async def test_a_server_without_status_gets_one(world: World, connect: Connect) -> None:
    server, agent = await joined(world, connect)
    del world.cluster.objects["virtualservers", "shop", "db"]["status"]
    assert (await agent.state(1)).status == 200
    assert world.agent_state(server)["sequence"] == 1


async def test_a_megabyte_of_state_is_refused_and_nothing_else(world: World, connect: Connect) -> None:
    server, agent = await joined(world, connect)
    world.configure(server, 1, outputs=OUTPUTS)
    answer = await agent.state(1, outputs=[{"name": "a", "value": "x" * 2**20, "version": 1}])
    assert (answer.status, answer.json["reason"]) == (413, "TooLarge")
    assert "262144" in answer.json["message"]
    assert (await agent.state(1, outputs=[{"name": "a", "value": "x" * 200_000, "version": 1}])).status == 200
    assert world.agent_state(server)["outputs"][0]["error"] == "TooLarge"
    chunked = await agent.request("POST", "/v1/join", body=b"x" * 5000)
    assert chunked.status == 413


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"[]",
        b"null",
        b"{",
        b"\xff\xfe",
        b'{"sequence": 0}',
        b'{"sequence": "canary"}',
        b'{"sequence": 1e400}',
        b'{"sequence": 1, "outputs": [{"name": "a b", "value": "canary"}]}',
        b'{"sequence": 1, "outputs": [{"name": "a", "value": "\\ud800canary"}]}',
        b'{"sequence": 1, "steps": [{"name": "a", "state": "Odd"}]}',
        b"[" * 100000,
    ],
)
async def test_a_body_that_is_no_state_is_refused_without_being_quoted(
    world: World, connect: Connect, body: bytes
) -> None:
    server, agent = await joined(world, connect)
    answer = await agent.request("POST", "/v1/state", body=body)
    assert (answer.status, answer.json["reason"]) == (422, "Invalid")
    assert b"canary" not in answer.body
    assert world.agent_state(server) == {}


async def test_posts_of_one_server_are_limited(world: World, connect: Connect) -> None:
    _, agent = await joined(world, connect)
    statuses = [(await agent.state(number)).status for number in range(1, 70)]
    assert 429 in statuses
    assert set(statuses) == {200, 429}
