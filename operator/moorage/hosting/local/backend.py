"""The backend `local`: an HTTP client of `hostd` that lets nothing but typed errors out."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from decimal import Decimal
from typing import Any, TypeVar
from urllib.parse import quote

from pydantic import BaseModel, ValidationError

from moorage.api import hostd
from moorage.hosting.contract import (
    Address,
    AddressType,
    Capabilities,
    Capacity,
    CreateRequest,
    Inventory,
    Offering,
    ServerRecord,
    ServerState,
)
from moorage.hosting.errors import AuthenticationError, Invalid, NotFound, TimedOut, Unavailable, clean
from moorage.hosting.factory import ServiceSpec, parse_settings
from moorage.hosting.http import Http, endpoint_url, tls_context
from moorage.hosting.local.answers import refusal
from moorage.hosting.local.settings import LocalSettings

MAX_PAGES = 10_000
Answer = TypeVar("Answer", bound=BaseModel)


def open_backend(spec: ServiceSpec, credentials: Mapping[str, bytes]) -> LocalBackend:
    """Open a backend; see `BackendFactory.open`. The credentials' only key is `token`, and may be absent where the
    service asks for none."""
    settings = parse_settings(LocalSettings, spec.settings)
    if spec.project:
        raise Invalid("a service of type local has no projects", field="project")
    return LocalBackend(
        Http(
            endpoint_url(spec.endpoint, "its hostd"),
            headers=_headers(credentials),
            tls=tls_context(settings.ca_bundle),
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


class LocalBackend:
    """A hostd, seen with one token. Satisfies `moorage.hosting.contract.Backend`."""

    def __init__(self, http: Http, *, region: str, settings: LocalSettings) -> None:
        self._http = http
        self._region = region
        self._settings = settings
        self.capabilities = Capabilities(
            idempotent_create=settings.idempotent_create,
            listing_lag=settings.listing_lag,
            create_timeout=settings.create_timeout,
        )

    async def account(self) -> str:
        """See `Backend.account`. Raises Invalid(field="region") where the service is in another region."""
        account = await self._ask("GET", "account", hostd.Account)
        if self._region and account.region and account.region != self._region:
            raise Invalid(f"the service is in region {account.region}, not {self._region}", field="region")
        return account.id

    async def offerings(self) -> tuple[Offering, ...]:
        """See `Backend.offerings`."""
        found = await self._ask("GET", "offerings", hostd.OfferingList)
        return tuple(
            Offering(name=o.name, cpu=o.cpu, memory=Decimal(o.memory), arch=o.arch, price_per_hour=o.price_per_hour)
            for o in found.items
        )

    async def images(self) -> tuple[str, ...]:
        """See `Backend.images`. Images that the host cannot boot are left out."""
        found = await self._ask("GET", "images", hostd.ImageList)
        return tuple(image.name for image in found.items if image.available)

    async def capacity(self) -> Capacity:
        """See `Backend.capacity`."""
        found = await self._ask("GET", "capacity", hostd.Capacity)
        return Capacity(limit=found.limit, used=found.used)

    async def inventory(self) -> Inventory:
        """See `Backend.inventory`."""
        try:
            async with asyncio.timeout(self._settings.inventory_timeout):
                account = await self.account()
                return Inventory(account=account, servers=await self._pages({}))
        except TimeoutError:
            raise TimedOut("the inventory did not end in time") from None

    async def find(self, key: str) -> tuple[ServerRecord, ...]:
        """See `Backend.find`."""
        try:
            async with asyncio.timeout(self._settings.inventory_timeout):
                found = await self._pages({"key": key})
        except TimeoutError:
            raise TimedOut("the search did not end in time") from None
        return tuple(server for server in found if server.key == key)

    async def get(self, provider_id: str) -> ServerRecord:
        """See `Backend.get`."""
        server = await self._ask("GET", f"servers/{_segment(provider_id)}", hostd.Server)
        if server.id != provider_id:
            raise Unavailable("the service answered with another server than the one asked for")
        return _record(server)

    async def create(self, request: CreateRequest) -> ServerRecord:
        """See `Backend.create`."""
        server = await self._ask(
            "POST", "servers", hostd.Server, body=request.to_bytes(), timeout=self._settings.create_timeout
        )
        if server.key != request.key:
            raise Unavailable("the service answered with another server than the one created")
        return _record(server)

    async def console(self, provider_id: str) -> str:
        """See `Backend.console`."""
        return (await self._ask("GET", f"servers/{_segment(provider_id)}/console", hostd.Console)).text

    async def delete(self, provider_id: str) -> None:
        """See `Backend.delete`."""
        try:
            await self._call("DELETE", f"servers/{_segment(provider_id)}")
        except NotFound:
            return

    async def retag(self, provider_id: str, tags: Mapping[str, str]) -> None:
        """See `Backend.retag`."""
        body = hostd.TagPatch.model_construct(tags=dict(tags)).model_dump_json(by_alias=True).encode()
        server = await self._ask("PATCH", f"servers/{_segment(provider_id)}/tags", hostd.Server, body=body)
        if server.id != provider_id or any(server.tags.get(name) != value for name, value in tags.items()):
            raise Unavailable("the service did not confirm the new tags")

    async def start(self, provider_id: str) -> None:
        """See `Power.start`."""
        await self._call("POST", f"servers/{_segment(provider_id)}/start")

    async def stop(self, provider_id: str) -> None:
        """See `Power.stop`."""
        await self._call("POST", f"servers/{_segment(provider_id)}/stop")

    async def close(self) -> None:
        """See `Backend.close`."""
        await self._http.close()

    async def _pages(self, query: Mapping[str, str]) -> tuple[ServerRecord, ...]:
        servers: dict[str, ServerRecord] = {}
        seen: set[str] = set()
        page_query = {**query, "limit": str(self._settings.page_size)}
        for _ in range(MAX_PAGES):
            page = await self._ask("GET", "servers", hostd.ServerList, query=page_query)
            for server in page.items:
                if server.id in servers:
                    raise Unavailable("the service listed a server twice")
                servers[server.id] = _record(server)
            if page.continue_ is None:
                return tuple(servers.values())
            if not page.continue_ or page.continue_ in seen:
                raise Unavailable("the service's list does not go on where it stopped")
            seen.add(page.continue_)
            page_query["continue"] = page.continue_
        raise Unavailable(f"the service's list has more than {MAX_PAGES} pages")

    async def _ask(self, method: str, path: str, model: type[Answer], **options: Any) -> Answer:
        raw = await self._call(method, path, **options)
        try:
            return model.model_validate_json(raw)
        except ValidationError:
            raise Unavailable(f"{method} {path.partition('/')[0]}: the answer makes no sense") from None

    async def _call(
        self,
        method: str,
        path: str,
        *,
        query: Mapping[str, str] | None = None,
        body: bytes | None = None,
        timeout: float | None = None,  # noqa: ASYNC109 - handed to aiohttp, which bounds the whole exchange
    ) -> bytes:
        what = f"{method} {path.partition('/')[0]}"
        answer = await self._http.call(
            method,
            f"v1/{path}",
            what,
            seconds_allowed=timeout or self._settings.request_timeout,
            query=query,
            body=body,
        )
        if answer.status not in {200, 201, 202}:
            raise refusal(what, answer)
        return answer.raw


def _segment(provider_id: str) -> str:
    if not provider_id or provider_id in {".", ".."}:
        raise Invalid("is not the id of a server", field="providerID")
    return quote(provider_id, safe="")


def _state(text: str) -> ServerState:
    try:
        return ServerState(text)
    except ValueError:
        return ServerState.UNKNOWN


def _record(server: hostd.Server) -> ServerRecord:
    return ServerRecord(
        provider_id=server.id,
        key=server.key,
        tags=server.tags,
        state=_state(server.state),
        addresses=tuple(Address(AddressType(a.type), a.address) for a in server.addresses),
        created=server.created,
        message=clean(server.message),
        name=server.name,
        image=server.image,
        offering=server.offering,
    )
