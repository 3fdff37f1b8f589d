"""The backend `hetzner`: servers of one project of the Hetzner Cloud, by Hetzner's own SDK.

A server's name is its key, which the API keeps unique within the project: a repeated creation is refused for its name,
and what it made before is then looked up by that name.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from functools import partial
from typing import Final

import hcloud
from hcloud.actions import BoundAction
from hcloud.servers import BoundServer, Server

from moorage.hosting.contract import (
    Capacity,
    CreateRequest,
    Inventory,
    Offering,
    ServerRecord,
    ServerState,
)
from moorage.hosting.errors import AuthenticationError, Invalid, KeyConflict, NotFound, Unavailable, clean
from moorage.hosting.factory import ServiceSpec, capabilities, parse_settings
from moorage.hosting.hetzner.account import account_of
from moorage.hosting.hetzner.answers import Locked, NotUnique, word_in
from moorage.hosting.hetzner.client import Client, list_servers
from moorage.hosting.hetzner.launch import asked_of, check_labels
from moorage.hosting.hetzner.records import LABEL_KEY, LABEL_REQUEST, images_of, offerings_of, record
from moorage.hosting.hetzner.settings import HetznerSettings
from moorage.hosting.hetzner.volumes import HetznerVolumes, is_number, number_of
from moorage.hosting.http import endpoint_url, tls_context

_UP: Final = frozenset({"running", "starting", "initializing", "rebuilding", "migrating"})
_BOOT: Final = frozenset({"create_server", "start_server"})
_POWER: Final = _BOOT | {"stop_server", "shutdown_server", "reboot_server", "reset_server"}


def open_backend(spec: ServiceSpec, credentials: Mapping[str, bytes]) -> HetznerBackend:
    """Open a backend; see `BackendFactory.open`. The credentials' only key is `token`."""
    settings = parse_settings(HetznerSettings, spec.settings)
    what = "the API, such as https://api.hetzner.cloud/v1"
    base = str(endpoint_url(spec.endpoint, what, plain=settings.allow_plain_http))
    if spec.project:
        raise Invalid("a token belongs to one project of the Hetzner Cloud: leave the project out", field="project")
    tls = tls_context(settings.ca_bundle)
    return HetznerBackend(Client(base, _token(credentials), tls, settings.page_size), spec.region, settings)


def _token(credentials: Mapping[str, bytes]) -> str:
    raw = credentials.get("token")
    if raw is None:
        raise AuthenticationError("the credentials hold no key `token`")
    token = raw.decode("ascii", errors="replace").strip()
    if not token or not token.isascii() or not token.isprintable() or " " in token:
        raise AuthenticationError("the key `token` of the credentials is not an API token")
    return token


class HetznerBackend(HetznerVolumes):
    """One project of the Hetzner Cloud; new servers are made in one location. Satisfies `Backend` and the abilities
    Retag, Power, Images and Volumes."""

    def __init__(self, client: Client, region: str, settings: HetznerSettings) -> None:
        self._client = client
        self._region = region
        self._region_exists = not region
        self._settings = settings
        self.capabilities = capabilities(settings, idempotent_create=True, listing_lag=settings.listing_lag)

    # What the service is

    async def account(self) -> str:
        """See `Backend.account`; `moorage.hosting.hetzner.account` says what stands for it. Raises
        Invalid(field="region") for a location that there is not."""
        return await self._ask("account", self._account)

    def _account(self, sdk: hcloud.Client) -> str:
        if not self._region_exists:
            if not any(each.name == self._region for each in sdk.locations.get_list(name=self._region)[0]):
                raise Invalid("is no location of the Hetzner Cloud; write one such as fsn1", field="region")
            self._region_exists = True
        return account_of(sdk, self._settings.account_marker)

    async def offerings(self) -> tuple[Offering, ...]:
        """See `Backend.offerings`: the server types of the location that are not being withdrawn; net prices."""
        return await self._all(
            "offerings", lambda sdk: offerings_of(self._client.pages(sdk.server_types.get_list), self._region)
        )

    async def images(self) -> tuple[str, ...]:
        """See `Images.images`."""
        return await self._all(
            "images",
            lambda sdk: images_of(self._client.pages(sdk.images.get_list, include_deprecated=True, sort=["id:asc"])),
        )

    async def capacity(self) -> Capacity:
        """See `Backend.capacity`. The API tells no limit."""

        def used(sdk: hcloud.Client) -> int:
            servers, meta = list_servers(sdk, page=1, per_page=1)
            total = meta.pagination.total_entries if meta.pagination is not None else None
            return total if total is not None else len(self._servers(sdk)) if servers else 0

        return Capacity(limit=None, used=await self._ask("capacity", used))

    # Servers

    async def inventory(self) -> Inventory:
        """See `Backend.inventory`: the whole project, all locations."""

        def take(sdk: hcloud.Client) -> Inventory:
            account = self._account(sdk)
            return Inventory(account=account, servers=self._servers(sdk))

        return await self._all("inventory", take)

    async def find(self, key: str) -> tuple[ServerRecord, ...]:
        """See `Backend.find`."""
        try:
            check_labels({LABEL_KEY: key})
        except Invalid:
            return ()
        found = await self._all("find", lambda sdk: self._servers(sdk, label_selector=f"{LABEL_KEY}=={key}"))
        return tuple(each for each in found if each.key == key)

    def _servers(self, sdk: hcloud.Client, **query: str) -> tuple[ServerRecord, ...]:
        found = self._client.pages(partial(list_servers, sdk), **query)
        return tuple(record(each) for each in found)

    async def get(self, provider_id: str) -> ServerRecord:
        """See `Backend.get`. A server that is off is asked why: one more call."""
        number = number_of(provider_id)

        def ask(sdk: hcloud.Client) -> ServerRecord:
            server = _server(sdk, number)
            found = record(server)
            if server.status != "off":
                return found
            actions, _ = sdk.servers.get_actions_list(server, sort=["id:desc"], per_page=25)
            return _why_off(found, actions)

        return await self._ask("get", ask, one=True)

    async def create(self, request: CreateRequest) -> ServerRecord:
        """See `Backend.create`."""
        asked = asked_of(request, self._region)

        def make(sdk: hcloud.Client) -> ServerRecord:
            try:
                made = record(sdk.servers.create(**asked).server)
            except NotUnique:
                return self._made_before(sdk, request)
            except NotFound as error:
                raise Invalid(error.message, field=word_in(error.message)) from None
            if made.key != request.key:
                raise Unavailable("the service answered with another server than the one created")
            return made

        return await self._client.run("create", self._settings.create_timeout, make, slow=True)

    def _made_before(self, sdk: hcloud.Client, request: CreateRequest) -> ServerRecord:
        found = [each for each in list_servers(sdk, name=request.key)[0] if each.name == request.key]
        if not found:
            raise Unavailable("the name is taken, but no server shows that has it: it comes or goes just now")
        labels = found[0].labels or {}
        if labels.get(LABEL_KEY) != request.key or labels.get(LABEL_REQUEST) != request.digest():
            raise KeyConflict("there is a server of that name that was asked for with another request", field="key")
        return record(found[0])

    async def delete(self, provider_id: str) -> None:
        """See `Backend.delete`."""
        if not is_number(provider_id):
            return

        def remove(sdk: hcloud.Client) -> None:
            try:
                sdk.servers.delete(Server(id=int(provider_id)))
            except NotFound:
                return
            except Locked:
                if _server(sdk, int(provider_id)).status != "deleting":
                    raise

        try:
            await self._ask("delete", remove, one=True)
        except NotFound:
            return

    async def console(self, provider_id: str) -> str | None:
        """See `Backend.console`: there is a screen to look at, but no text that is kept."""
        number = number_of(provider_id)
        await self._ask("console", lambda sdk: _server(sdk, number), one=True)
        return None

    # Abilities

    async def retag(self, provider_id: str, tags: Mapping[str, str]) -> None:
        """See `Retag.retag`. The API takes all labels at once and knows no condition: a label that somebody else
        writes between the two calls is lost. Ours are written by one controller alone."""
        check_labels(tags)
        number = number_of(provider_id)

        def change(sdk: hcloud.Client) -> None:
            server = _server(sdk, number)
            labels = dict(server.labels or {})
            if all(labels.get(name) == value for name, value in tags.items()):
                return
            changed = sdk.servers.update(server, labels={**labels, **tags}).labels or {}
            if any(changed.get(name) != value for name, value in tags.items()):
                raise Unavailable("the service did not confirm the new labels")

        await self._ask("retag", change, one=True)

    async def start(self, provider_id: str) -> None:
        """See `Power.start`."""
        number = number_of(provider_id)

        def turn_on(sdk: hcloud.Client) -> None:
            server = _server(sdk, number)
            if server.status not in _UP:
                sdk.servers.power_on(server)

        await self._ask("start", turn_on, one=True)

    async def stop(self, provider_id: str) -> None:
        """See `Power.stop`."""
        number = number_of(provider_id)

        def turn_off(sdk: hcloud.Client) -> None:
            server = _server(sdk, number)
            if server.status in {"off", "stopping"}:
                return
            if self._settings.graceful_stop:
                sdk.servers.shutdown(server)
            else:
                sdk.servers.power_off(server)

        await self._ask("stop", turn_off, one=True)

    async def close(self) -> None:
        """See `Backend.close`."""
        self._client.close()


def _server(sdk: hcloud.Client, number: int) -> BoundServer:
    server = sdk.servers.get_by_id(number)
    if server.id != number:
        raise Unavailable("the service answered with another server than the one asked for")
    return server


def _why_off(found: ServerRecord, actions: list[BoundAction]) -> ServerRecord:
    """A server that never came up has failed, and one that is about to come up is on its way."""
    last = max((each for each in actions if each.command in _POWER), key=lambda each: each.id or 0, default=None)
    if last is None or last.command not in _BOOT:
        return found
    if last.status == "running":
        return replace(found, state=ServerState.PENDING)
    if last.status == "error":
        error: Mapping[str, object] = last.error or {}
        return replace(found, state=ServerState.FAILED, message=clean(f"{error.get('code')}: {error.get('message')}"))
    return found
