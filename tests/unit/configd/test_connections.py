"""Connections that say nothing, too slowly, or are too many."""

from __future__ import annotations

import asyncio
import ssl
from asyncio import StreamReader, StreamWriter

import pytest
from tests.support.channel import ChannelClient
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


async def test_there_is_a_most_of_connections(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connections, "REQUEST_SECONDS", 60.0)
    configd = await world.start(max_connections=3)
    held = [await connected(configd) for _ in range(3)]
    try:
        reader, writer = await connected(configd)
        assert await ended(reader) == b""
        writer.close()
    except (ConnectionError, ssl.SSLError):
        assert len(held) == 3  # refused before the handshake was over
    for _, open_writer in held:
        open_writer.close()
    guard = configd.channel.guard
    assert guard is not None
    await eventually(lambda: len(guard) == 0)


async def _drip(writer: StreamWriter, byte: bytes) -> None:
    while True:
        writer.write(byte)
        await writer.drain()
        await asyncio.sleep(0.02)
