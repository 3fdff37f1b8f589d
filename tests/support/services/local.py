"""hostd for the contract's suite: real processes, or simulated servers, or as a daemon that can be killed."""

from __future__ import annotations

import asyncio
import contextlib
import json
import signal
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from tests.support.hostd import Hostd

from moorage.hosting.contract import Backend, CreateRequest
from moorage.testing.service import INSTALLATION, Faults, Made, ServiceUnderTest

TOKEN = "the-token-of-this-hostd"
ADDRESS = "192.0.2.10"
SESSION_LENGTH = 900.0
TALKATIVE = "#!/bin/sh\nprintf '\\033[1mboo\\033[0mted\\r\\nbooted\\r\\n'\n"


class LocalFaults(Faults):
    """What hostd does wrong through its own faults."""

    why: Mapping[str, str] = {
        "project_gone": "hostd has no projects",
        "expire": "this hostd takes its bearer token itself; the simulated one has sessions",
        "restart": "this hostd runs in the tests' own process; the one that can be killed has tests of its own",
    }

    def __init__(self, service: LocalService) -> None:
        self._service = service

    async def clear(self) -> None:
        await self._service.hostd.faults()

    async def capacity(self, servers: int) -> None:
        await self._service.hostd.faults(capacity=servers)

    async def quota(self, servers: int) -> None:
        await self._service.hostd.faults(quota=servers)

    async def throttle(self, retry_after: float | None) -> None:
        throttle: dict[str, Any] = {"requestsPerSecond": 0.001, "burst": 1, "retryAfter": retry_after or 0}
        await self._service.hostd.faults(throttle=throttle)
        # The bucket has one token: it is taken here.
        await self._service.hostd.call("GET", "account")

    async def lag(self, seconds: float) -> None:
        await self._service.hostd.faults(listingLag=seconds)

    async def revoke(self) -> None:
        await self._service.hostd.faults(revoked=True)

    async def vanish(self, provider_id: str) -> None:
        await self._service.hostd.faults(vanish=[provider_id])

    async def boot_fails(self) -> None:
        await self._service.hostd.faults(bootFail=True)

    async def skew(self, seconds: float) -> None:
        await self._service.hostd.faults(skew=seconds)

    async def no_room_to_grow(self) -> None:
        await self._service.hostd.faults(noRoomToGrow=True)


class SessionFaults(LocalFaults):
    """And the sessions that it gives can end."""

    async def expire(self) -> None:
        await self._service.hostd.faults(expireSessions=True)


class LocalService(ServiceUnderTest):
    """A hostd in this process."""

    type = "local"
    silence = "moorage.hosting.local.extras:SILENCE"
    image = "process/shell"
    offering = "small"
    other_offering = "medium"
    unknown_id = "i-0123456789abcdef"
    public_address = ADDRESS
    hasty = 0.5
    wrong_credentials = ({}, {"token": b"another"}, {"token": b""}, {"tokn": b"x"})

    def __init__(self, data: Path, *, simulate: bool = False) -> None:
        super().__init__()
        self._data = data
        self._simulate = simulate
        self.hostd = self._daemon(data / "hostd")
        self._others: list[Hostd] = []
        self.credentials = {"token": TOKEN.encode()}
        self.faults = LocalFaults(self)
        self.console_says = None if simulate else "booted"

    def _daemon(self, data: Path) -> Hostd:
        return Hostd(data, simulate=self._simulate, token=TOKEN, region="here", addresses=(ADDRESS,))

    def request(self, installation: str = INSTALLATION, **changes: Any) -> CreateRequest:
        return super().request(installation, **{"user_data": TALKATIVE, **changes})

    async def begin(self) -> None:
        await self.hostd.start()
        self.endpoint = self.hostd.url

    async def end(self) -> None:
        for hostd in [self.hostd, *self._others]:
            await hostd.stop()

    async def elsewhere(self) -> Backend | None:
        other = Hostd(self._data / "other", simulate=self._simulate, token=TOKEN)
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
        while True:
            _, answer = await self.hostd.call("GET", "servers")
            if not answer["items"]:
                return
            for server in answer["items"]:
                await self.hostd.call("DELETE", f"servers/{server['id']}")
            await asyncio.sleep(0.02)

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


class SessionService(LocalService):
    """A hostd with simulated servers, that takes sessions in place of its token."""

    def __init__(self, data: Path) -> None:
        super().__init__(data, simulate=True)
        self.faults = SessionFaults(self)

    def _daemon(self, data: Path) -> Hostd:
        return Hostd(
            data, simulate=True, token=TOKEN, region="here", addresses=(ADDRESS,), session_length=SESSION_LENGTH
        )


class Daemon(Hostd):
    """A hostd in a process of its own, that is killed instead of stopped."""

    _process: asyncio.subprocess.Process | None = None
    _url = ""

    @property
    def url(self) -> str:
        return self._url

    async def start(self) -> None:
        data, token = self.options["data"], Path(f"{self.options['data']}.token")
        await asyncio.to_thread(token.write_text, TOKEN)
        argv = ["--data", f"{data}", "--token-file", f"{token}", "--region", "here"]
        argv += ["--port", f"{self.options.get('port', 0)}"]
        self._process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "moorage.hostd", *argv, stdout=asyncio.subprocess.PIPE
        )
        assert self._process.stdout is not None
        self._url = str(json.loads(await self._process.stdout.readline())["url"])
        self.options["port"] = int(self._url.rpartition(":")[2])

    def signal(self, number: signal.Signals) -> None:
        """Send it a signal."""
        assert self._process is not None
        self._process.send_signal(number)

    async def kill(self) -> None:
        """SIGKILL."""
        if self._process is not None:
            with contextlib.suppress(ProcessLookupError):
                self._process.kill()
            await self._process.wait()


class ForgetfulHostd(Hostd):
    """A hostd that makes another server of every request, as services without idempotency do."""

    async def faults(self, **faults: Any) -> None:
        await super().faults(ignoreKeys=True, **faults)


class ForgetfulService(LocalService):
    """A service whose creations must not be repeated."""

    settings: Mapping[str, Any] = {"idempotentCreate": False}
    hasty = 0.1

    def _daemon(self, data: Path) -> Hostd:
        return ForgetfulHostd(data, simulate=True, token=TOKEN, region="here")

    async def begin(self) -> None:
        await super().begin()
        await self.faults.clear()


class KillableFaults(LocalFaults):
    """And it can be stopped in its tracks, and killed."""

    async def clear(self) -> None:
        self._daemon().signal(signal.SIGCONT)
        await super().clear()

    async def hang(self) -> None:
        self._daemon().signal(signal.SIGSTOP)

    async def restart(self) -> None:
        hostd = self._daemon()
        await hostd.kill()
        await hostd.start()

    def _daemon(self) -> Daemon:
        hostd = self._service.hostd
        assert isinstance(hostd, Daemon)
        return hostd


class KillableService(LocalService):
    """A hostd whose servers outlive it."""

    def __init__(self, data: Path) -> None:
        super().__init__(data)
        self.faults = KillableFaults(self)

    def _daemon(self, data: Path) -> Hostd:
        return Daemon(data, token=TOKEN)

    async def end(self) -> None:
        await self.faults.clear()
        await self.remove_all()
        assert isinstance(self.hostd, Daemon)
        await self.hostd.kill()
