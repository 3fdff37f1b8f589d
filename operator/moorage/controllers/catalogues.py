"""The catalogues of sizes and prices that HostingServices refer to."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass

from moorage.api.catalogue import CatalogRef, Catalogue
from moorage.api.hostingservice import HostingService
from moorage.controllers.context import Context
from moorage.controllers.tables import Tables
from moorage.core.catalogue import CatalogueError, read_catalogue
from moorage.kube.errors import NotFound
from moorage.kube.kinds import CONFIG_MAP


@dataclass(frozen=True, slots=True)
class CatalogueSight:
    """A catalogue, or what is wrong with it: a reason and a message."""

    catalogue: Catalogue | None = None
    problem: tuple[str, str] | None = None


class Catalogues:
    """Reads each version of a ConfigMap once."""

    def __init__(self, context: Context, tables: Tables) -> None:
        self._context = context
        self._tables = tables
        self._read: dict[tuple[str, str], tuple[str, CatalogueSight]] = {}

    async def look(self, service: HostingService) -> CatalogueSight:
        """The catalogue that the service refers to; nothing where it refers to none. Raises ApiError."""
        ref = service.spec.catalog_ref
        if ref is None:
            return CatalogueSight()
        known = self._tables.config_maps.get(self._context.namespace, ref.name)
        if known is None:
            return self._missing(ref)
        key, version = (ref.name, ref.key), known["metadata"]["resourceVersion"]
        read = self._read.get(key)
        if read is not None and read[0] == version:
            return read[1]
        try:
            obj = await self._context.client.get(CONFIG_MAP, self._context.namespace, ref.name)
        except NotFound:
            return self._missing(ref)
        text = (obj.get("data") or {}).get(ref.key)
        sight = (
            self._without(ref, obj.get("data") or {}) if text is None else await asyncio.to_thread(_sight, ref, text)
        )
        self._read[key] = (obj["metadata"]["resourceVersion"], sight)
        return sight

    def _missing(self, ref: CatalogRef) -> CatalogueSight:
        message = (
            f"there is no ConfigMap {ref.name} in the controller's namespace {self._context.namespace}: create it there"
        )
        return CatalogueSight(problem=("CatalogueNotFound", message))

    def _without(self, ref: CatalogRef, data: dict[str, str]) -> CatalogueSight:
        has = f"it has {', '.join(sorted(data)[:10])}" if data else "it has none"
        message = f"ConfigMap {ref.name} has no key {ref.key}; {has}"
        return CatalogueSight(problem=("CatalogueNotFound", message))


def _sight(ref: CatalogRef, text: str) -> CatalogueSight:
    try:
        return CatalogueSight(read_catalogue(text))
    except CatalogueError as error:
        return CatalogueSight(problem=("CatalogueInvalid", f"ConfigMap {ref.name}, key {ref.key}: {error}"))
