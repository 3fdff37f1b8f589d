"""A real libvirtd with QEMU, for the contract's suite."""

from __future__ import annotations

import asyncio
import itertools
import json
import os
import signal
import subprocess
import time
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, TypeVar

import libvirt

from moorage.hosting.libvirt.connection import run_events
from moorage.testbed import Running
from moorage.testbed.daemons import Daemons
from moorage.testbed.libvirt import CLIENT, define_network, start
from moorage.testing.service import Faults, Made, ServiceUnderTest

T = TypeVar("T")
_numbers = itertools.count(1)
MIB = 1024 * 1024
TINY, SMALL = 128, 160
"""MiB of the bed's offerings."""
FILLER = "filler"
BROKEN = "broken.qcow2"

WHY = {
    "quota": "libvirt knows no accounts, and so no quotas",
    "throttle": "libvirt refuses nobody for a rate",
    "lag": "libvirt's lists are consistent",
    "project_gone": "libvirt knows no projects",
    "expire": "a client certificate is not a session",
    "skew": "nothing in the protocol is signed with a time",
}


class LibvirtFaults(Faults):
    """What can be done to the daemon and its files; nothing of it is a simulation."""

    why = WHY

    def __init__(self, service: LibvirtService) -> None:
        self._service = service
        self._revoked = False

    async def clear(self) -> None:
        await self._service.do(self._service.stopped, False)
        self._service.image = self._service.running.image
        if self._revoked:
            await self._service.do(self._service.admit, CLIENT)
            self._revoked = False

    async def capacity(self, servers: int) -> None:
        await self._service.do(self._service.fill, servers * TINY)

    async def revoke(self) -> None:
        self._revoked = True
        await self._service.do(self._service.admit, "nobody")

    async def vanish(self, provider_id: str) -> None:
        await self._service.do(self._service.remove, provider_id)

    async def boot_fails(self) -> None:
        self._service.image = await self._service.do(self._service.broken_image)

    async def no_room_to_grow(self) -> None:
        await self._service.do(self._service.fill, SMALL - TINY - 1)

    async def hang(self) -> None:
        await self._service.do(self._service.stopped, True)

    async def restart(self) -> None:
        await self._service.do(self._service.restart)


class LibvirtService(ServiceUnderTest):
    """The bed's daemon."""

    type = "libvirt"
    http = False
    few = 2
    shows_addresses = False
    console_says = "booted"
    other_offering = "small"
    unknown_id = str(uuid.UUID(int=1))

    def __init__(self, running: Running) -> None:
        super().__init__()
        self.running = running
        self.endpoint = running.endpoint
        # So that libvirt itself refuses it.
        self.settings = {**running.settings, "nics": [{"type": "network", "name": "no-such-network"}]}
        self.credentials = {name: value.encode() for name, value in running.credentials.items()}
        self.image, self.offering = running.image, running.offering
        self.state = Path(running.extra["state"])
        self.daemons = Daemons(self.state / "daemons")
        self.faults = LibvirtFaults(self)
        self.wrong_credentials = (
            {},
            {**self.credentials, "tls.key": b"no key"},
            self.secret("stranger"),
            self.secret("expired"),
        )
        self._conn: Any = None
        self._ledger: dict[str, Made] = {}

    def secret(self, name: str) -> dict[str, bytes]:
        """Credentials of the bed that are refused."""
        return {key: value.encode() for key, value in json.loads(self.running.extra[name]).items()}

    def small_pages(self, size: int) -> dict[str, Any] | None:
        """libvirt has no pages."""
        return None

    def lagging(self, seconds: float) -> dict[str, Any]:
        """libvirt's lists are never late."""
        return {}

    def invalid_requests(self) -> Sequence[tuple[Mapping[str, Any], str]]:
        """What the backend or the daemon finds wrong with a request."""
        return [
            *super().invalid_requests(),
            ({"settings": {"nic": {"type": "network", "name": "no-such-network"}}}, "settings.nic"),
            ({"settings": {"nic": {"type": "wire"}}}, "settings.nic.type"),
            ({"settings": {"nonsense": 1}}, "settings.nonsense"),
            ({"user_data": "x" * (256 * 1024 + 1)}, "userData"),
            ({"name": "bell \a"}, "name"),
            ({"tags": {"bell": "\a"}}, "tags"),
        ]

    def invalid_specs(self) -> Sequence[tuple[Mapping[str, Any], str]]:
        """What is refused of a HostingService."""
        return [
            ({"region": "north"}, "region"),
            ({"endpoint": "https://127.0.0.1"}, "endpoint"),
            ({"endpoint": "qemu+tls://127.0.0.1/system?no_verify=1"}, "endpoint"),
            ({"endpoint": "qemu+ssh://127.0.0.1/system?command=/bin/true"}, "endpoint"),
            ({"pool": "images"}, "settings.pool"),
            ({"sizes": [{"name": "x"}]}, "settings.sizes.0.cpu"),
        ]

    async def begin(self) -> None:
        """No domains, and a ledger from here on."""
        await self.do(self._connect)
        await super().begin()
        self._ledger.clear()

    async def end(self) -> None:
        """Remove what is there."""
        await super().end()
        await self.do(self._disconnect)

    async def ledger(self) -> list[Made]:
        """What the daemon's events told, and what is there (events are lost while it is down)."""
        await self.do(self._look)
        return list(self._ledger.values())

    async def foreign(self) -> str:
        """A domain without anything of ours."""
        return await self.do(self._define, f"foreign-{next(_numbers)}", 16)

    async def remove_all(self) -> None:
        """Remove all domains and their volumes."""
        await self.do(self._remove_all)

    async def do(self, call: Callable[..., T], *arguments: Any) -> T:
        """A blocking call of the administrator's."""
        return await asyncio.to_thread(call, *arguments)

    # The administrator's connection

    def _connect(self) -> None:
        run_events()
        start(self.state, self.daemons)
        self._conn = libvirt.open(self.running.extra["socket"])
        self._conn.domainEventRegisterAny(None, libvirt.VIR_DOMAIN_EVENT_ID_LIFECYCLE, self._lifecycle, None)

    def _disconnect(self) -> None:
        conn, self._conn = self._conn, None
        with suppress(libvirt.libvirtError):
            conn.close()

    def _lifecycle(self, conn: Any, domain: Any, event: int, detail: int, opaque: object) -> None:
        if event == libvirt.VIR_DOMAIN_EVENT_DEFINED and detail == libvirt.VIR_DOMAIN_EVENT_DEFINED_ADDED:
            self._enter(domain)

    def _enter(self, domain: Any) -> None:
        name, provider_id = domain.name(), domain.UUIDString()
        if name != FILLER:
            self._ledger.setdefault(provider_id, Made(provider_id, name if name.startswith("m-") else None))

    def _look(self) -> None:
        for domain in self._conn.listAllDomains(0):
            self._enter(domain)

    def _define(self, name: str, mib: int) -> str:
        xml = (
            f"<domain type='qemu'><name>{name}</name><memory unit='MiB'>{mib}</memory>"
            "<os><type arch='x86_64' machine='pc'>hvm</type></os></domain>"
        )
        return str(self._conn.defineXML(xml).UUIDString())

    def remove(self, provider_id: str) -> None:
        """End a domain and its definition. Repetition: harmless."""
        with suppress(libvirt.libvirtError):
            domain = self._conn.lookupByUUIDString(provider_id)
            with suppress(libvirt.libvirtError):
                domain.destroy()
            domain.undefine()

    def _remove_all(self) -> None:
        for domain in self._conn.listAllDomains(0):
            self.remove(domain.UUIDString())
        # What was given up may still be writing, which the daemon tells as an internal error.
        end = time.monotonic() + self.patience
        while not self._empty_pool():
            assert time.monotonic() < end, "somebody goes on writing into the pool"
            time.sleep(0.1)

    def _empty_pool(self) -> bool:
        for name in self.volumes():
            (self.state / "pools/servers" / name).unlink(missing_ok=True)
        try:
            self._conn.storagePoolLookupByName("servers").refresh(0)
        except libvirt.libvirtError as error:
            if error.get_error_code() != libvirt.VIR_ERR_INTERNAL_ERROR:
                raise
            return False
        return True

    def volumes(self) -> list[str]:
        """The files of the servers' pool, whether or not libvirt knows them."""
        return sorted(path.name for path in (self.state / "pools/servers").iterdir())

    def definition(self, provider_id: str) -> str:
        """The definition that outlives a running domain, with all secrets."""
        flags = libvirt.VIR_DOMAIN_XML_INACTIVE | libvirt.VIR_DOMAIN_XML_SECURE
        return str(self._conn.lookupByUUIDString(provider_id).XMLDesc(flags))

    def guest_pids(self) -> list[int]:
        """The processes of the guests."""
        return sorted(
            int(path.read_text()) for path in (self.state / "run/qemu").glob("*.pid") if path.stem != "driver"
        )

    # What the faults do

    def fill(self, free: int) -> None:
        """Define a domain that leaves so many MiB of the host's memory."""
        used = sum(domain.maxMemory() for domain in self._conn.listAllDomains(0)) // 1024
        self._define(FILLER, self._conn.getInfo()[1] - used - free)

    def broken_image(self) -> str:
        """The name of an image that is an overlay of nothing."""
        target = self.state / "pools/images" / BROKEN
        if not target.exists():
            options = ["-f", "qcow2", "-F", "raw", "-u", "-b", "/nonexistent/base", str(target), "64M"]
            subprocess.run(["qemu-img", "create", "-q", *options], check=True)
        return BROKEN

    def restart(self) -> None:
        """Kill the daemon, and start it again."""
        self.daemons.kill("libvirtd")
        self._disconnect()
        self._connect()

    def admit(self, client: str) -> None:
        """Restart the daemon, which then lets in who has a certificate of this name."""
        self._configure("tls_allowed_dn_list", f'["CN={client}"]')

    def become(self, host: str) -> str:
        """Restart the daemon as that of another host, by its UUID; gives the UUID that it had before."""
        return self._configure("host_uuid", f'"{host}"').strip('"')

    def _configure(self, name: str, value: str) -> str:
        config = self.state / "libvirtd.conf"
        lines = config.read_text().splitlines()
        (number,) = [number for number, line in enumerate(lines) if line.startswith(f"{name} =")]
        before = lines[number].partition("=")[2].strip()
        lines[number] = f"{name} = {value}"
        config.write_text("\n".join(lines) + "\n")
        self.restart()
        return before

    @contextmanager
    def hanging(self) -> Iterator[None]:
        """The daemon answers nobody, and goes on afterwards."""
        self.stopped(True)
        try:
            yield
        finally:
            self.stopped(False)

    def stopped(self, wanted: bool) -> None:
        """Stop the daemon in its tracks, or let it go on."""
        pid = self.daemons.pid("libvirtd")
        assert pid is not None
        os.kill(pid, signal.SIGSTOP if wanted else signal.SIGCONT)

    def network(self) -> str:
        """The name of a network whose guests get addresses from libvirt."""
        define_network(self.state)
        return str(self.running.extra["network"])
