"""A configd and an agent that says what the test tells it to."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable

import pytest
from tests.support.channel import ChannelClient
from tests.support.configd import World

from moorage.configd.server import Server

KEY = "k" * 43
OUTPUTS = [{"name": "a", "file": "/a"}, {"name": "s", "file": "/s", "sensitive": True}]

Connect = Callable[..., ChannelClient]


@pytest.fixture
async def world() -> AsyncIterator[World]:
    made = World()
    yield made
    await made.stop()


@pytest.fixture
async def connect(world: World) -> AsyncIterator[Connect]:
    """Connect to a replica (default: the first) as the agent of a server, with a key."""
    made: list[ChannelClient] = []

    def connected(server: str, replica: Server | None = None, key: str = KEY) -> ChannelClient:
        made.append(ChannelClient.to(replica or world.replicas[0], server, key))
        return made[-1]

    yield connected
    for one in made:
        await one.__aexit__()


async def joined(world: World, connect: Connect) -> tuple[str, ChannelClient]:
    """A server whose agent has joined, and that agent."""
    if not world.replicas:
        await world.start()
    server = world.add_server()
    agent = connect(server)
    assert (await agent.join(world.TOKEN)).status == 200
    return server, agent
