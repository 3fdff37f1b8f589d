"""The bed `hetzner`, for the contract's suite."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping
from typing import Any
from urllib.request import Request, urlopen

from moorage.hosting.contract import Backend
from moorage.testbed import Running
from moorage.testing.service import Faults, Made, ServiceUnderTest


class Control:
    """The switches of the bed, and what it tells of itself."""

    def __init__(self, running: Running) -> None:
        self._url = running.extra["control"]

    def call(self, method: str, path: str, body: Any = None) -> Any:
        """One call of the control API."""
        data = None if body is None else json.dumps(body).encode()
        with urlopen(Request(f"{self._url}/{path}", data=data, method=method), timeout=60) as answer:
            return json.loads(answer.read())

    async def do(self, verb: str, **body: Any) -> Any:
        """Tell it something."""
        return await asyncio.to_thread(self.call, "POST", verb, body)


WHY = {
    "project_gone": "a project that is gone takes its tokens along: as if they were revoked",
    "expire": "a token is no session: it is good until it is revoked",
    "skew": "nothing in the protocol bears a time",
    "restart": "the simulator keeps everything in memory",
}


class HetznerFaults(Faults):
    """The simulator's own."""

    why = WHY

    def __init__(self, control: Control) -> None:
        self._control = control

    async def clear(self) -> None:
        await self._control.do("faults")

    async def capacity(self, servers: int) -> None:
        await self._control.do("faults", capacity=servers)

    async def quota(self, servers: int) -> None:
        await self._control.do("faults", quota=servers)

    async def throttle(self, retry_after: float | None) -> None:
        await self._control.do("faults", throttled=True, throttle=retry_after)

    async def lag(self, seconds: float) -> None:
        await self._control.do("faults", lag=seconds)

    async def revoke(self) -> None:
        await self._control.do("faults", revoked=True)

    async def vanish(self, provider_id: str) -> None:
        await self._control.do("vanish", id=int(provider_id))

    async def boot_fails(self) -> None:
        await self._control.do("faults", boot_fails=True)


class HetznerService(ServiceUnderTest):
    """The main project of the simulated cloud."""

    type = "hetzner"
    unknown_id = "4711"
    other_offering = "cpx32"
    volume_gib = 10
    most_bytes = 20 * 1024 * 1024

    def __init__(self, running: Running) -> None:
        super().__init__()
        self.running = running
        self.control = Control(running)
        self.faults = HetznerFaults(self.control)
        self.endpoint, self.region = running.endpoint, running.region
        self.credentials = {"token": running.credentials["token"].encode()}
        # The simulator's lists are as new as can be, unless a test lets them be late.
        self.settings = {"listingLag": "0s"}
        self.image, self.offering = running.image, running.offering
        self.wrong_credentials = ({}, {"token": b""}, {"token": b"of-nobody"})
        self._began = 0

    def invalid_requests(self) -> list[tuple[dict[str, Any], str]]:
        """Refused by the service, but for the last six."""
        return [
            ({"image": "no-such"}, "image"),
            ({"image": "114690389"}, "image"),  # of another architecture
            ({"offering": "no-such"}, "offering"),
            ({"offering": "cpx11"}, "offering"),  # withdrawn
            ({"settings": {"networks": [1]}}, "settings.networks"),
            ({"settings": {"firewalls": [1]}}, "settings.firewalls"),
            ({"settings": {"sshKeys": ["no-such"]}}, "settings.sshKeys"),
            ({"settings": {"placementGroup": 1}}, "settings.placementGroup"),
            ({"settings": {"publicIPv4": False, "publicIPv6": False}}, "settings.networks"),
            ({"settings": {"nonsense": 1}}, "settings.nonsense"),
            ({"user_data": "x" * 32769}, "userData"),
            ({"tags": {"t": "x" * 64}}, "tags.t"),
            ({"name": "Not a name"}, "name"),
            ({"key": "no key"}, "key"),
        ]

    def invalid_specs(self) -> list[tuple[dict[str, Any], str]]:
        """Refused by `open`, but for the first."""
        return [
            ({"region": "mars1"}, "region"),
            ({"endpoint": "ftp://127.0.0.1"}, "endpoint"),
            ({"pageSize": 51}, "settings.pageSize"),
            ({"caBundle": "x"}, "settings.caBundle"),
        ]

    async def elsewhere(self) -> Backend:
        """Another project at the same address."""
        return self.open(credentials=await self.another_account())

    async def another_account(self) -> Mapping[str, bytes]:
        """Credentials of it."""
        return {"token": self.running.extra["otherToken"].encode()}

    async def begin(self) -> None:
        """An empty project, and the ledger from here on."""
        await self.remove_all()
        self._began = len(await self._made())

    async def ledger(self) -> list[Made]:
        """The simulator's."""
        return [Made(str(each["id"]), each["key"]) for each in (await self._made())[self._began :]]

    async def _made(self) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = (await asyncio.to_thread(self.control.call, "GET", "ledger"))["servers"]
        return found

    async def foreign(self) -> str:
        """A server as somebody makes one by hand."""
        name = f"by-hand-{len(await self._made())}"
        made = await self.control.do("create", name=name, server_type=self.offering, image=self.image)
        return str(made["id"])

    async def remove_all(self) -> None:
        """As if all had been deleted a while ago; faults end too."""
        await self.control.do("reset")
