"""A hostd for tests, with its faults and its ledger at hand, and how to open a backend on it."""

from __future__ import annotations

import asyncio
import itertools
import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import aiohttp

from moorage.hostd.app import Running, run
from moorage.hostd.config import Config, SimulateConfig
from moorage.hosting.contract import Backend, CreateRequest, ServerRecord, ServerState, identity_key, identity_tags
from moorage.hosting.errors import NotFound
from moorage.hosting.local import LocalBackend
from moorage.hosting.registry import backend

DEADLINE = 30.0
CONTROLS = ("faults", "ledger", "stats")
"""What is served for the token itself, also by a hostd with sessions."""


async def until(probe: Callable[[], Awaitable[Any]], what: str = "it", deadline: float = DEADLINE) -> Any:
    """The first true answer of `probe`. Raises AssertionError after the deadline."""
    end = time.monotonic() + deadline
    while True:
        answer = await probe()
        if answer:
            return answer
        assert time.monotonic() < end, f"{what} did not happen in time"
        await asyncio.sleep(0.01)


@dataclass(frozen=True)
class Spec:
    """The part of a HostingService's spec that a backend sees."""

    endpoint: str | None
    region: str = ""
    project: str | None = None
    settings: Mapping[str, Any] = field(default_factory=dict)


class Hostd:
    """A hostd in this process, and its control."""

    def __init__(self, data: Path, *, simulate: bool = False, **options: Any) -> None:
        self.simulate = simulate
        self.options: dict[str, Any] = {"data": data, "ephemeral": not simulate, **options}
        if simulate:
            self.options.setdefault("simulate", SimulateConfig(boot_time=0.02))
        self.running: Running | None = None
        self._backends: list[LocalBackend] = []
        self._numbers = itertools.count(1)
        self._session = ""

    @property
    def url(self) -> str:
        """Where it serves."""
        assert self.running is not None
        return self.running.url

    async def start(self) -> None:
        """Start it, again on the same port where it ran before."""
        self.running = await run(Config(**self.options))
        self.options["port"] = int(self.url.rpartition(":")[2])

    async def stop(self) -> None:
        """Stop it, and close what was opened on it."""
        for opened in self._backends:
            await opened.close()
        self._backends.clear()
        if self.running is not None:
            await self.running.stop()
            self.running = None

    def open(self, token: str | None = None, region: str = "", **settings: Any) -> LocalBackend:
        """A backend on it, through the registry."""
        token = token if token is not None else self.options.get("token")
        credentials = {"token": token.encode()} if token is not None else {}
        opened = backend("local").open(Spec(self.url, region=region, settings=settings), credentials)
        assert isinstance(opened, LocalBackend)
        self._backends.append(opened)
        return opened

    def request(self, installation: str = "inst", **changes: Any) -> CreateRequest:
        """A request of another server than any before."""
        uid = f"uid-{next(self._numbers)}"
        values: dict[str, Any] = {
            "key": identity_key(installation, uid),
            "name": f"server-{uid}",
            "image": "process/shell",
            "offering": "small",
            "user_data": "#!/bin/sh\necho booted\n",
            "tags": identity_tags(installation, "shop", "service-uid", uid),
        }
        return CreateRequest(**{**values, **changes})

    async def call(self, method: str, path: str, body: Any = None) -> Any:
        """A call of its API by hand; the answer as (status, JSON)."""
        if not self.options.get("session_length") or path in CONTROLS:
            return await self._call(method, path, body, self.options.get("token"))
        answer = await self._call(method, path, body, self._session or self.options["token"])
        if answer[1].get("reason") != "SessionRequired":
            return answer
        _, session = await self._call("POST", "session", None, self.options["token"])
        self._session = session["token"]
        return await self._call(method, path, body, self._session)

    async def _call(self, method: str, path: str, body: Any, token: str | None) -> Any:
        headers = {"Authorization": f"Bearer {token}"} if token else {}
        async with (
            aiohttp.ClientSession(headers=headers) as session,
            session.request(method, f"{self.url}/v1/{path}", json=body) as answer,
        ):
            return answer.status, await answer.json()

    async def faults(self, **faults: Any) -> None:
        """Replace its faults; without any: none."""
        status, answer = await self.call("PUT", "faults", faults)
        assert status == 200, answer

    async def ledger(self, event: str = "Created") -> list[str]:
        """The ids of the ledger's entries of this kind."""
        _, answer = await self.call("GET", "ledger")
        return [entry["id"] for entry in answer["items"] if entry["event"] == event]


async def in_state(service: Backend, provider_id: str, state: ServerState) -> ServerRecord:
    """Wait until the server is in the state."""

    async def probe() -> ServerRecord | None:
        record = await service.get(provider_id)
        return record if record.state is state else None

    found: ServerRecord = await until(probe, f"{provider_id} {state}")
    return found


async def is_gone(service: Backend, provider_id: str) -> None:
    """Wait until the service knows the server no more."""

    async def probe() -> bool:
        try:
            await service.get(provider_id)
        except NotFound:
            return True
        return False

    await until(probe, f"{provider_id} gone")
