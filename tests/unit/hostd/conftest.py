"""A hostd in a process of its own, which can be killed."""

from __future__ import annotations

import asyncio
import json
import multiprocessing
import os
import shutil
import signal
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from tests.support.hostd import until

from moorage.hostd.__main__ import main
from moorage.hostd.crashpoints import arm
from moorage.hostd.process import procfs
from moorage.hostd.process.driver import MARK

PROCESSES = multiprocessing.get_context("forkserver")
"""Forks from a process that has imported hostd already: a start takes milliseconds."""
PROCESSES.set_forkserver_preload(["moorage.hostd.__main__"])


def run_program(options: list[str], crash: str) -> None:
    """The body of the process: `python -m moorage.hostd`."""
    arm(crash)
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
    sys.exit(main(options))


class Program:
    """hostd on one data directory, over any number of lives."""

    def __init__(self, data: Path) -> None:
        self.data = data
        self.process: multiprocessing.process.BaseProcess | None = None
        self.url = ""

    async def start(self, *options: str, crash: str = "") -> None:
        """Start it, to die at a crash point or not, and wait until it serves or has ended."""
        announced = self.data / "address.json"
        announced.unlink(missing_ok=True)
        self.process = PROCESSES.Process(
            target=run_program, args=(["--data", str(self.data), "--no-token", *options], crash)
        )
        await asyncio.to_thread(self.process.start)

        async def serves() -> bool:
            assert self.process is not None
            return announced.exists() or not self.process.is_alive()

        await until(serves, "hostd's start")
        if announced.exists():
            self.url = json.loads(announced.read_text())["url"]

    async def kill(self, number: signal.Signals = signal.SIGKILL) -> int:
        """End it."""
        assert self.process is not None
        if self.process.is_alive():
            assert self.process.pid is not None
            os.kill(self.process.pid, number)
        return await self.ended()

    async def ended(self) -> int:
        """Wait for its end; the exit code."""
        assert self.process is not None
        await asyncio.to_thread(self.process.join, 30)
        assert self.process.exitcode is not None
        return self.process.exitcode

    async def call(self, method: str, path: str, body: Any = None) -> tuple[int, Any]:
        """A call of its API. Raises aiohttp.ClientError where it dies meanwhile."""
        async with (
            aiohttp.ClientSession() as session,
            session.request(method, f"{self.url}/v1/{path}", json=body) as answer,
        ):
            return answer.status, await answer.json()

    async def create(self, key: str = "k", script: str = "", **more: Any) -> Any:
        """Create a server."""
        body = {"key": key, "name": f"n-{key}", "image": "process/shell", "offering": "small", **more}
        return await self.call("POST", "servers", {**body, "userData": f"#!/bin/sh\n{script}\n"})

    async def servers(self) -> list[Any]:
        """All servers."""
        _, page = await self.call("GET", "servers")
        items: list[Any] = page["items"]
        return items

    async def ledger(self, event: str) -> list[str]:
        """The ids of the ledger's entries of this kind."""
        _, answer = await self.call("GET", "ledger")
        return [entry["id"] for entry in answer["items"] if entry["event"] == event]

    def directory(self, server_id: str) -> Path:
        """The directory of a server."""
        return self.data / "servers" / server_id

    def processes(self) -> list[int]:
        """Everything that runs for any of its servers, supervisors included."""
        mark = f"{self.data}/servers/".encode()
        found = []
        for entry in Path("/proc").iterdir():
            if not entry.name.isdigit():
                continue
            try:
                ours = mark in (entry / "cmdline").read_bytes() or mark in (entry / "environ").read_bytes()
            except OSError:
                continue
            if ours and procfs.start_time(int(entry.name)) is not None:
                found.append(int(entry.name))
        return found

    def guests(self, server_id: str) -> list[int]:
        """What runs in one server."""
        return [pid for pid, _ in procfs.marked(f"{MARK}={server_id}")]


@pytest.fixture
async def program(tmp_path: Path) -> AsyncIterator[Program]:
    """A hostd that is not yet started; whatever it leaves is ended."""
    made = Program(tmp_path / "hostd")
    yield made
    if made.process is not None and made.process.is_alive():
        await made.kill()
    for pid in made.processes():
        try:
            os.kill(pid, signal.SIGKILL)
        except ProcessLookupError:
            continue
    shutil.rmtree(made.data, ignore_errors=True)
