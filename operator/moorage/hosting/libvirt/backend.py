"""The backend `libvirt`: virtual machines of one host with libvirtd and QEMU."""

from __future__ import annotations

import uuid
from collections.abc import AsyncGenerator, Callable, Mapping
from contextlib import aclosing, suppress
from datetime import UTC, datetime
from decimal import Decimal
from functools import partial
from typing import Any, TypeAlias, TypeVar

import libvirt

from moorage.hosting.contract import Capacity, CreateRequest, Inventory, Offering, ServerRecord
from moorage.hosting.errors import HostingError, Invalid, NotFound, Unavailable
from moorage.hosting.factory import BackendFactory, ServiceSpec, capabilities, parse_settings
from moorage.hosting.libvirt import definition, host, making
from moorage.hosting.libvirt.codes import Code
from moorage.hosting.libvirt.connection import Connection, Deadline
from moorage.hosting.libvirt.definition import Plan, Server, Task
from moorage.hosting.libvirt.endpoint import endpoint
from moorage.hosting.libvirt.events import events
from moorage.hosting.libvirt.records import record
from moorage.hosting.libvirt.settings import LibvirtServerSettings, LibvirtSettings, Size
from moorage.hosting.libvirt.stopping import stop

T = TypeVar("T")
Call: TypeAlias = Callable[[Any, Deadline, Any], T]
"""Something that is done with a connection and a domain."""
MAX_USER_DATA = 256 * 1024
"""Bytes of user-data that are taken: it passes through the domain's definition."""


def open_backend(spec: ServiceSpec, credentials: Mapping[str, bytes]) -> LibvirtBackend:
    """Open a backend; see `BackendFactory.open`. Credentials: `tls.crt`, `tls.key` and `ca.crt` for qemu+tls,
    `ssh-privatekey` and `known_hosts` for qemu+ssh; `username` and `password` where libvirtd asks for them (SASL)."""
    settings = parse_settings(LibvirtSettings, spec.settings)
    if spec.project:
        raise Invalid("a service of type libvirt has no projects", field="project")
    if spec.region:
        raise Invalid("a service of type libvirt has no regions: write one HostingService a host", field="region")
    if settings.pool == settings.image_pool:
        raise Invalid("must be another pool than settings.imagePool: its disks are no images", field="settings.pool")
    where = endpoint(spec.endpoint, credentials)
    return LibvirtBackend(Connection(where, silence=settings.request_timeout), where.driver, settings)


class LibvirtBackend:
    """One host. Satisfies `Backend` and the abilities Retag, Images, Power, Resize and Events."""

    def __init__(self, connection: Connection, driver: str, settings: LibvirtSettings) -> None:
        self._connection = connection
        self._driver = driver
        self._settings = settings
        self._under_way: set[str] = set()
        self.capabilities = capabilities(settings, idempotent_create=True, listing_lag=0.0)

    # What the service is

    async def account(self) -> str:
        """See `Backend.account`: the host's own UUID, and which of its libvirts it is."""
        return await self._connection.run(self._settings.request_timeout, "account", self._account)

    def _account(self, conn: Any, _: Deadline) -> str:
        return definition.host_uuid(conn.getCapabilities()) + self._driver

    async def offerings(self) -> tuple[Offering, ...]:
        """See `Backend.offerings`: those of the settings."""
        return tuple(
            Offering(name=size.name, cpu=Decimal(size.cpu), memory=size.memory, price_per_hour=size.price_per_hour)
            for size in self._settings.sizes
        )

    async def images(self) -> tuple[str, ...]:
        """See `Backend.images`: the volumes of the image pool."""
        return await self._connection.run(self._settings.request_timeout, "images", self._images)

    def _images(self, conn: Any, deadline: Deadline) -> tuple[str, ...]:
        with deadline.alone:
            pool = host.pool_of(conn, self._settings.image_pool, "settings.imagePool")
            host.refresh(pool)
            return tuple(sorted(pool.listVolumes()))

    async def capacity(self) -> Capacity:
        """See `Backend.capacity`: how often the smallest offering's memory fits."""
        return await self._connection.run(self._settings.request_timeout, "capacity", self._capacity)

    def _capacity(self, conn: Any, _: Deadline) -> Capacity:
        left, used = host.room(conn, self._settings.memory_limit)
        smallest = self._settings.smallest()
        return Capacity(limit=used + max(0, left) // int(smallest) if smallest else None, used=used)

    # Servers

    async def inventory(self) -> Inventory:
        """See `Backend.inventory`. Finishes servers whose creation was interrupted: nobody else would."""
        account, servers = await self._connection.run(self._settings.inventory_timeout, "inventory", self._inventory)
        return Inventory(account=account, servers=servers)

    def _inventory(self, conn: Any, deadline: Deadline) -> tuple[str, tuple[ServerRecord, ...]]:
        account = self._account(conn, deadline)
        return account, tuple(self._listed(conn, deadline))

    def _listed(self, conn: Any, deadline: Deadline) -> list[ServerRecord]:
        servers = []
        for domain in conn.listAllDomains(0):
            deadline.left()
            with host.ignoring(Code.NO_DOMAIN):
                found = definition.parse(domain.XMLDesc(host.INACTIVE)) if domain.isPersistent() else None
                if found and found.task and found.server and found.server.key not in self._under_way:
                    # What keeps it from being finished is told by whoever asks for the creation again.
                    with suppress(HostingError, libvirt.libvirtError):
                        making.finish(conn, deadline, domain)
                servers.append(record(domain))
        return servers

    async def find(self, key: str) -> tuple[ServerRecord, ...]:
        """See `Backend.find`."""
        found = await self._connection.run(self._settings.inventory_timeout, "find", self._find, key)
        return () if found is None else (found,)

    def _find(self, conn: Any, _: Deadline, key: str) -> ServerRecord | None:
        with host.ignoring(Code.NO_DOMAIN):
            found = record(conn.lookupByName(key))
            return found if found.key == key else None
        return None

    async def get(self, provider_id: str) -> ServerRecord:
        """See `Backend.get`."""
        return await self._with("get", provider_id, _record)

    async def _with(self, what: str, provider_id: str, call: Call[T], *, seconds: float | None = None) -> T:
        name = definition.uuid_of(provider_id)

        def run(conn: Any, deadline: Deadline) -> T:
            return call(conn, deadline, conn.lookupByUUIDString(name))

        return await self._connection.run(seconds or self._settings.request_timeout, what, run)

    # Creating

    async def create(self, request: CreateRequest) -> ServerRecord:
        """See `Backend.create`."""
        wanted = parse_settings(LibvirtServerSettings, request.settings)
        size = self._settings.size(request.offering)
        if size is None:
            raise Invalid(f"there is no size {request.offering} in the settings of the service", field="offering")
        self._settings.check(wanted, size)
        if len(request.user_data.encode()) > MAX_USER_DATA:
            raise Invalid(f"is longer than {MAX_USER_DATA} bytes", field="userData")
        disk = wanted.disk if wanted.disk is not None else size.disk
        server = Server(
            key=request.key,
            name=request.name,
            image=request.image,
            offering=request.offering,
            request=request.digest(),
            created=datetime.now(UTC),
            image_pool=self._settings.image_pool,
            pool=self._settings.pool,
            disk=None if disk is None else int(disk),
            autostart=self._settings.autostart,
        )
        plan = Plan(
            uuid=str(uuid.uuid4()),
            server=server,
            tags=dict(request.tags),
            task=Task("create", request.user_data),
            size=size,
            nic=wanted.nic or self._settings.nic,
        )
        self._under_way.add(request.key)
        try:
            return await self._connection.run(self._settings.create_timeout, "create", self._create, plan, slow=True)
        finally:
            self._under_way.discard(request.key)

    def _create(self, conn: Any, deadline: Deadline, plan: Plan) -> ServerRecord:
        return record(making.create(conn, deadline, plan, self._settings))

    async def delete(self, provider_id: str) -> None:
        """See `Backend.delete`."""
        with suppress(NotFound):
            await self._with("delete", provider_id, host.remove, seconds=self._settings.create_timeout)

    async def console(self, provider_id: str) -> str | None:
        """See `Backend.console`: what the guest wrote to its first serial port."""
        return await self._with("console", provider_id, _console)

    # Abilities

    async def retag(self, provider_id: str, tags: Mapping[str, str]) -> None:
        """See `Retag.retag`."""
        await self._with("retag", provider_id, partial(_retag, dict(tags)))

    async def start(self, provider_id: str) -> None:
        """See `Power.start`."""
        await self._with("start", provider_id, _start)

    async def stop(self, provider_id: str) -> None:
        """See `Power.stop`: by the power button, and where the guest does not heed it, by taking its power."""

        async def look(press: bool) -> bool:
            return await self._with("stop", provider_id, partial(host.heeds_button, press=press))

        async def cut() -> None:
            await self._with("stop", provider_id, host.cut_power)

        await stop(look, cut, self._settings.stop_timeout)

    async def resize(self, provider_id: str, offering: str) -> None:
        """See `Resize.resize`. A running server is taken its power, and started again; its disk stays as large."""
        size = self._settings.size(offering)
        if size is None:
            raise Invalid(f"there is no size {offering} in the settings of the service", field="offering")
        call = partial(_resize, size, self._settings.memory_limit)
        await self._with("resize", provider_id, call, seconds=self._settings.create_timeout)

    async def events(self) -> AsyncGenerator[str]:
        """See `Events.events`."""
        async with aclosing(events(self._connection.connect, self._settings.request_timeout)) as told:
            async for what in told:
                yield what

    async def close(self) -> None:
        """See `Backend.close`."""
        self._connection.close()


def _record(conn: Any, deadline: Deadline, domain: Any) -> ServerRecord:
    return record(domain)


def _console(conn: Any, deadline: Deadline, domain: Any) -> str | None:
    return host.console(conn, domain)


def _retag(tags: Mapping[str, str], conn: Any, deadline: Deadline, domain: Any) -> None:
    # What is in force after a start counts; a running domain's own copy follows it.
    wanted = {**definition.parse(domain.XMLDesc(host.INACTIVE)).tags, **tags}
    host.tell(domain, definition.TAGS, "tags", definition.tags_xml(wanted))
    shown = definition.parse(domain.XMLDesc(0)).tags
    if any(shown.get(name) != value for name, value in tags.items()):
        raise Unavailable("the service did not confirm the new tags")


def _start(conn: Any, deadline: Deadline, domain: Any) -> None:
    if domain.state(0)[0] == libvirt.VIR_DOMAIN_PAUSED:
        with host.ignoring(Code.OPERATION_INVALID):
            domain.resume()
    elif not domain.isActive():
        making.finish(conn, deadline, domain)
        deadline.left()
        making.start(domain)


def _resize(size: Size, limit: int | None, conn: Any, deadline: Deadline, domain: Any) -> None:
    making.resize(conn, deadline, domain, size, limit)


FACTORY = BackendFactory(
    type="libvirt",
    implementation=LibvirtBackend,
    settings_model=LibvirtSettings,
    server_settings_model=LibvirtServerSettings,
    open=open_backend,
)
