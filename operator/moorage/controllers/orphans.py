"""Servers of this installation and HostingService that no VirtualServer object stands for.

They can only come from finalizers that somebody stripped, restored backups or clones. They are reported; with
`orphanPolicy: Delete` they are deleted after a quarantine, on the word of two complete inventories and a live list.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from datetime import datetime, timedelta

from moorage.api.hostingservice import HostingService, Orphan
from moorage.controllers.context import Context
from moorage.controllers.tables import Tables
from moorage.core.facts import LookupResult
from moorage.core.lifecycle import overshoot
from moorage.hosting.errors import HostingError
from moorage.kube.kinds import HOSTING_SERVICE, VIRTUAL_SERVER
from moorage.runtime.service import ServiceConnection

log = logging.getLogger(__name__)

QUARANTINE = timedelta(minutes=10)
"""Counted by each process from when it missed the object, on the clock that nobody sets: a time of day may jump."""


class Orphans:
    """Looks for orphans after an inventory; remembers since when, beside what status says."""

    def __init__(self, context: Context, tables: Tables) -> None:
        self._context = context
        self._tables = tables
        self._since: dict[tuple[str, str], datetime] = {}
        self._missed: dict[str, dict[str, float]] = {}

    async def look(self, service: HostingService, connection: ServiceConnection) -> tuple[Orphan, ...]:
        """The orphans of the latest inventory, the oldest first; deletes those past the quarantine if told so."""
        candidates = {
            provider_id: uid
            for provider_id, uid in connection.owned.items()
            if self._tables.servers.by_uid(uid) is None
        }
        candidates = self._still_there(service.metadata.uid, connection, candidates)
        if candidates:
            candidates = await self._confirmed(candidates)
        now, key = self._context.clock.now(), service.metadata.uid
        recorded = {orphan.provider_id: orphan.since for orphan in service.status.orphans}
        for known in [k for k in self._since if k[0] == key and k[1] not in candidates]:
            del self._since[known]
        orphans = [
            Orphan(
                provider_id=provider_id,
                virtual_server=uid,
                since=self._since.setdefault((key, provider_id), recorded.get(provider_id, now.replace(microsecond=0))),
            )
            for provider_id, uid in candidates.items()
        ]
        orphans.sort(key=lambda orphan: (orphan.since, orphan.provider_id))
        if service.spec.orphan_policy == "Delete":
            await self._delete(service, connection, orphans)
        return tuple(orphans)

    def _still_there(self, service: str, connection: ServiceConnection, missing: Mapping[str, str]) -> dict[str, str]:
        """Only what an inventory shows that began after its object was missed: others may just have been deleted."""
        now, latest = self._context.clock.monotonic(), connection.latest
        known = self._missed.get(service, {})
        self._missed[service] = {provider_id: known.get(provider_id, now) for provider_id in missing}
        if latest is None:
            return {}
        return {
            provider_id: uid
            for provider_id, uid in missing.items()
            if latest.steady > self._missed[service][provider_id]
        }

    async def _confirmed(self, candidates: Mapping[str, str]) -> dict[str, str]:
        """Only what a live, uncached list does not know either."""
        listing = await self._context.client.list(VIRTUAL_SERVER, metadata_only=True)
        alive = {obj["metadata"]["uid"] for obj in listing.items}
        return {provider_id: uid for provider_id, uid in candidates.items() if uid not in alive}

    async def _delete(self, service: HostingService, connection: ServiceConnection, orphans: list[Orphan]) -> None:
        if overshoot(len(connection.owned), len(orphans)) or connection.foreign_account is not None:
            return
        over = self._context.clock.monotonic() - QUARANTINE.total_seconds()
        missed = self._missed[service.metadata.uid]
        for orphan in orphans:
            if missed[orphan.provider_id] > over or not self._seen_twice(connection, orphan.provider_id):
                continue
            owner = f"{self._context.installation.id}/{orphan.virtual_server}"
            try:
                lookup = await connection.ask(orphan.provider_id)
                if lookup.result is LookupResult.FOUND and lookup.seen is not None and lookup.seen.owner == owner:
                    await connection.delete(orphan.provider_id)
            except HostingError as error:
                log.info("orphan %s was not deleted: %s", orphan.provider_id, error.message)
                continue
            obj = self._tables.services.by_uid(service.metadata.uid)
            if obj is not None:
                message = f"server {orphan.provider_id} of no VirtualServer was deleted (orphanPolicy: Delete)"
                self._context.events.record(HOSTING_SERVICE, obj, "Warning", "OrphanDeleted", message)

    def _seen_twice(self, connection: ServiceConnection, provider_id: str) -> bool:
        return all(
            inventory is not None and provider_id in inventory.by_id
            for inventory in (connection.latest, connection.previous)
        )
