"""The real agent in a real server: from user-data to readiness, over a stop, a reboot and a restart of hostd."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from tests.support.configd import World, eventually
from tests.support.hostd import Hostd, in_state, is_gone

from moorage.hosting.contract import ServerState


@pytest.fixture
async def world() -> AsyncIterator[World]:
    made = World()
    await made.start()
    yield made
    await made.stop()


@pytest.fixture(params=["auto", "off"], ids=["namespaces", "plain"])
async def hostd(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Hostd]:
    made = Hostd(tmp_path / "hostd", namespaces=request.param, ephemeral=False)
    await made.start()
    yield made
    backend = made.open()
    for server in (await backend.inventory()).servers:
        await backend.delete(server.provider_id)
        await is_gone(backend, server.provider_id)
    await made.stop()


async def test_the_agent_runs_in_a_server_and_goes_on_after_each_boot(world: World, hostd: Hostd) -> None:
    backend = hostd.open()
    server = world.add_server()
    steps = [{"name": "serve", "script": 'echo "$x" >>"$MOORAGE_ROOT/runs"', "env": ["x"]}]
    declared = [{"name": "address", "command": 'echo "$SERVER_ADDRESS:1"', "after": ["serve"]}]
    world.configure(server, 1, items={"x": "1"}, steps=steps, outputs=declared)
    request = hostd.request(image="process/python", user_data=world.user_data(server))
    made = await backend.create(request)
    await eventually(lambda: world.agent_state(server).get("ready"), 60)
    # Readiness does not wait for outputs: they may come with a later report.
    outputs = await eventually(lambda: world.agent_state(server).get("outputs"), 60)
    assert [row["value"] for row in outputs] == [f"{made.addresses[0].address}:1"]

    await hostd.call("POST", f"servers/{made.provider_id}/reboot")
    # The boot before may still take the next revision: it is over when the second one has begun.
    assert hostd.running is not None
    machine = hostd.running.service.machines[made.provider_id]
    await eventually(lambda: machine.boots == 2 and machine.running, 60)
    world.configure(server, 2, items={"x": "2"}, steps=steps, outputs=declared)
    await eventually(lambda: world.agent_state(server)["acknowledgedRevision"] == 2, 60)

    await hostd.stop()
    world.configure(server, 3, items={"x": "3"}, steps=steps, outputs=declared)
    await eventually(lambda: world.agent_state(server)["acknowledgedRevision"] == 3, 60)
    await hostd.start()
    assert (await in_state(hostd.open(), made.provider_id, ServerState.RUNNING)).key == request.key
    runs = hostd.options["data"] / "servers" / made.provider_id / "root" / "runs"
    assert runs.read_text().split() == ["1", "2", "3"]
    assert (len(world.told.joins), world.told.replays) == (1, [])
