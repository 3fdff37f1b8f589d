"""The contract's suite over this backend: what `pip install moorage[testing]` brings."""

from __future__ import annotations

import itertools
from collections.abc import AsyncIterator, Mapping, Sequence
from typing import Any

import pytest_asyncio
from aiohttp import web
from toycloud import Toycloud

from moorage.hosting.contract import Backend
from moorage.testing import BackendContract, Faults, Made, ServiceUnderTest

TOKEN = "the-token-of-the-toycloud"


class ToycloudFaults(Faults):
    """What the service can be told to do wrong. What is left out here has its reason in `why`, for the report."""

    why: Mapping[str, str] = {
        "lag": "its lists show what is there",
        "expire": "its tokens have no end",
        "skew": "its protocol knows no time",
        "restart": "it keeps nothing over its end",
        "no_room_to_grow": "machines keep their size",
    }

    def __init__(self, cloud: Toycloud) -> None:
        self._cloud = cloud

    async def clear(self) -> None:
        self._cloud.room = self._cloud.limit = self._cloud.throttle = None
        self._cloud.throttling = self._cloud.breaks = False
        self._cloud.token = TOKEN

    async def capacity(self, servers: int) -> None:
        self._cloud.room = servers

    async def quota(self, servers: int) -> None:
        self._cloud.limit = servers

    async def throttle(self, retry_after: float | None) -> None:
        self._cloud.throttling, self._cloud.throttle = True, retry_after

    async def revoke(self) -> None:
        self._cloud.token = "another"

    async def vanish(self, provider_id: str) -> None:
        del self._cloud.machines[int(provider_id)]

    async def boot_fails(self) -> None:
        self._cloud.breaks = True


class ToycloudService(ServiceUnderTest):
    """A Toycloud in this process."""

    type = "toycloud"
    image, offering, other_offering = "toy-linux", "s", "m"
    credentials: Mapping[str, bytes] = {"token": TOKEN.encode()}
    wrong_credentials = ({}, {"token": b"wrong"})
    unknown_id = "999999"
    console_says = "toy up"
    hasty = 0.3

    def __init__(self) -> None:
        super().__init__()
        self._numbers_of_services = itertools.count(1)
        self._runners: list[web.AppRunner] = []
        self.cloud = Toycloud("account-0", TOKEN)
        self.faults = ToycloudFaults(self.cloud)

    async def begin(self) -> None:
        self.endpoint = await self._serve(self.cloud)

    async def end(self) -> None:
        for runner in self._runners:
            await runner.cleanup()
        await self.cloud.settle()

    async def _serve(self, cloud: Toycloud) -> str:
        runner = web.AppRunner(cloud.application())
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        self._runners.append(runner)
        return f"http://127.0.0.1:{runner.addresses[0][1]}"

    async def elsewhere(self) -> Backend:
        number = next(self._numbers_of_services)
        return self.open(endpoint=await self._serve(Toycloud(f"account-{number}", TOKEN)))

    async def ledger(self) -> list[Made]:
        return [
            Made(str(machine.id), machine.body["name"] if "moorage-request" in machine.body["labels"] else None)
            for machine in self.cloud.made
        ]

    async def foreign(self) -> str:
        body: dict[str, Any] = {"name": "somebody-elses", "image": self.image, "size": "s", "labels": {}}
        return str(self.cloud.create(body).id)

    async def remove_all(self) -> None:
        self.cloud.machines.clear()

    def invalid_requests(self) -> Sequence[tuple[Mapping[str, Any], str]]:
        return [
            *super().invalid_requests(),
            ({"settings": {"rack": 0}}, "settings.rack"),
            ({"settings": {"rak": 1}}, "settings.rak"),
        ]

    def invalid_specs(self) -> Sequence[tuple[Mapping[str, Any], str]]:
        return [({"endpoint": "ftp://127.0.0.1"}, "endpoint"), ({"pageSize": 0}, "settings.pageSize")]


class TestToycloud(BackendContract):
    """Everything that Moorage asks of a backend."""

    @pytest_asyncio.fixture
    async def service(self) -> AsyncIterator[ToycloudService]:
        """An empty Toycloud."""
        async with ToycloudService() as service:
            yield service
