"""Connections that say nothing, too slowly, or are too many."""

from __future__ import annotations

import asyncio
import resource
import ssl
from asyncio import StreamReader, StreamWriter
from contextlib import AsyncExitStack

import pytest
from tests.support.channel import Answer, ChannelClient
from tests.support.configd import World, eventually

from moorage.configd import app, connections
from moorage.configd.server import Server


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connections, "REQUEST_SECONDS", 0.2)
    monkeypatch.setattr(connections, "_SWEEP_SECONDS", 0.02)
    monkeypatch.setattr(app, "BODY_SECONDS", 0.2)


async def connected(configd: Server) -> tuple[StreamReader, StreamWriter]:
    tls = ssl.create_default_context(cadata=configd.bundle.decode())
    return await asyncio.open_connection(*configd.address, ssl=tls)


async def ended(reader: StreamReader) -> bytes:
    """What was still sent before the connection ended."""
    try:
        return await asyncio.wait_for(reader.read(), 15)
    except ConnectionError:
        return b""


async def test_a_connection_that_says_nothing_is_ended(world: World) -> None:
    configd = await world.start()
    reader, writer = await connected(configd)
    assert await ended(reader) == b""
    writer.close()


async def test_a_head_that_drips_is_ended(world: World) -> None:
    configd = await world.start()
    reader, writer = await connected(configd)
    writer.write(b"GET /v1/ca.pem HTTP/1.1\r\n")
    drip = asyncio.create_task(_drip(writer, b"x"))
    assert await ended(reader) == b""
    drip.cancel()
    await asyncio.gather(drip, return_exceptions=True)
    writer.close()


async def test_the_second_head_of_a_connection_is_bounded_too(world: World) -> None:
    configd = await world.start()
    reader, writer = await connected(configd)
    writer.write(b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n")
    assert (await reader.readline()).startswith(b"HTTP/1.1 200")
    writer.write(b"GET /healthz")
    assert b"408" not in await ended(reader)
    writer.close()


async def test_a_connection_may_rest_between_two_requests(world: World) -> None:
    configd = await world.start()
    reader, writer = await connected(configd)
    for _ in range(2):
        writer.write(b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n")
        assert (await reader.readline()).startswith(b"HTTP/1.1 200")
        while (await reader.readline()).strip():
            pass
        assert await reader.readexactly(2) == b"ok"
        # Many sweeps pass while it rests.
        await asyncio.sleep(connections.REQUEST_SECONDS * 3)
    writer.close()


async def test_a_long_poll_is_not_mistaken_for_a_slow_head(world: World) -> None:
    configd = await world.start()
    server = world.add_server()
    async with ChannelClient.to(configd, server, "k" * 43) as agent:
        assert (await agent.join(world.TOKEN)).status == 200
        assert (await agent.configuration(connections.REQUEST_SECONDS * 4)).status == 304


async def test_a_body_that_drips_is_ended(world: World) -> None:
    configd = await world.start()
    reader, writer = await connected(configd)
    writer.write(b"POST /v1/join HTTP/1.1\r\nHost: x\r\nContent-Length: 1000\r\n\r\n")
    drip = asyncio.create_task(_drip(writer, b"x"))
    assert b"408" in await ended(reader)
    drip.cancel()
    await asyncio.gather(drip, return_exceptions=True)
    writer.close()


@pytest.mark.parametrize("head", [b"GET /" + b"x" * 9000 + b" HTTP/1.1\r\n\r\n", b"\x16\x03\x01rubbish\r\n\r\n"])
async def test_a_head_that_is_none_is_refused(world: World, head: bytes) -> None:
    configd = await world.start()
    reader, writer = await connected(configd)
    writer.write(head)
    assert b" 400 " in await ended(reader)
    writer.close()


@pytest.fixture
def patient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connections, "REQUEST_SECONDS", 60.0)


async def answers(reader: StreamReader, writer: StreamWriter) -> bool:
    """Whether the connection still serves."""
    writer.write(b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n")
    return b" 200 " in await asyncio.wait_for(reader.readline(), 15)


async def polling(world: World, configd: Server, server: str, agent: ChannelClient) -> asyncio.Task[Answer]:
    """A long poll of an agent that has joined, which has arrived."""
    assert (await agent.join(world.TOKEN)).status == 200
    before = configd.directory.waiting
    poll = asyncio.create_task(agent.configuration(30))
    await eventually(lambda: configd.directory.waiting > before)
    return poll


@pytest.mark.usefixtures("patient")
async def test_strangers_make_room_for_the_next_where_all_connections_are_taken(world: World) -> None:
    configd = await world.start(max_connections=3)
    held = [await connected(configd) for _ in range(4)]
    assert await ended(held[0][0]) == b""
    assert configd.metrics.connections_ended.labels("all")._value.get() == 1
    assert [await answers(*connection) for connection in held[1:]] == [True] * 3
    for _, writer in held:
        writer.close()
    guard = configd.channel.guard
    assert guard is not None
    await eventually(lambda: len(guard) == 0)


@pytest.mark.usefixtures("patient")
async def test_a_flood_of_one_address_does_not_take_all_connections_nor_those_of_agents(world: World) -> None:
    configd = await world.start(max_connections=50, max_of_strangers=3)
    server = world.add_server()
    async with ChannelClient.to(configd, server, "k" * 43) as agent:
        poll = await polling(world, configd, server, agent)
        flood = [await connected(configd) for _ in range(10)]
        guard = configd.channel.guard
        assert guard is not None
        await eventually(lambda: len(guard) == 4)
        assert [await ended(reader) for reader, _ in flood[:7]] == [b""] * 7
        world.configure(server, 1)
        assert (await poll).json["revision"] == 1
        for _, writer in flood:
            writer.close()


@pytest.mark.usefixtures("patient")
async def test_agents_behind_one_address_are_no_strangers(world: World) -> None:
    configd = await world.start(max_of_strangers=1)
    async with AsyncExitStack() as stack:
        polls = []
        for number in range(5):
            server = world.add_server(f"s{number}")
            agent = await stack.enter_async_context(ChannelClient.to(configd, server, f"{number}" * 43))
            polls.append(await polling(world, configd, server, agent))
            world.configure(server, 1)
        assert [(await poll).status for poll in polls] == [200] * 5


@pytest.mark.usefixtures("patient")
async def test_nobody_is_let_in_where_agents_have_all_connections(world: World) -> None:
    configd = await world.start(max_connections=1)
    server = world.add_server()
    async with ChannelClient.to(configd, server, "k" * 43) as agent:
        poll = await polling(world, configd, server, agent)
        try:
            reader, writer = await connected(configd)
            assert await ended(reader) == b""
            writer.close()
        except (ConnectionError, ssl.SSLError):
            assert not poll.done()  # refused before the handshake was over
        world.configure(server, 1)
        assert (await poll).json["revision"] == 1


@pytest.mark.usefixtures("patient")
async def test_one_server_has_a_few_connections(world: World) -> None:
    configd = await world.start(max_of_server=2)
    server = world.add_server()
    async with AsyncExitStack() as stack:
        clients = [await stack.enter_async_context(ChannelClient.to(configd, server, "k" * 43)) for _ in range(4)]
        for client in clients:
            assert (await client.join(world.TOKEN)).status == 200
        guard = configd.channel.guard
        assert guard is not None
        await eventually(lambda: len(guard) == 2)


@pytest.mark.parametrize(
    ("peer", "source"),
    [
        (("10.0.0.1", 5), "10.0.0.1"),
        (("2001:db8:1:2:3::4", 5, 0, 0), "2001:db8:1:2::"),
        (("fe80::1%eth0", 5, 0, 2), "fe80::"),
        (("::ffff:10.0.0.1", 5, 0, 0), "10.0.0.1"),
        (None, ""),
    ],
)
def test_a_source_is_an_address_or_the_network_that_one_host_has(peer: object, source: str) -> None:
    assert connections.source_of(peer) == source


async def _drip(writer: StreamWriter, byte: bytes) -> None:
    while True:
        writer.write(byte)
        await writer.drain()
        await asyncio.sleep(0.02)


@pytest.mark.parametrize(("hard", "wanted", "most"), [(1024, 8000, 512), (100_000, 8000, 8000), (-1, 8000, 8000)])
def test_it_takes_no_more_than_it_may_have_files_open(
    monkeypatch: pytest.MonkeyPatch, hard: int, wanted: int, most: int
) -> None:
    told: list[tuple[int, int]] = []
    monkeypatch.setattr(resource, "getrlimit", lambda _: (256, hard))
    monkeypatch.setattr(resource, "setrlimit", lambda _, limits: told.append(limits))
    assert connections.room(wanted) == most
    assert told == [(hard, hard)], "the soft limit is raised"
