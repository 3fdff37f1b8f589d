"""hostd is killed at each step of a server's life; started again, it goes on, and nothing is doubled or lost."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
from contextlib import suppress

import aiohttp
import pytest
from tests.support.hostd import until
from tests.unit.hostd.conftest import Program

CREATING = (
    "create.claimed",
    "create.recorded",
    "create.entered",
    "boot.counted",
    "boot.laid-out",
    "boot.spawned",
    "boot.started",
)
DELETING = ("delete.ordered", "delete.halted", "delete.entered", "delete.emptied")
SCRIPT = 'echo "$$" >>"$MOORAGE_STATE/boots"; exec sleep 1000'


async def _running(program: Program) -> None:
    async def probe() -> bool:
        servers = await program.servers()
        return bool(servers) and all(server["state"] == "Running" for server in servers)

    await until(probe, "the server's run")


@pytest.mark.parametrize(
    ("point", "namespaces"),
    [(point, ()) for point in CREATING] + [(point, ("--no-namespaces",)) for point in CREATING if "boot." in point],
)
async def test_killed_while_creating_there_is_one_server(
    program: Program, point: str, namespaces: tuple[str, ...]
) -> None:
    await program.start(*namespaces, crash=point)
    with suppress(aiohttp.ClientError):
        await program.create(script=SCRIPT)
    await program.ended()
    await program.start(*namespaces)
    status, server = await program.create(script=SCRIPT)
    assert status in {200, 201}
    await _running(program)
    assert [s["id"] for s in await program.servers()] == [server["id"]]
    assert await program.ledger("Created") == [server["id"]]

    boots = program.directory(server["id"]) / "state" / "boots"

    async def one_guest() -> bool:
        return len(program.guests(server["id"])) == 1 and boots.exists()

    await until(one_guest, "the one program of the server, which has counted its start")
    assert len(boots.read_text().split()) == 1
    await program.call("DELETE", f"servers/{server['id']}")
    await _gone(program)


async def _gone(program: Program) -> None:
    async def probe() -> bool:
        return not await program.servers() and not program.processes()

    await until(probe, "the end of all")
    assert list((program.data / "servers").iterdir()) == []


@pytest.mark.parametrize("point", DELETING)
async def test_killed_while_deleting_the_server_ends_all_the_same(program: Program, point: str) -> None:
    await program.start(crash=point)
    _, server = await program.create(script="sleep 1000 & exec sleep 1000")
    await _running(program)
    with suppress(aiohttp.ClientError):
        await program.call("DELETE", f"servers/{server['id']}")
    await program.ended()
    await program.start()
    await _gone(program)
    assert await program.ledger("Deleted") == [server["id"]]
    status, answer = await program.create(script="sleep 1000 & exec sleep 1000")
    assert (status, answer["reason"]) == (409, "KeyConflict")


@pytest.mark.parametrize("namespaces", [(), ("--no-namespaces",)], ids=["namespaces", "plain"])
async def test_servers_outlive_a_kill_and_are_found_again(program: Program, namespaces: tuple[str, ...]) -> None:
    await program.start(*namespaces)
    made = [(await program.create(f"k{n}", SCRIPT))[1] for n in range(3)]
    await _running(program)
    before = {server["id"]: program.guests(server["id"]) for server in made}
    assert all(len(pids) == 1 for pids in before.values())
    await program.kill()
    assert {server["id"]: program.guests(server["id"]) for server in made} == before
    await program.start(*namespaces)
    assert [s["id"] for s in await program.servers()] == [s["id"] for s in made]
    assert [s["addresses"] for s in await program.servers()] == [s["addresses"] for s in made]
    await _running(program)
    assert {server["id"]: program.guests(server["id"]) for server in made} == before
    for server in made:
        await program.call("DELETE", f"servers/{server['id']}")
    await _gone(program)


async def test_a_server_that_died_while_hostd_was_away_has_failed(program: Program) -> None:
    await program.start()
    _, server = await program.create(script=SCRIPT)
    await _running(program)
    await program.kill()
    for pid in program.processes():
        os.kill(pid, signal.SIGKILL)
    await program.start()

    async def failed() -> bool:
        return [s["state"] for s in await program.servers()] == ["Failed"]

    await until(failed, "the failure")
    assert (await program.call("POST", f"servers/{server['id']}/start"))[0] == 202
    await _running(program)


async def test_a_reused_pid_is_never_taken_for_a_server(program: Program) -> None:
    await program.start()
    _, server = await program.create(script="true")
    await _running(program)
    await program.kill()
    for pid in program.processes():
        os.kill(pid, signal.SIGKILL)
    bystander = await asyncio.create_subprocess_exec("sleep", "1000")
    note = program.directory(server["id"]) / "supervisor.json"
    note.write_text(json.dumps({**json.loads(note.read_text()), "pid": bystander.pid}))
    await program.start()
    await program.call("DELETE", f"servers/{server['id']}")
    await _gone(program)
    assert bystander.returncode is None
    bystander.kill()
    await bystander.wait()


@pytest.mark.parametrize("namespaces", [(), ("--no-namespaces",)], ids=["namespaces", "plain"])
async def test_ephemeral_servers_die_with_a_killed_hostd(program: Program, namespaces: tuple[str, ...]) -> None:
    await program.start("--ephemeral", *namespaces)
    for n in range(2):
        await program.create(f"k{n}", "(setsid sleep 1000 &); sleep 1000 & exec sleep 1000")
    await _running(program)
    assert program.processes()
    await program.kill()

    async def nothing_runs() -> bool:
        return not program.processes()

    await until(nothing_runs, "the end of all processes")


async def test_two_hostds_never_share_a_directory(program: Program) -> None:
    await program.start()
    second = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "moorage.hostd", "--no-token", "--data", str(program.data)),
        env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
        stderr=asyncio.subprocess.PIPE,
    )
    _, said = await second.communicate()
    assert second.returncode == 2
    assert said.decode().endswith("is in use by another hostd\n")
    assert (await program.call("GET", "account"))[0] == 200
