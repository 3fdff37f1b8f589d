"""The backend `local`: an HTTP client of `hostd` that lets nothing but typed errors out."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from decimal import Decimal

from moorage.api import hostd
from moorage.hosting.contract import (
    MAX_CONSOLE,
    Capacity,
    CreateRequest,
    Inventory,
    Offering,
    ServerRecord,
)
from moorage.hosting.errors import AuthenticationError, Invalid, NotFound, TimedOut, Unavailable
from moorage.hosting.factory import ServiceSpec, capabilities, parse_settings
from moorage.hosting.http import Http, endpoint_url, tls_context
from moorage.hosting.local.client import Client, segment
from moorage.hosting.local.extras import LocalAbilities
from moorage.hosting.local.records import record
from moorage.hosting.local.settings import LocalSettings


def open_backend(spec: ServiceSpec, credentials: Mapping[str, bytes]) -> LocalBackend:
    """Open a backend; see `BackendFactory.open`. The credentials' only key is `token`, and may be absent where the
    service asks for none."""
    settings = parse_settings(LocalSettings, spec.settings)
    if spec.project:
        raise Invalid("a service of type local has no projects", field="project")
    return LocalBackend(
        Client(
            Http(
                endpoint_url(spec.endpoint, "its hostd", plain=settings.allow_plain_http),
                headers=_headers(credentials),
                tls=tls_context(settings.ca_bundle),
            ),
            settings,
        ),
        region=spec.region,
        settings=settings,
    )


def _headers(credentials: Mapping[str, bytes]) -> dict[str, str]:
    raw = credentials.get("token")
    if raw is None:
        if credentials:
            raise AuthenticationError("the credentials hold no key `token`")
        return {}
    token = raw.decode("ascii", errors="replace").strip()
    if not token or not token.isascii() or not token.isprintable() or " " in token:
        raise AuthenticationError("the key `token` of the credentials is not a bearer token")
    return {"Authorization": f"Bearer {token}"}


class LocalBackend(LocalAbilities):
    """A hostd, seen with one token. Satisfies `moorage.hosting.contract.Backend`, and has every ability."""

    def __init__(self, client: Client, *, region: str, settings: LocalSettings) -> None:
        super().__init__(client)
        self._region = region
        self._settings = settings
        self.capabilities = capabilities(
            settings, idempotent_create=settings.idempotent_create, listing_lag=settings.listing_lag
        )

    async def account(self) -> str:
        """See `Backend.account`. Raises Invalid(field="region") where the service is in another region."""
        account = await self._client.ask("GET", "account", hostd.Account)
        if self._region and account.region and account.region != self._region:
            raise Invalid(f"the service is in region {account.region}, not {self._region}", field="region")
        return account.id

    async def offerings(self) -> tuple[Offering, ...]:
        """See `Backend.offerings`."""
        found = await self._client.ask("GET", "offerings", hostd.OfferingList)
        return tuple(
            Offering(name=o.name, cpu=o.cpu, memory=Decimal(o.memory), arch=o.arch, price_per_hour=o.price_per_hour)
            for o in found.items
        )

    async def images(self) -> tuple[str, ...]:
        """See `Backend.images`. Images that the host cannot boot are left out."""
        found = await self._client.ask("GET", "images", hostd.ImageList)
        return tuple(image.name for image in found.items if image.available)

    async def capacity(self) -> Capacity:
        """See `Backend.capacity`."""
        found = await self._client.ask("GET", "capacity", hostd.Capacity)
        return Capacity(limit=found.limit, used=found.used)

    async def inventory(self) -> Inventory:
        """See `Backend.inventory`."""
        try:
            async with asyncio.timeout(self._settings.inventory_timeout):
                account = await self.account()
                return Inventory(account=account, servers=await self._servers({}))
        except TimeoutError:
            raise TimedOut("the inventory did not end in time") from None

    async def find(self, key: str) -> tuple[ServerRecord, ...]:
        """See `Backend.find`."""
        try:
            async with asyncio.timeout(self._settings.inventory_timeout):
                found = await self._servers({"key": key})
        except TimeoutError:
            raise TimedOut("the search did not end in time") from None
        return tuple(server for server in found if server.key == key)

    async def get(self, provider_id: str) -> ServerRecord:
        """See `Backend.get`."""
        server = await self._client.ask("GET", f"servers/{segment(provider_id)}", hostd.Server)
        if server.id != provider_id:
            raise Unavailable("the service answered with another server than the one asked for")
        return record(server)

    async def create(self, request: CreateRequest) -> ServerRecord:
        """See `Backend.create`."""
        server = await self._client.ask(
            "POST", "servers", hostd.Server, body=request.to_bytes(), timeout=self._settings.create_timeout
        )
        if server.key != request.key:
            raise Unavailable("the service answered with another server than the one created")
        return record(server)

    async def console(self, provider_id: str) -> str:
        """See `Backend.console`."""
        text = (await self._client.ask("GET", f"servers/{segment(provider_id)}/console", hostd.Console)).text
        return "".join(c for c in text if c == "\n" or c.isprintable())[-MAX_CONSOLE:]

    async def delete(self, provider_id: str) -> None:
        """See `Backend.delete`."""
        try:
            await self._client.call("DELETE", f"servers/{segment(provider_id)}")
        except NotFound:
            return

    async def retag(self, provider_id: str, tags: Mapping[str, str]) -> None:
        """See `Backend.retag`."""
        body = hostd.TagPatch.model_construct(tags=dict(tags)).model_dump_json(by_alias=True).encode()
        server = await self._client.ask("PATCH", f"servers/{segment(provider_id)}/tags", hostd.Server, body=body)
        if server.id != provider_id or any(server.tags.get(name) != value for name, value in tags.items()):
            raise Unavailable("the service did not confirm the new tags")

    async def close(self) -> None:
        """See `Backend.close`."""
        await self._client.close()

    async def _servers(self, query: Mapping[str, str]) -> tuple[ServerRecord, ...]:
        servers = await self._client.pages("servers", hostd.ServerList, query)
        return tuple(record(server) for server in servers)
