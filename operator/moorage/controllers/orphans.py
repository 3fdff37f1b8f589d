"""Servers of this installation and HostingService that no VirtualServer object stands for.

They can only come from finalizers that somebody stripped, restored backups or clones. They are reported; with
`orphanPolicy: Delete` they are deleted after a quarantine, on the word of two complete inventories and a live list.
A person may order single ones to be released or deleted (`moorage.core.orphans`): quarantine and freeze are not for
these, since somebody has looked; whose the server is, is asked once more all the same.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from datetime import datetime, timedelta

from moorage.api.hostingservice import HostingService, Orphan
from moorage.api.names import ANNOTATION_ORPHANS
from moorage.controllers.context import Context
from moorage.controllers.tables import Tables
from moorage.core.facts import LookupResult
from moorage.core.lifecycle import overshoot
from moorage.core.orphans import Order, read_orders
from moorage.hosting.contract import RELEASED, TAG_SERVER
from moorage.hosting.errors import HostingError, Unavailable
from moorage.kube.events import EventType
from moorage.kube.kinds import HOSTING_SERVICE, VIRTUAL_SERVER
from moorage.runtime.service import ServiceConnection

log = logging.getLogger(__name__)

QUARANTINE = timedelta(minutes=10)
"""Counted by each process from when it missed the object, on the clock that nobody sets: a time of day may jump."""

ORDER_PAUSE = 30.0
"""Seconds until an order that the service accepted, and has not carried out, is given again."""


class Orphans:
    """Looks for orphans after an inventory; remembers since when, beside what status says."""

    def __init__(self, context: Context, tables: Tables) -> None:
        self._context = context
        self._tables = tables
        self._since: dict[tuple[str, str], datetime] = {}
        self._missed: dict[str, dict[str, float]] = {}
        self._began: dict[str, float] = {}
        self._judged: set[str] = set()
        self._ordered: dict[tuple[str, str, str], float] = {}
        self._unread: dict[str, str] = {}

    async def look(self, service: HostingService, connection: ServiceConnection) -> tuple[Orphan, ...] | None:
        """The orphans of the latest inventory, the oldest first; deletes those past the quarantine if told so.

        They count from then on for ceilings and limits. None until this process could judge once: until then what
        status tells, by an earlier one, is the best word.
        """
        candidates = {
            provider_id: uid
            for provider_id, uid in connection.owned.items()
            if self._tables.servers.by_uid(uid) is None
        }
        missing = bool(candidates)
        candidates = self._still_there(service.metadata.uid, connection, candidates)
        if not self._may_judge(service.metadata.uid, connection, missing=missing):
            return None
        if candidates:
            candidates = await self._confirmed(candidates)
        now, key = self._context.clock.now(), service.metadata.uid
        recorded = {orphan.provider_id: orphan.since for orphan in service.status.orphans}
        for known in [k for k in self._since if k[0] == key and k[1] not in candidates]:
            del self._since[known]
        for done in [k for k in self._ordered if k[0] == key and k[1] not in candidates]:
            del self._ordered[done]
        orphans = [
            Orphan(
                provider_id=provider_id,
                virtual_server=uid,
                since=self._since.setdefault((key, provider_id), recorded.get(provider_id, now.replace(microsecond=0))),
            )
            for provider_id, uid in candidates.items()
        ]
        orphans.sort(key=lambda orphan: (orphan.since, orphan.provider_id))
        orphans = await self._obey(service, connection, orphans)
        if service.spec.orphan_policy == "Delete":
            await self._delete(service, connection, orphans)
        connection.released.orphans = frozenset(orphan.provider_id for orphan in orphans)
        return tuple(orphans)

    def _still_there(self, service: str, connection: ServiceConnection, missing: Mapping[str, str]) -> dict[str, str]:
        """Only what an inventory shows that began after its object was missed: others may just have been deleted."""
        now, latest = self._context.clock.monotonic(), connection.latest
        known = self._missed.get(service, {})
        self._missed[service] = {provider_id: known.get(provider_id, now) for provider_id in missing}
        if latest is None:
            return {}
        # A server that was deleted with its object may be listed for as long as the listings lag.
        lag = connection.backend.capabilities.listing_lag
        return {
            provider_id: uid
            for provider_id, uid in missing.items()
            if latest.steady > self._missed[service][provider_id] + lag
        }

    def _may_judge(self, service: str, connection: ServiceConnection, *, missing: bool) -> bool:
        """Whether an inventory tells of what was missed when this process first looked; from then on for good."""
        if service in self._judged:
            return True
        if connection.latest is None:
            return False
        began = self._began.setdefault(service, self._context.clock.monotonic())
        if missing and connection.latest.steady <= began + connection.backend.capabilities.listing_lag:
            return False
        self._judged.add(service)
        return True

    async def _confirmed(self, candidates: Mapping[str, str]) -> dict[str, str]:
        """Only what a live, uncached list does not know either."""
        listing = await self._context.client.list(VIRTUAL_SERVER, metadata_only=True)
        alive = {obj["metadata"]["uid"] for obj in listing.items}
        return {provider_id: uid for provider_id, uid in candidates.items() if uid not in alive}

    # By order of a person

    async def _obey(
        self, service: HostingService, connection: ServiceConnection, orphans: list[Orphan]
    ) -> list[Orphan]:
        """Carry out what was ordered about single orphans; what keeps an order from being carried out is told."""
        orders = {(order.provider_id, order.virtual_server): order for order in self._orders(service)}
        if not orders:
            return orphans
        found: list[Orphan] = []
        for orphan in orphans:
            order = orders.get((orphan.provider_id, orphan.virtual_server))
            message = "" if order is None else await self._carry_out(service, connection, order)
            found.append(orphan.model_copy(update={"message": message}) if message else orphan)
        return found

    def _orders(self, service: HostingService) -> tuple[Order, ...]:
        text, uid = service.metadata.annotations.get(ANNOTATION_ORPHANS), service.metadata.uid
        try:
            return read_orders(text)
        except ValueError as error:
            if self._unread.get(uid) != text:
                self._unread[uid] = text or ""
                message = f"the annotation {ANNOTATION_ORPHANS} cannot be read: {error}"
                self._event(service, "Warning", "OrphanOrderInvalid", message)
            return ()

    async def _carry_out(self, service: HostingService, connection: ServiceConnection, order: Order) -> str:
        """Why it is not done, or how far it is."""
        if connection.foreign_account is not None:
            return f"the service answers for another account, so nothing is done about this ({order.action})"
        key, now = (service.metadata.uid, order.provider_id, order.virtual_server), self._context.clock.monotonic()
        if now < self._ordered.get(key, -ORDER_PAUSE) + ORDER_PAUSE:
            return f"{order.action} was asked for; the service has not shown it yet"
        owner = f"{self._context.installation.id}/{order.virtual_server}"
        try:
            lookup = await connection.ask(order.provider_id)
            if lookup.seen is None or lookup.seen.owner != owner:
                connection.need_inventory(self._context.clock.now())
                return "it is gone, or somebody else's now; the next inventory tells"
            if order.action == "Delete":
                await connection.delete(order.provider_id)
            else:
                await self._release(connection, order.provider_id)
        except HostingError as error:
            return f"{order.action} failed: {error.message}"
        self._ordered[key] = now
        connection.need_inventory(self._context.clock.now())
        done, reason = ("deleted", "OrphanDeleted") if order.action == "Delete" else ("released", "OrphanReleased")
        message = f"server {order.provider_id} of no VirtualServer was {done} as ordered ({ANNOTATION_ORPHANS})"
        self._event(service, "Normal", reason, message)
        return f"{order.action} was asked for; the service has not shown it yet"

    async def _release(self, connection: ServiceConnection, provider_id: str) -> None:
        """Rewrite the owner to `released` and verify it. Raises HostingError."""
        await connection.retag(provider_id, {TAG_SERVER: RELEASED})
        lookup = await connection.ask(provider_id)
        if lookup.seen is not None and lookup.seen.owner != RELEASED:
            raise Unavailable("the service does not show the new tags yet")

    def _event(self, service: HostingService, kind: EventType, reason: str, message: str) -> None:
        obj = self._tables.services.by_uid(service.metadata.uid)
        if obj is not None:
            self._context.events.record(HOSTING_SERVICE, obj, kind, reason, message)

    # By orphanPolicy

    async def _delete(self, service: HostingService, connection: ServiceConnection, orphans: list[Orphan]) -> None:
        if (
            overshoot(len(connection.owned), len(orphans))
            or connection.frozen
            or connection.foreign_account is not None
        ):
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
            message = f"server {orphan.provider_id} of no VirtualServer was deleted (orphanPolicy: Delete)"
            self._event(service, "Warning", "OrphanDeleted", message)

    def _seen_twice(self, connection: ServiceConnection, provider_id: str) -> bool:
        return all(
            inventory is not None and provider_id in inventory.by_id
            for inventory in (connection.latest, connection.previous)
        )
