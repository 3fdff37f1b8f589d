"""hostd for the contract's suite: real processes, or simulated servers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from tests.support.hostd import Hostd

from moorage.hosting.contract import Backend
from moorage.testing.service import Faults, Made, ServiceUnderTest

TOKEN = "the-token-of-this-hostd"


class LocalFaults(Faults):
    """What hostd does wrong through its own faults."""

    def __init__(self, service: LocalService) -> None:
        self._service = service

    async def clear(self) -> None:
        await self._service.hostd.faults()

    async def capacity(self, servers: int) -> None:
        await self._service.hostd.faults(capacity=servers)

    async def throttle(self, retry_after: float | None) -> None:
        throttle: dict[str, Any] = {"requestsPerSecond": 0.001, "burst": 1, "retryAfter": retry_after or 0}
        await self._service.hostd.faults(throttle=throttle)
        # The bucket has one token: it is taken here.
        await self._service.hostd.call("GET", "account")

    async def lag(self, seconds: float) -> None:
        await self._service.hostd.faults(listingLag=seconds)

    async def vanish(self, provider_id: str) -> None:
        await self._service.hostd.faults(vanish=[provider_id])

    async def boot_fails(self) -> None:
        await self._service.hostd.faults(bootFail=True)


class LocalService(ServiceUnderTest):
    """A hostd in this process."""

    type = "local"
    image = "process/shell"
    offering = "small"
    other_offering = "medium"
    unknown_id = "i-0123456789abcdef"
    wrong_credentials = ({}, {"token": b"another"}, {"token": b""}, {"tokn": b"x"})

    def __init__(self, data: Path, *, simulate: bool) -> None:
        super().__init__()
        self._data = data
        self.simulate = simulate
        self.hostd = Hostd(data / "hostd", simulate=simulate, token=TOKEN, region="here")
        self._others: list[Hostd] = []
        self.credentials = {"token": TOKEN.encode()}
        self.faults = LocalFaults(self)
        self.console_says = None if simulate else "booted"

    async def begin(self) -> None:
        await self.hostd.start()
        self.endpoint = self.hostd.url

    async def end(self) -> None:
        for hostd in [self.hostd, *self._others]:
            await hostd.stop()

    async def elsewhere(self) -> Backend:
        other = Hostd(self._data / "other", simulate=self.simulate, token=TOKEN)
        self._others.append(other)
        await other.start()
        return self.open(endpoint=other.url)

    async def ledger(self) -> list[Made]:
        _, answer = await self.hostd.call("GET", "ledger")
        return [Made(entry["id"], entry["key"]) for entry in answer["items"] if entry["event"] == "Created"]

    async def foreign(self) -> str:
        body = {"key": "someone-elses", "name": "foreign", "image": self.image, "offering": self.offering}
        _, answer = await self.hostd.call("POST", "servers", body)
        return str(answer["id"])

    async def remove_all(self) -> None:
        _, answer = await self.hostd.call("GET", "servers")
        for server in answer["items"]:
            await self.hostd.call("DELETE", f"servers/{server['id']}")

    def invalid_requests(self) -> Sequence[tuple[Mapping[str, Any], str]]:
        return [
            *super().invalid_requests(),
            ({"name": "Not A Name"}, "name"),
            ({"key": "no key"}, "key"),
            ({"settings": {"bootDelay": "soon"}}, "settings.bootDelay"),
            ({"settings": {"nonsense": 1}}, "settings.nonsense"),
            ({"settings": {"environment": {"A=B": "c"}}}, "settings.environment.A=B.[key]"),
            ({"user_data": "x" * 20000}, "userData"),
            ({"tags": {"t": "x" * 300}}, "tags.t"),
        ]

    def invalid_specs(self) -> Sequence[tuple[Mapping[str, Any], str]]:
        return [
            ({"region": "elsewhere"}, "region"),
            ({"endpoint": "ftp://127.0.0.1"}, "endpoint"),
            ({"pageSize": 0}, "settings.pageSize"),
            ({"nonsense": True}, "settings.nonsense"),
            ({"caBundle": "no PEM"}, "settings.caBundle"),
        ]
