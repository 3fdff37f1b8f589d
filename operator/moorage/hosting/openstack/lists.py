"""Listings over all pages, complete or failed; and the ids that names stand for."""

from __future__ import annotations

import asyncio
import re
import time
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Any, Final, TypeVar

from pydantic import BaseModel, ValidationError

from moorage.hosting.errors import Invalid, NotFound, TimedOut, Unavailable
from moorage.hosting.openstack.client import Cloud
from moorage.hosting.openstack.records import Flavor, Image, Server
from moorage.hosting.openstack.settings import OpenStackSettings

MAX_PAGES: Final = 10_000
PASSES: Final = 4
"""How often a listing is begun anew because servers moved while it was read."""
KEPT: Final = 60.0
"""Seconds for which the id of a name is kept."""
_UUID: Final = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}")
Model = TypeVar("Model", bound=BaseModel)


class _Moved(Exception):
    """The listing did not hold still."""


class Lists:
    """The listings of one cloud."""

    def __init__(self, cloud: Cloud, settings: OpenStackSettings) -> None:
        self._cloud = cloud
        self._settings = settings
        self._ids: dict[tuple[str, str], tuple[float, Any]] = {}

    @asynccontextmanager
    async def in_time(self, what: str) -> AsyncIterator[float]:
        """A listing's time; gives its deadline (monotonic). Raises TimedOut."""
        try:
            async with asyncio.timeout(self._settings.inventory_timeout):
                yield time.monotonic() + self._settings.inventory_timeout
        except TimeoutError:
            raise TimedOut(f"{what} did not end in time") from None

    async def servers(self, deadline: float, query: Mapping[str, str] = {}) -> tuple[Server, ...]:
        """All servers of the project that the query selects, each once.

        Nova lists those that have no host yet from another table, in front of the others. One that gets its host
        between two pages may come twice, or, where its id was where the next page begins, hide others: then the listing
        is begun anew.
        """
        for _ in range(PASSES):
            try:
                return await self._pass(deadline, query)
            except _Moved:
                continue
        raise Unavailable("servers: the list does not hold still, or does not go on where it stopped")

    async def _pass(self, deadline: float, query: Mapping[str, str]) -> tuple[Server, ...]:
        servers: dict[str, Server] = {}
        unsettled: list[str] = []
        async for page, more in self._pages("servers", Server, deadline, query):
            for server in page:
                if server.id in servers:
                    raise _Moved
                servers[server.id] = server
            if more and not page[-1].host_id and page[-1].status == "BUILD":
                unsettled.append(page[-1].id)
        for server_id in unsettled:
            try:
                found = await self._cloud.call("compute", "GET", f"/servers/{server_id}", "servers", deadline)
            except NotFound:
                raise _Moved from None
            if parsed("servers", Server, found.get("server")).host_id:
                raise _Moved
        return tuple(servers.values())

    async def _pages(
        self, kind: str, model: type[Model], deadline: float, query: Mapping[str, str]
    ) -> AsyncIterator[tuple[list[Model], bool]]:
        """The pages of a collection of Nova's, each with whether there are more."""
        asked = {**query, "limit": str(self._settings.page_size)}
        markers: set[str] = set()
        for _ in range(MAX_PAGES):
            try:
                answer = await self._cloud.call("compute", "GET", f"/{kind}/detail", kind, deadline, query=asked)
            except Invalid:
                if not markers:
                    raise
                # What the next page begins after is gone.
                raise _Moved from None
            items = answer.get(kind)
            links = answer.get(f"{kind}_links", [])
            if not isinstance(items, list) or not isinstance(links, list):
                raise Unavailable(f"{kind}: the answer makes no sense")
            page = [parsed(kind, model, item) for item in items]
            more = any(isinstance(link, dict) and link.get("rel") == "next" for link in links)
            if more and not page:
                raise Unavailable(f"{kind}: a page is empty and there are more")
            yield page, more
            if not more:
                return
            marker = str(page[-1].id)  # type: ignore[attr-defined]  # all models of this module have one
            if marker in markers:
                raise _Moved
            markers.add(marker)
            asked["marker"] = marker
        raise Unavailable(f"{kind}: the list has more than {MAX_PAGES} pages")

    async def flavors(self, deadline: float) -> tuple[Flavor, ...]:
        """All flavors that the project may use."""
        for _ in range(PASSES):
            found: dict[str, Flavor] = {}
            try:
                async for page, _more in self._pages("flavors", Flavor, deadline, {}):
                    found |= {flavor.id: flavor for flavor in page}
            except _Moved:
                continue
            return tuple(found.values())
        raise Unavailable("flavors: the list does not hold still")

    async def images(self, deadline: float, query: Mapping[str, str] = {}) -> tuple[Image, ...]:
        """All images that Glance lists for the project and that can be booted, hidden ones too."""
        found: dict[str, Image] = {}
        for hidden in ("false", "true"):
            asked = {**query, "visibility": "all", "os_hidden": hidden, "status": "active"}
            asked["limit"] = str(self._settings.page_size)
            for _ in range(MAX_PAGES):
                answer = await self._cloud.call("image", "GET", "/v2/images", "images", deadline, query=asked)
                items = answer.get("images")
                if not isinstance(items, list):
                    raise Unavailable("images: the answer makes no sense")
                page = [parsed("images", Image, item) for item in items]
                if any(image.id in found for image in page):
                    raise Unavailable("images: the list does not go on where it stopped")
                found |= {image.id: image for image in page}
                if not answer.get("next"):
                    break
                if not page:
                    raise Unavailable("images: a page is empty and there are more")
                asked["marker"] = page[-1].id
            else:
                raise Unavailable(f"images: the list has more than {MAX_PAGES} pages")
        return tuple(found.values())

    async def image_id(self, image: str, deadline: float) -> str:
        """The id of an image that is named by its name or id. Raises Invalid(field="image")."""
        kept = self._kept("image", image)
        if kept is None:
            query = {"id": f"in:{image}"} if _UUID.fullmatch(image) else {"name": image}
            found = [one.id for one in await self.images(deadline, query) if image in {one.id, one.name}]
            kept = self._keep("image", image, _one(found, "image", image, "image"))
        return str(kept)

    async def flavor(self, offering: str, deadline: float) -> Flavor:
        """The flavor of that name or id. Raises Invalid(field="offering")."""
        kept = self._kept("flavor", offering)
        if kept is None:
            flavors = await self.flavors(deadline)
            named = [one for one in flavors if one.name == offering]
            found = {one.id: one for one in named or [one for one in flavors if one.id == offering]}
            kept = self._keep("flavor", offering, found[_one(list(found), "flavor", offering, "offering")])
        assert isinstance(kept, Flavor)  # noqa: S101 - what was kept as one
        return kept

    async def network_id(self, network: str, deadline: float) -> str:
        """The id of a network that is named by its name or id. Raises Invalid(field="settings.networks")."""
        if _UUID.fullmatch(network):
            return network
        kept = self._kept("network", network)
        if kept is None:
            answer = await self._cloud.call(
                "network", "GET", "/v2.0/networks", "networks", deadline, query={"name": network, "fields": "id"}
            )
            items = answer.get("networks")
            if not isinstance(items, list) or not all(
                isinstance(i, dict) and isinstance(i.get("id"), str) for i in items
            ):
                raise Unavailable("networks: the answer makes no sense")
            found = [item["id"] for item in items]
            kept = self._keep("network", network, _one(found, "network", network, "settings.networks"))
        return str(kept)

    def forget(self) -> None:
        """Forget the ids of names: one of them was refused."""
        self._ids.clear()

    def _kept(self, kind: str, name: str) -> Any:
        until, value = self._ids.get((kind, name), (0.0, None))
        return value if time.monotonic() < until else None

    def _keep(self, kind: str, name: str, value: Any) -> Any:
        if len(self._ids) > 1000:
            self._ids.clear()
        self._ids[(kind, name)] = (time.monotonic() + KEPT, value)
        return value


def parsed(what: str, model: type[Model], value: object) -> Model:
    """The object as its model. Raises Unavailable."""
    try:
        return model.model_validate(value)
    except ValidationError:
        raise Unavailable(f"{what}: the answer makes no sense, or leaves out a part") from None


def _one(ids: Sequence[str], kind: str, name: str, field: str) -> str:
    if len(ids) == 1:
        return ids[0]
    if not ids:
        raise Invalid(f"there is no {kind} {name!r} that this project may use", field=field)
    raise Invalid(f"there are {len(ids)} {kind}s named {name!r}: use the id of one", field=field)
