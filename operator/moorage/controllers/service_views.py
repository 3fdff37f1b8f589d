"""Hosting services as policies and placements see them now: with what was promised there and is not there yet."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable
from datetime import datetime

from moorage.api import conditions as c
from moorage.api.placement import Placement
from moorage.api.servergroup import ServerGroup
from moorage.controllers.context import Surroundings
from moorage.controllers.observation import is_observed
from moorage.controllers.released import count
from moorage.controllers.tables import Tables
from moorage.core.failover import UNKNOWN, Reach
from moorage.core.group import granted
from moorage.core.placement.patience import FIRST_CONTACT
from moorage.core.services import NOT_SEEN_YET, ServiceView, not_seen_yet, service_view
from moorage.kube.errors import InvalidObject
from moorage.kube.store import Obj, key_of


class ServiceViews:
    """Built from caches alone."""

    def __init__(self, context: Surroundings, tables: Tables) -> None:
        self._context = context
        self._tables = tables

    def views(self) -> list[ServiceView]:
        """All services, with what was promised there and is not yet in their own count.

        One that cannot be read (a newer release's, say) is left out: it must not keep the others from being chosen.
        """
        found: list[ServiceView] = []
        for obj in self._tables.services:
            with contextlib.suppress(InvalidObject):
                service = self._tables.services.parse(obj)
                found.append(
                    service_view(
                        service,
                        servers=self._count(obj),
                        promised=self._promised(obj),
                        released=count(self._context, self._tables, obj),
                    )
                )
        return found

    def candidates(self) -> list[ServiceView]:
        """All services as a placement may see them: of one that this process has not looked at, nothing counts yet."""
        found = self.views()
        unseen = {view.uid for view in found if not self._context.knows(view.uid)}
        return [not_seen_yet(view, self._context.began()) if view.uid in unseen else view for view in found]

    def unread_until(self, views: Iterable[ServiceView], now: datetime) -> datetime | None:
        """Until when to wait for what a process before this one saw last of them to be seen anew; None: no longer."""
        end = self._context.began() + FIRST_CONTACT
        if now >= end:
            return None
        seen = (v for v in views if v.why_not[0] != NOT_SEEN_YET)
        return end if any(not self._context.knows(view.uid) for view in seen) else None

    def _count(self, service: Obj) -> int:
        return sum(not is_observed(o) for o in self._tables.servers.by_index("service", service["metadata"]["name"]))

    def _promised(self, service: Obj) -> int:
        """Servers of placed groups that do not exist yet, or that the service has not shown in an inventory yet."""
        name = service["metadata"]["name"]
        promised = 0
        for group in self._tables.groups.by_index("service", name):
            servers = self._tables.servers.by_index("group", key_of(group))
            there = [o for o in servers if o["spec"]["serviceRef"]["name"] == name]
            with contextlib.suppress(InvalidObject):
                promised += max(0, _wanted(self._tables.groups.parse(group)) - len(there))
        for server in self._tables.servers.by_index("service", name):
            known = (server.get("status") or {}).get("providerID")
            if is_observed(server):
                continue
            if known is None or not self._context.counts(service["metadata"]["uid"], known):
                promised += 1
        return promised

    def reach(self, placement: Placement | None) -> Reach:
        """Whether the service of a placement answers, as far as this process has seen."""
        if placement is None:
            return UNKNOWN
        obj = self._tables.services.by_uid(placement.service_uid)
        try:
            service = None if obj is None else self._tables.services.parse(obj)
        except InvalidObject:
            service = None
        if service is None:
            return UNKNOWN
        told = c.find(service.status.conditions, c.AVAILABLE)
        message = "" if told is None else told.message
        connection = self._context.connections.get(placement.service_uid)
        if connection is None:
            known, doubt = self._context.knows(placement.service_uid), message or "it was not reached yet"
            answers = told is not None and told.status == "True"
            return Reach(known, service.status.unreachable_since, message, "" if answers else doubt)
        looked = None if connection.latest is None else connection.latest.started
        if connection.answers:
            # Its status, which may still say otherwise, follows.
            return Reach(known=True, doubt=connection.doubt, looked=looked)
        known = self._context.knows(placement.service_uid)
        return Reach(known, service.status.unreachable_since, message, connection.doubt, looked)

    def beside(self, group: ServerGroup) -> dict[str, int]:
        """Servers of the policy's other groups, by service."""
        counts: dict[str, int] = {}
        key = (group.metadata.namespace, group.spec.policy_ref.name)
        for other in self._tables.groups.by_index("policy", key):
            try:
                parsed = self._tables.groups.parse(other)
            except InvalidObject:
                continue
            if parsed.metadata.uid != group.metadata.uid and parsed.status.placement is not None:
                service = parsed.status.placement.service
                counts[service] = counts.get(service, 0) + parsed.spec.replicas
        return counts


def _wanted(group: ServerGroup) -> int:
    """How many servers a placed group shall have; what a cost ceiling refuses it needs no room."""
    if not c.is_true(group.status.conditions, c.COST_LIMITED):
        return group.spec.replicas
    return sum(min(group.spec.replicas_of(member), granted(group, member)) for member in group.spec.members)
