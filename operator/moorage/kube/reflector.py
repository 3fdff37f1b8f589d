"""List and watch one kind into its table, for ever: deletions that no watch reported are found at each list."""

from __future__ import annotations

import asyncio
import logging
import random
from contextlib import aclosing
from typing import Any

from moorage.kube.answers import WatchEvent
from moorage.kube.backoff import Backoff
from moorage.kube.client import Client
from moorage.kube.errors import Gone, KubeError
from moorage.kube.store import Ingested, Sweep, Table

log = logging.getLogger(__name__)


class Reflector:
    """Keeps `table` equal to what the API server has of its kind, within the given namespace and selectors.

    Run `run()` as a task; `synced` is set after the first complete list. Several reflectors may feed one table.
    """

    def __init__(
        self,
        client: Client,
        table: Table[Any],
        *,
        namespace: str | None = None,
        labels: str = "",
        fields: str = "",
        metadata_only: bool = False,
        watch_seconds: float = 300.0,
        backoff: Backoff | None = None,
    ) -> None:
        self.synced = asyncio.Event()
        self.lists = 0
        self.last_error: str | None = None
        self._client = client
        self._table = table
        self._scope: dict[str, Any] = {
            "namespace": namespace,
            "labels": labels,
            "fields": fields,
            "metadata_only": metadata_only,
        }
        self._watch_seconds = watch_seconds
        self._backoff = backoff or Backoff(0.2, 10.0)
        self._mine: set[str] = set()
        self._version: str | None = None

    async def run(self) -> None:
        """List, watch, and begin again where that ends; returns only by cancellation."""
        while True:
            try:
                if self._version is None:
                    await self.relist()
                await self._watch()
                self._recovered()
            except Gone:
                self._version = None
                await asyncio.sleep(self._backoff.next())
            except KubeError as error:
                self._failed(error)
                await asyncio.sleep(self._backoff.next())
            except Exception:
                # Nobody else keeps this table: a fault of ours must not freeze it.
                log.exception("watching %s is begun anew", self._table.kind.plural)
                self._version = None
                await asyncio.sleep(self._backoff.next())

    async def relist(self) -> Sweep:
        """One complete list into the table; what the list lacks is removed. Raises ApiError."""
        listing = await self._client.list(self._table.kind, **self._scope)
        for obj in listing.items:
            self._table.ingest(obj)
        # A list of the whole kind also tells of what only our own writes put there.
        among = self._mine if any(self._scope[part] for part in ("namespace", "labels", "fields")) else None
        sweep = self._table.sweep(listing.items, listing.resource_version, among=among)
        self._mine = {obj["metadata"]["uid"] for obj in listing.items}
        self._version = listing.resource_version
        self.lists += 1
        self._recovered()
        self.synced.set()
        return sweep

    async def _watch(self) -> None:
        version = self._version or ""
        # Spread over time, so that all watches do not end together.
        seconds = self._watch_seconds * random.uniform(1.0, 1.5)  # noqa: S311 - jitter, not security
        events = self._client.watch(self._table.kind, resource_version=version, duration=seconds, **self._scope)
        async with aclosing(events):
            async for event in events:
                self._take(event)
                self._recovered()

    def _take(self, event: WatchEvent) -> None:
        meta = event.object["metadata"]
        self._version = meta["resourceVersion"]
        if event.type == "BOOKMARK":
            return
        deleted = event.type == "DELETED"
        became = self._table.ingest(event.object, deleted=deleted)
        if deleted or became is Ingested.REMOVED:
            self._mine.discard(meta["uid"])
        else:
            self._mine.add(meta["uid"])

    def _recovered(self) -> None:
        if self.last_error is not None:
            log.info("watching %s again", self._table.kind.plural)
        self.last_error = None
        self._backoff.reset()

    def _failed(self, error: KubeError) -> None:
        if self.last_error is None:
            log.warning("watching %s is interrupted: %s", self._table.kind.plural, error)
        self.last_error = str(error)
