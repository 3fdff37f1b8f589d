"""The backend `libcloud`: any compute driver of Apache Libcloud, with what it can do.

`moorage.hosting.libcloud.profiles` says what is known of a driver. What it lacks is left out of the backend's
abilities, or has to be accepted in the settings.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable, Mapping
from functools import cache
from typing import Any, Final, TypeVar

from libcloud.compute.base import NodeDriver
from libcloud.compute.providers import get_driver

from moorage.hosting.contract import (
    MAX_CONSOLE,
    Capacity,
    CreateRequest,
    Inventory,
    Offering,
    ServerRecord,
    ServerState,
)
from moorage.hosting.errors import AuthenticationError, Invalid, KeyConflict, NotFound, Unavailable
from moorage.hosting.factory import ServiceSpec, capabilities, parse_settings
from moorage.hosting.http import endpoint_url, tls_context
from moorage.hosting.libcloud.client import Client
from moorage.hosting.libcloud.exchange import Exchange
from moorage.hosting.libcloud.launch import arguments_of, check_allowed, check_tags
from moorage.hosting.libcloud.profiles import Profile, profile_of
from moorage.hosting.libcloud.records import offerings_of, record, records
from moorage.hosting.libcloud.settings import LibcloudServerSettings, LibcloudSettings

T = TypeVar("T")
KEEP: Final = 300.0
"""Seconds for which it is remembered what the name of a size or an image means."""
_UP: Final = frozenset({ServerState.RUNNING, ServerState.PENDING})


def open_backend(spec: ServiceSpec, credentials: Mapping[str, bytes]) -> LibcloudBackend:
    """Open a backend; see `BackendFactory.open`. The credentials' keys are arguments of the driver's constructor."""
    settings = parse_settings(LibcloudSettings, spec.settings)
    profile = profile_of(settings.driver, _driver(settings.driver))
    profile.page_size = settings.page_size
    if not profile.whole_lists and not settings.trust_listing:
        raise Invalid(
            "it is not known that this driver lists all servers over all pages; find out, and set trustListing",
            field="settings.driver",
        )
    if profile.tags is None and not settings.name_only:
        raise Invalid(
            "this driver cannot tag servers as it makes them, so only their names would tell whose they are; accept "
            "that with nameOnly",
            field="settings.driver",
        )
    if profile.user_data is None:
        raise Invalid(
            "this driver has no user-data, without which no server configures itself", field="settings.driver"
        )
    plain = settings.allow_plain_http
    if spec.endpoint:
        endpoint_url(spec.endpoint, "the provider's API", plain=plain)
    tls = tls_context(settings.ca_bundle)
    secrets = _secrets(credentials)
    client = Client(profile, {**profile.arguments(spec), **settings.arguments}, secrets, tls, plain=plain)
    stand_in = "\n".join((settings.driver, spec.endpoint or "", spec.region, settings.account or secrets["key"]))
    return variant(profile)(client, profile, settings, stand_in, spec.region)


def _driver(name: str) -> type[NodeDriver]:
    try:
        found: type[NodeDriver] = get_driver(name)
    except Exception as error:  # noqa: BLE001 - importing a driver may raise anything
        raise Invalid(
            f"there is no such compute driver, or it needs a package that is not here ({type(error).__name__})",
            field="settings.driver",
        ) from None
    return found


def _secrets(credentials: Mapping[str, bytes]) -> dict[str, str]:
    found = {}
    for name, raw in credentials.items():
        text = raw.decode(errors="replace").strip()
        if not name.isidentifier() or not text or not text.isprintable():
            raise AuthenticationError("a key of the credentials is no argument's name, or its value is empty")
        found[name] = text
    if "key" not in found:
        raise AuthenticationError("the credentials hold no key `key`: their keys are the driver's arguments")
    return found


class LibcloudBackend:
    """One account at a provider, by one driver. Satisfies `Backend`; `variant` adds the driver's abilities."""

    def __init__(
        self, client: Client, profile: Profile, settings: LibcloudSettings, stand_in: str, region: str
    ) -> None:
        self._client = client
        self._profile = profile
        self._settings = settings
        self._stand_in = stand_in
        self._region = region
        self._known: dict[tuple[str, str], tuple[float, Any]] = {}
        self.capabilities = capabilities(
            settings, idempotent_create=profile.idempotent, listing_lag=settings.listing_lag
        )

    # What the service is

    async def account(self) -> str:
        """See `Backend.account`: the provider's word where the driver can ask, else what the settings say."""

        def ask(driver: Any, exchange: Exchange) -> str:
            account = self._account(driver, exchange)
            if account is None:
                # Nothing tells whose the servers are, but that the credentials are good has to be known.
                self._profile.nodes(driver, exchange)
            return account or self._declared()

        return await self._ask("account", ask)

    def _account(self, driver: Any, exchange: Exchange) -> str | None:
        told = self._profile.account(driver, exchange)
        return f"{told}/{self._region}" if told is not None else None

    def _declared(self) -> str:
        return hashlib.sha256(self._stand_in.encode()).hexdigest()[:32]

    async def offerings(self) -> tuple[Offering, ...]:
        """See `Backend.offerings`: sizes whose cores the driver tells, at the prices of the settings."""
        return await self._all(
            "offerings",
            lambda driver, _: offerings_of(
                driver.list_sizes(), self._profile, self._settings.sizes, self._settings.prices
            ),
        )

    async def capacity(self) -> Capacity:
        """See `Backend.capacity`. No driver tells a limit."""
        return Capacity(limit=None, used=len(await self._all("capacity", self._servers)))

    # Servers

    async def inventory(self) -> Inventory:
        """See `Backend.inventory`."""

        def take(driver: Any, exchange: Exchange) -> Inventory:
            account = self._account(driver, exchange) or self._declared()
            return Inventory(account=account, servers=self._servers(driver, exchange))

        return await self._all("inventory", take)

    def _servers(self, driver: Any, exchange: Exchange) -> tuple[ServerRecord, ...]:
        return records(self._profile.nodes(driver, exchange), self._profile)

    async def find(self, key: str) -> tuple[ServerRecord, ...]:
        """See `Backend.find`."""
        found = await self._all(
            "find", lambda driver, exchange: records(self._profile.nodes(driver, exchange, key), self._profile)
        )
        return tuple(each for each in found if each.key == key)

    async def get(self, provider_id: str) -> ServerRecord:
        """See `Backend.get`. Where the driver cannot be asked for one server, it is looked for in the list of all."""
        _check_id(provider_id)
        return await self._ask("get", lambda driver, exchange: self._get(driver, exchange, provider_id), one=True)

    def _get(self, driver: Any, exchange: Exchange, provider_id: str) -> ServerRecord:
        found = record(self._profile.node(driver, exchange, provider_id), self._profile)
        if found is None:
            raise NotFound("the server is terminated")
        return found

    async def create(self, request: CreateRequest) -> ServerRecord:
        """See `Backend.create`."""
        settings = parse_settings(LibcloudServerSettings, request.settings)
        check_allowed(settings, self._settings.server_arguments)
        asked = arguments_of(request, settings, self._profile)

        def make(driver: Any, exchange: Exchange) -> ServerRecord:
            size = self._named("offering", request.offering, lambda name: self._profile.size(driver, name))
            image = self._named("image", request.image, lambda name: self._profile.image(driver, name))
            try:
                node = driver.create_node(size=size, image=image, **asked)
            except TypeError:
                if exchange.last is None or exchange.last.method == "GET":
                    raise Invalid("the driver does not take these arguments", field="settings.arguments") from None
                raise
            made = record(node, self._profile)
            if made is None:
                raise KeyConflict("the server of this key is gone; a key means one server for ever", field="key")
            if made.key != request.key:
                raise Unavailable("the service answered with another server than the one created")
            return made

        return await self._client.run("create", self._settings.create_timeout, make, slow=True)

    def _named(self, field: str, name: str, look: Callable[[str], Any]) -> Any:
        kept = self._known.get((field, name))
        if kept is not None and time.monotonic() < kept[0] + KEEP:
            return kept[1]
        found = look(name)
        if found is None:
            raise Invalid("the provider has none of that name or id", field=field)
        self._known[field, name] = (time.monotonic(), found)
        return found

    async def delete(self, provider_id: str) -> None:
        """See `Backend.delete`."""
        _check_id(provider_id)

        def remove(driver: Any, exchange: Exchange) -> None:
            if not driver.destroy_node(self._profile.handle(driver, exchange, provider_id)):
                raise Unavailable("the service did not confirm the deletion")

        try:
            await self._ask("delete", remove, one=True)
        except NotFound:
            return

    async def console(self, provider_id: str) -> str | None:
        """See `Backend.console`."""
        await self.get(provider_id)
        if not self._profile.console:
            return None
        text = await self._ask(
            "console",
            lambda driver, exchange: self._profile.read_console(driver, exchange, provider_id),
            one=True,
        )
        return "".join(c for c in text if c == "\n" or c.isprintable())[-MAX_CONSOLE:]

    async def close(self) -> None:
        """See `Backend.close`."""
        self._client.close()

    async def _ask(self, what: str, call: Callable[[Any, Exchange], T], *, one: bool = False) -> T:
        return await self._client.run(what, self._settings.request_timeout, call, one=one)

    async def _all(self, what: str, call: Callable[[Any, Exchange], T]) -> T:
        return await self._client.run(what, self._settings.inventory_timeout, call)


class _Retags(LibcloudBackend):
    async def retag(self, provider_id: str, tags: Mapping[str, str]) -> None:
        """See `Retag.retag`."""
        _check_id(provider_id)
        check_tags(tags)

        def change(driver: Any, exchange: Exchange) -> None:
            node = self._profile.node(driver, exchange, provider_id)
            self._profile.retag(driver, exchange, node, tags)
            shown = self._profile.tags_of(self._profile.node(driver, exchange, provider_id))
            if any(shown.get(name) != value for name, value in tags.items()):
                raise Unavailable("the service does not show the new tags")

        await self._ask("retag", change, one=True)


class _Powers(LibcloudBackend):
    async def start(self, provider_id: str) -> None:
        """See `Power.start`."""
        await self._turn(provider_id, "start_node", _UP)

    async def stop(self, provider_id: str) -> None:
        """See `Power.stop`."""
        await self._turn(provider_id, "stop_node", frozenset({ServerState.STOPPED}))

    async def _turn(self, provider_id: str, method: str, done: frozenset[ServerState]) -> None:
        _check_id(provider_id)

        def turn(driver: Any, exchange: Exchange) -> None:
            node = self._profile.node(driver, exchange, provider_id)
            if self._profile.state(node) in done:
                return
            if not getattr(driver, method)(node):
                raise Unavailable("the service did not confirm")

        await self._ask(method.partition("_")[0], turn, one=True)


class _ListsImages(LibcloudBackend):
    async def images(self) -> tuple[str, ...]:
        """See `Images.images`: names and ids."""

        def ask(driver: Any, _: Exchange) -> tuple[str, ...]:
            found: set[str] = set()
            for image in driver.list_images():
                found |= {str(image.id), str(image.name)}
            return tuple(sorted(found - {""}))

        return await self._all("images", ask)


def variant(profile: Profile) -> type[LibcloudBackend]:
    """The backend's class with the abilities that the driver gives."""
    return _variant(profile.retags, profile.powers, profile.lists_images)


@cache
def _variant(retags: bool, powers: bool, lists_images: bool) -> type[LibcloudBackend]:
    parts = [part for part, has in ((_Retags, retags), (_Powers, powers), (_ListsImages, lists_images)) if has]
    return type("LibcloudBackend", (*parts, LibcloudBackend), {"__doc__": LibcloudBackend.__doc__})


def _check_id(provider_id: str) -> None:
    if provider_id in {"", ".", ".."}:
        raise Invalid("is not the id of a server", field="providerID")
