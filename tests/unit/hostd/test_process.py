"""Servers that are real process trees: what they are given, what they print, and that all of them end."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from tests.support.hostd import Hostd, in_state, is_gone, until

from moorage.hostd.config import ConfigError
from moorage.hostd.process import procfs
from moorage.hostd.process.driver import MARK
from moorage.hostd.store import Home
from moorage.hosting.contract import Backend, ServerRecord, ServerState
from moorage.hosting.errors import AuthenticationError, Invalid


@pytest.fixture(params=["auto", "off"], ids=["namespaces", "plain"])
async def hostd(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Hostd]:
    made = Hostd(tmp_path / "hostd", namespaces=request.param)
    await made.start()
    yield made
    await made.stop()


@pytest.fixture
async def backend(hostd: Hostd) -> Backend:
    return hostd.open()


async def boot(hostd: Hostd, backend: Backend, script: str, **settings: Any) -> ServerRecord:
    made = await backend.create(hostd.request(user_data=f"#!/bin/sh\n{script}\n", settings=settings))
    return await in_state(backend, made.provider_id, ServerState.RUNNING)


async def printed(hostd: Hostd, provider_id: str, text: str) -> str:
    async def probe() -> str:
        _, console = await hostd.call("GET", f"servers/{provider_id}/console")
        found: str = console["text"]
        return found if text in found else ""

    found: str = await until(probe, f"{text!r} on the console")
    return found


def tree(provider_id: str) -> list[int]:
    return [pid for pid, _ in procfs.marked(f"{MARK}={provider_id}")]


async def test_a_server_has_its_own_environment_and_nothing_of_ours(
    hostd: Hostd, backend: Backend, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CANARY", "of-the-host")
    server = await boot(
        hostd, backend, "env; pwd; ls -l /proc/self/fd; echo end", environment={"MINE": "a b", "PATH": "/"}
    )
    console = await printed(hostd, server.provider_id, "end\n")
    env = dict(line.split("=", 1) for line in console.splitlines() if "=" in line)
    assert "CANARY" not in env
    assert env["MINE"] == "a b"
    assert env["PATH"] != "/"
    assert env["SERVER_ADDRESS"] == server.addresses[0].address
    assert env["HOSTNAME"].startswith("server-uid-")
    for name in ("MOORAGE_ROOT", "MOORAGE_STATE", "TMPDIR"):
        assert os.path.isdir(env[name])  # noqa: ASYNC240 - a local file
        assert server.provider_id in env[name]
    # Standard streams and what `ls` opened itself: nothing was inherited.
    assert sum(" -> " in line for line in console.splitlines()) == 4


async def test_user_data_is_on_no_command_line(hostd: Hostd, backend: Backend) -> None:
    server = await boot(hostd, backend, ": canary-token; sleep 1000", environment={"SECRET": "canary-value"})
    await until(lambda: _exists(server.provider_id), "the process")
    listed = await asyncio.to_thread(subprocess.check_output, ["ps", "-eo", "args", "ww"], text=True)
    assert "canary" not in listed


async def _exists(provider_id: str) -> list[int]:
    return tree(provider_id)


STUBBORN = "trap '' TERM HUP INT; (setsid sh -c 'trap \"\" TERM; sleep 1000; sleep 1000' &); sleep 1000; sleep 1000"


async def test_the_end_of_a_server_is_the_end_of_its_whole_tree(hostd: Hostd, backend: Backend) -> None:
    server = await boot(hostd, backend, STUBBORN)

    async def grown() -> bool:
        return len(tree(server.provider_id)) >= 4

    await until(grown, "the tree")
    await backend.delete(server.provider_id)
    await is_gone(backend, server.provider_id)
    assert tree(server.provider_id) == []
    assert not (hostd.options["data"] / "servers" / server.provider_id).exists()


async def test_stop_gives_time_start_and_reboot_run_the_user_data_again(hostd: Hostd, backend: Backend) -> None:
    script = """
        trap 'echo bye; exit' TERM
        echo boot >>$MOORAGE_STATE/boots; cat $MOORAGE_STATE/boots
        while :; do sleep 0.02; done"""
    server = await boot(hostd, backend, script)
    await printed(hostd, server.provider_id, "boot\n")
    for action, state, text in (
        ("stop", ServerState.STOPPED, "bye\n"),
        ("start", ServerState.RUNNING, "boot\nboot\n"),
        ("reboot", ServerState.RUNNING, "boot\nboot\nboot\n"),
    ):
        status, _ = await hostd.call("POST", f"servers/{server.provider_id}/{action}")
        assert status == 202
        await printed(hostd, server.provider_id, text)
        await in_state(backend, server.provider_id, state)
        assert bool(tree(server.provider_id)) is (state is ServerState.RUNNING)


async def test_a_start_that_comes_while_a_server_stops_is_the_last_word(hostd: Hostd, backend: Backend) -> None:
    script = """
        trap 'sleep 0.3; exit' TERM
        echo boot >>$MOORAGE_STATE/boots; cat $MOORAGE_STATE/boots
        while :; do sleep 0.02; done"""
    server = await boot(hostd, backend, script)
    await printed(hostd, server.provider_id, "boot\n")
    for action in ("stop", "start"):
        assert (await hostd.call("POST", f"servers/{server.provider_id}/{action}"))[0] == 202
    await printed(hostd, server.provider_id, "boot\nboot\n")
    await in_state(backend, server.provider_id, ServerState.RUNNING)


async def test_a_server_whose_programs_have_ended_still_runs(hostd: Hostd, backend: Backend) -> None:
    server = await boot(hostd, backend, "echo done; exit 3")
    await printed(hostd, server.provider_id, "done\n")

    async def empty() -> bool:
        return tree(server.provider_id) == []

    await until(empty, "the end of the program")
    assert (await backend.get(server.provider_id)).state is ServerState.RUNNING


async def test_a_server_whose_supervisor_is_killed_has_failed_and_leaves_nothing(
    hostd: Hostd, backend: Backend
) -> None:
    server = await boot(hostd, backend, STUBBORN)
    assert hostd.running is not None
    guests = hostd.running.service.driver._guests  # type: ignore[attr-defined]
    os.kill(guests[server.provider_id].pid, signal.SIGKILL)
    assert "killed" in (await in_state(backend, server.provider_id, ServerState.FAILED)).message
    await backend.delete(server.provider_id)
    await is_gone(backend, server.provider_id)
    assert tree(server.provider_id) == []


async def test_the_console_keeps_its_end_only(hostd: Hostd, backend: Backend) -> None:
    server = await boot(hostd, backend, "head -c 3000000 /dev/zero | tr '\\0' x; echo; echo the end")
    console = await printed(hostd, server.provider_id, "the end\n")
    assert len(console) <= 64 * 1024
    directory = hostd.options["data"] / "servers" / server.provider_id
    assert sum(path.stat().st_size for path in directory.glob("console.log*")) <= 300_000


async def test_a_script_may_name_any_interpreter(hostd: Hostd, backend: Backend) -> None:
    made = await backend.create(hostd.request(user_data="#!/usr/bin/env python3\nprint('from', 'python')\n"))
    await printed(hostd, made.provider_id, "from python\n")
    made = await backend.create(hostd.request(user_data="#!/no/such/interpreter\n"))
    await printed(hostd, made.provider_id, "cannot run the user-data")


@pytest.mark.parametrize("user_data", ["#cloud-config\n{}\n", "echo no shebang", "#!/bin/sh\n\0"])
async def test_user_data_that_cannot_be_run_is_refused(hostd: Hostd, backend: Backend, user_data: str) -> None:
    with pytest.raises(Invalid) as caught:
        await backend.create(hostd.request(user_data=user_data))
    assert caught.value.field == "userData"


async def test_settings_of_simulation_are_refused(hostd: Hostd, backend: Backend) -> None:
    with pytest.raises(Invalid) as caught:
        await backend.create(hostd.request(settings={"simulate": {}}))
    assert caught.value.field == "settings.simulate"


async def test_the_boot_delay_passes_before_the_user_data_runs(hostd: Hostd, backend: Backend) -> None:
    made = await backend.create(hostd.request(settings={"bootDelay": "1h"}))
    assert (await backend.get(made.provider_id)).state is ServerState.PENDING
    await backend.delete(made.provider_id)
    await is_gone(backend, made.provider_id)


async def test_addresses_are_the_servers_own(hostd: Hostd, backend: Backend) -> None:
    servers = [await boot(hostd, backend, "true") for _ in range(3)]
    addresses = {server.addresses[0].address for server in servers}
    assert len(addresses) == 3
    assert all(address.startswith("127.") for address in addresses)


async def test_only_the_token_opens_the_api(tmp_path: Path) -> None:
    hostd = Hostd(tmp_path / "hostd", token="the-right-one", simulate=True)
    await hostd.start()
    try:
        await hostd.open().account()
        for token in ("canary", "the-right-one2"):
            with pytest.raises(AuthenticationError) as caught:
                await hostd.open(token=token).account()
            assert token not in str(caught.value)
        hostd.options["token"] = None
        for path in ("account", "ledger", "faults", "stats", "servers", "nowhere"):
            status, answer = await hostd.call("GET", path)
            assert (status, answer["reason"]) == (401, "Unauthorized")
    finally:
        await hostd.stop()


@pytest.mark.parametrize("header", ["Origin", "Sec-Fetch-Site"])
async def test_a_web_page_can_do_nothing(tmp_path: Path, header: str) -> None:
    hostd = Hostd(tmp_path / "hostd", simulate=True)
    await hostd.start()
    try:
        async with (
            aiohttp.ClientSession(headers={header: "null"}) as session,
            session.put(f"{hostd.url}/v1/faults", data="{}") as answer,
        ):
            assert answer.status == 403
    finally:
        await hostd.stop()


async def test_a_name_that_was_made_to_point_here_is_not_served(tmp_path: Path) -> None:
    hostd = Hostd(tmp_path / "hostd", simulate=True)
    await hostd.start()
    port = hostd.url.rpartition(":")[2]
    try:
        async with aiohttp.ClientSession() as session:
            for host, status in ((f"evil.example:{port}", 403), (f"localhost:{port}", 200), (f"127.0.0.1:{port}", 200)):
                async with session.get(f"{hostd.url}/v1/servers", headers={"Host": host}) as answer:
                    assert answer.status == status, host
    finally:
        await hostd.stop()


def test_a_directory_of_another_user_is_not_used(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: tmp_path.stat().st_uid + 1)
    with pytest.raises(ConfigError, match="belongs to another user"):
        Home(tmp_path)
