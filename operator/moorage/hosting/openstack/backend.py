"""The backend `openstack`: servers of Nova in one project and region of a cloud.

Nova has no idempotency key: a creation that comes twice makes two servers. The key is on the server in the creation's
own call, as metadata and as a tag, by which Nova can find it; before a creation of unknown outcome is repeated, the
caller waits and looks (`Capabilities.idempotent_create`).
"""

from __future__ import annotations

import asyncio
import contextlib
import re
import time
from collections.abc import Mapping
from decimal import Decimal
from typing import Any, Final

from moorage.hosting.contract import (
    MAX_CONSOLE,
    Capacity,
    CreateRequest,
    Inventory,
    Offering,
    ServerRecord,
    ServerState,
)
from moorage.hosting.errors import CapacityError, Invalid, NotFound, Unavailable
from moorage.hosting.factory import ServiceSpec, capabilities, parse_settings
from moorage.hosting.http import endpoint_url, tls_context
from moorage.hosting.openstack import launch
from moorage.hosting.openstack.answers import Conflict, NotImplementedThere
from moorage.hosting.openstack.client import Cloud, login_of
from moorage.hosting.openstack.lists import Lists, parsed
from moorage.hosting.openstack.records import DELETED, Absolute, Created, Server
from moorage.hosting.openstack.settings import OpenStackServerSettings, OpenStackSettings

_ID: Final = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}")
_CONSOLE_LINES: Final = 1000
_PAUSE: Final = 0.5
"""Seconds between two looks at a server that is being resized."""
_WAYS_UP: Final[Mapping[str, str]] = {
    "PAUSED": "unpause",
    "SUSPENDED": "resume",
    "SHELVED": "unshelve",
    "SHELVED_OFFLOADED": "unshelve",
}
"""How a server that was put to rest otherwise than by `stop` gets up again."""


def open_backend(spec: ServiceSpec, credentials: Mapping[str, bytes]) -> OpenStackBackend:
    """Open a backend; see `BackendFactory.open`."""
    settings = parse_settings(OpenStackSettings, spec.settings)
    what = "Keystone, such as https://cloud.example.org:5000/v3"
    url = str(endpoint_url(spec.endpoint, what, plain=settings.allow_plain_http)).rstrip("/")
    if not url.endswith("/v3"):
        url += "/v3"
    login = login_of(credentials, spec.project)
    return OpenStackBackend(
        Cloud(url, spec.region, login, spec.project, settings, tls_context(settings.ca_bundle)), settings
    )


class OpenStackBackend:
    """Nova of one project in one region. Satisfies `moorage.hosting.contract.Backend`."""

    def __init__(self, cloud: Cloud, settings: OpenStackSettings) -> None:
        self._cloud = cloud
        self._settings = settings
        self._lists = Lists(cloud, settings)
        self.capabilities = capabilities(settings, idempotent_create=False, listing_lag=settings.listing_lag)

    # The service itself

    async def account(self) -> str:
        """See `Backend.account`: the project, the region, and the id of Nova in Keystone's catalogue. Nova is asked
        for something small beside it: a token that was revoked still names its project."""
        found = await self._cloud.account(self._soon())
        await self.capacity()
        return found

    async def offerings(self) -> tuple[Offering, ...]:
        """See `Backend.offerings`: the flavors that the project may use."""
        async with self._lists.in_time("the list of flavors") as deadline:
            flavors = await self._lists.flavors(deadline)
        return tuple(
            Offering(
                name=flavor.name,
                cpu=Decimal(flavor.vcpus),
                memory=Decimal(flavor.ram) * 1024 * 1024,
                arch=self._settings.architectures.get(flavor.name, self._settings.arch),
                price_per_hour=self._settings.prices.get(flavor.name),
            )
            for flavor in flavors
        )

    async def images(self) -> tuple[str, ...]:
        """See `Images.images`: names and ids; a name that several images have is left out, since nothing is made of
        it."""
        async with self._lists.in_time("the list of images") as deadline:
            images = await self._lists.images(deadline)
        names = [image.name for image in images if image.name]
        return tuple(sorted({image.id for image in images} | {name for name in names if names.count(name) == 1}))

    async def capacity(self) -> Capacity:
        """See `Backend.capacity`: the project's quota of instances."""
        answer = await self._compute("GET", "/limits", "limits")
        limits = answer.get("limits")
        absolute = parsed("limits", Absolute, limits.get("absolute") if isinstance(limits, dict) else None)
        return Capacity(limit=absolute.instances if absolute.instances >= 0 else None, used=absolute.used)

    # Servers

    async def inventory(self) -> Inventory:
        """See `Backend.inventory`."""
        async with self._lists.in_time("the inventory") as deadline:
            account = await self._cloud.account(deadline)
            return Inventory(account=account, servers=self._records(await self._lists.servers(deadline)))

    async def find(self, key: str) -> tuple[ServerRecord, ...]:
        """See `Backend.find`."""
        async with self._lists.in_time("the search") as deadline:
            found = self._records(await self._lists.servers(deadline, {"tags": key}))
        return tuple(server for server in found if server.key == key)

    async def get(self, provider_id: str) -> ServerRecord:
        """See `Backend.get`."""
        return self._record(await self._server(provider_id))

    async def create(self, request: CreateRequest) -> ServerRecord:
        """See `Backend.create`. Nova says later, by the state, where there was no room: the server is then Failed."""
        deadline = time.monotonic() + self._settings.create_timeout
        user_data = launch.check(request)
        settings = launch.merged(self._settings, parse_settings(OpenStackServerSettings, request.settings))
        image = await self._lists.image_id(request.image, deadline)
        flavor = await self._lists.flavor(request.offering, deadline)
        networks = await self._networks(settings, deadline)
        body = launch.parameters(request, settings, user_data, image, flavor, networks)
        try:
            answer = await self._cloud.call("compute", "POST", "/servers", "create", deadline, body=body, slow=True)
        except Conflict as refused:
            # Of a creation: a port in use, or several networks to choose from.
            raise Invalid(refused.message, field="settings.networks") from None
        except (Invalid, NotFound) as refused:
            self._lists.forget()
            raise refused if isinstance(refused, Invalid) else Invalid(refused.message) from None
        made = parsed("create", Created, answer.get("server"))
        return ServerRecord(
            provider_id=made.id,
            key=request.key,
            tags={**settings.metadata, **request.tags},
            state=ServerState.PENDING,
            name=request.name,
            offering=request.offering,
        )

    async def delete(self, provider_id: str) -> None:
        """See `Backend.delete`. In a cloud that keeps deleted servers for a while, the second call ends it for good."""
        path = f"/servers/{_id(provider_id)}"
        try:
            await self._compute("DELETE", path, "delete")
        except NotFound:
            return
        except Conflict as refused:
            await self._delete_again(provider_id, refused)

    async def _delete_again(self, provider_id: str, refused: Conflict) -> None:
        try:
            server = await self._server(provider_id)
            if server.status == "SOFT_DELETED":
                await self._act(provider_id, {"forceDelete": None})
            elif self._record(server).state is not ServerState.TERMINATING:
                raise refused
        except NotFound:
            return

    async def console(self, provider_id: str) -> str | None:
        """See `Backend.console`."""
        try:
            answer = await self._act(provider_id, {"os-getConsoleOutput": {"length": _CONSOLE_LINES}})
        except Conflict:
            return ""  # it has no host yet
        except NotImplementedThere:
            return None
        output = answer.get("output")
        if not isinstance(output, str):
            raise Unavailable("console: the answer makes no sense")
        return "".join(c for c in output.replace("\r\n", "\n") if c == "\n" or c.isprintable())[-MAX_CONSOLE:]

    async def retag(self, provider_id: str, tags: Mapping[str, str]) -> None:
        """See `Retag.retag`. Raises Unavailable while Nova is busy with the server, or where it is in state ERROR."""
        answer = await self._compute(
            "POST", f"/servers/{_id(provider_id)}/metadata", "retag", body={"metadata": dict(tags)}
        )
        told = answer.get("metadata")
        if not isinstance(told, dict) or any(told.get(name) != value for name, value in tags.items()):
            raise Unavailable("retag: the service did not confirm the new metadata")

    async def start(self, provider_id: str) -> None:
        """See `Power.start`."""
        try:
            await self._act(provider_id, {"os-start": None})
        except Conflict as refused:
            server = await self._server(provider_id)
            way = _WAYS_UP.get(server.status)
            if way is not None and server.task is None:
                await self._act(provider_id, {way: None})
            elif self._record(server).state is not ServerState.RUNNING and server.task != "powering-on":
                raise refused from None

    async def stop(self, provider_id: str) -> None:
        """See `Power.stop`."""
        try:
            await self._act(provider_id, {"os-stop": None})
        except Conflict as refused:
            server = await self._server(provider_id)
            if self._record(server).state is not ServerState.STOPPED and server.task != "powering-off":
                raise refused from None

    async def resize(self, provider_id: str, offering: str) -> None:
        """See `Resize.resize`. Returns when Nova has done it and it is confirmed, since a server that nobody confirms
        keeps both sizes. Given up before that, `get` shows an offering "... (to be confirmed)": repeat."""
        deadline = time.monotonic() + self._settings.create_timeout
        flavor = await self._lists.flavor(offering, deadline)
        server = await self._server(provider_id)
        began = confirmed = False
        while True:
            if server.status == "VERIFY_RESIZE":
                if not confirmed:
                    await self._confirm(provider_id)
                confirmed = True
            elif server.status != "RESIZE" and server.task is None:
                if server.flavor.original_name == flavor.name:
                    return
                if began:
                    # Nova tells by nothing else that it found no host for it: the server is as it was.
                    raise CapacityError("resize: Nova gave it up, and the server is as it was; no host has room for it")
                await self._resize(provider_id, flavor.id)
                began, confirmed = True, False
            if time.monotonic() + _PAUSE > deadline:
                raise Unavailable("resize: it is not over yet")
            await asyncio.sleep(_PAUSE)
            server = await self._server(provider_id)

    async def _resize(self, provider_id: str, flavor_id: str) -> None:
        try:
            await self._act(provider_id, {"resize": {"flavorRef": flavor_id}})
        except Invalid as refused:
            raise Invalid(refused.message, field="offering") from None

    async def _confirm(self, provider_id: str) -> None:
        # Nova calls it a bad request or a conflict where it is being confirmed already.
        with contextlib.suppress(Invalid, Conflict):
            await self._act(provider_id, {"confirmResize": None})

    async def close(self) -> None:
        """See `Backend.close`."""
        self._cloud.close()

    # Calls

    async def _networks(self, settings: OpenStackServerSettings, deadline: float) -> str | list[dict[str, str]]:
        wanted = settings.networks if settings.networks is not None else "auto"
        if isinstance(wanted, str):
            return wanted
        return [
            launch.interface(one, await self._lists.network_id(one.network, deadline) if one.network else None)
            for one in wanted
        ]

    async def _server(self, provider_id: str) -> Server:
        answer = await self._compute("GET", f"/servers/{_id(provider_id)}", "get")
        server = parsed("get", Server, answer.get("server"))
        if server.id != provider_id:
            raise Unavailable("get: the service answered with another server than the one asked for")
        if server.status == DELETED:
            # What administrators are shown for a while.
            raise NotFound(f"server {provider_id} is deleted")
        return server

    async def _act(self, provider_id: str, action: dict[str, Any]) -> dict[str, Any]:
        return await self._compute("POST", f"/servers/{_id(provider_id)}/action", next(iter(action)), body=action)

    async def _compute(self, method: str, path: str, what: str, *, body: object = None) -> dict[str, Any]:
        return await self._cloud.call("compute", method, path, what, self._soon(), body=body)

    def _soon(self) -> float:
        return time.monotonic() + self._settings.request_timeout

    def _records(self, servers: tuple[Server, ...]) -> tuple[ServerRecord, ...]:
        return tuple(self._record(server) for server in servers if server.status != DELETED)

    def _record(self, server: Server) -> ServerRecord:
        return server.record(self._settings.external_networks)


def _id(provider_id: str) -> str:
    if not _ID.fullmatch(provider_id):
        raise Invalid("is not the id of a server", field="providerID")
    return provider_id
