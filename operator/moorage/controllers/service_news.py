"""What is heard of a hosting service, handed on to the servers that it is about."""

from __future__ import annotations

from moorage.api.hostingservice import HostingService
from moorage.api.names import ANNOTATION_MAX_PRICE
from moorage.controllers.context import Context
from moorage.controllers.tables import Tables
from moorage.core.facts import Lookup
from moorage.kube.kinds import HOSTING_SERVICE, SERVER_GROUP, VIRTUAL_SERVER
from moorage.kube.store import Obj, key_of
from moorage.runtime.service import ServiceConnection


class ServiceNews:
    """Built from caches alone."""

    def __init__(self, context: Context, tables: Tables) -> None:
        self._context = context
        self._tables = tables

    def recorded(self, service: str) -> list[tuple[str, float]]:
        """By the clock by which servers are judged to be missing; one that was not looked at yet is not judged."""
        found: list[tuple[str, float]] = []
        for obj in self._tables.servers.by_index("service", service):
            status, memory = obj.get("status") or {}, self._context.memories.get(obj["metadata"]["uid"])
            known = memory.recorded if memory is not None else None
            leaving = status.get("lost") or obj["metadata"].get("deletionTimestamp")
            if known is not None and known[0] is not None and known[0] == status.get("providerID") and not leaving:
                found.append((known[0], known[1]))
        return found

    def on_inventory(self, service: str, changed: set[str]) -> None:
        """Whatever changed, and whatever waits for an inventory, is looked at again."""
        for key in changed:
            for obj in self._tables.servers.by_index("identity", key):
                meta = obj["metadata"]
                self._context.enqueue(VIRTUAL_SERVER, meta["namespace"], meta["name"], hot=True)
        self._wake_missing(service)
        for group in self._tables.groups.by_index("service", service):
            if (group.get("status") or {}).get("failover"):
                # It may wait for just this before it gives servers up.
                self._context.enqueue(SERVER_GROUP, *key_of(group))
        self._context.enqueue(HOSTING_SERVICE, "", service)

    def on_event(self, service: str, provider_id: str, lookup: Lookup) -> bool:
        """A direct answer that an event led to, for whoever is that server. False where that is nobody."""
        found = {o["metadata"]["uid"]: o for o in self._tables.servers.by_index("provider", (service, provider_id))}
        if lookup.seen is not None and lookup.seen.key is not None:
            for obj in self._tables.servers.by_index("identity", lookup.seen.key):
                found.setdefault(obj["metadata"]["uid"], obj)
        for uid, obj in found.items():
            memory, recorded = self._context.memory(uid), (obj.get("status") or {}).get("providerID")
            made = memory.created.provider_id if memory.created is not None else None
            if provider_id in {recorded, made, (obj["spec"].get("adopt") or {}).get("providerID")}:
                memory.lookup = lookup
            meta = obj["metadata"]
            self._context.enqueue(VIRTUAL_SERVER, meta["namespace"], meta["name"], hot=True)
        return bool(found)

    def _wake_missing(self, service: str) -> None:
        obj = self._tables.services.get(None, service)
        connection = self._context.connections.get(obj["metadata"]["uid"]) if obj is not None else None
        if connection is None or connection.latest is None:
            return
        for server in self._tables.servers.by_index("service", service):
            meta, status = server["metadata"], server.get("status") or {}
            memory = self._context.memories.get(meta["uid"])
            waits = memory is not None and memory.waits_for_inventory
            missing = status.get("providerID") is not None and status["providerID"] not in connection.latest.by_id
            if waits or missing or _adopted_changed(server, connection):
                self._context.enqueue(VIRTUAL_SERVER, meta["namespace"], meta["name"])

    def looked_at(self, service: HostingService) -> None:
        """The first status of this process: from now on groups may be placed there, or be found to have to leave."""
        if service.metadata.uid in self._context.looked_at:
            return
        self._context.looked_at.add(service.metadata.uid)
        there = {key_of(group) for group in self._tables.groups.by_index("service", service.metadata.name)}
        for group in self._tables.groups:
            status, key = group.get("status") or {}, key_of(group)
            if key in there or not status.get("placement") or status.get("failover") or status.get("exhausted"):
                self._context.enqueue(SERVER_GROUP, *key)

    def counted(self, service: HostingService) -> None:
        """This process knows now what runs there without an object: groups under a ceiling may have waited for it."""
        if not (service.status.released or service.status.orphan_count):
            return
        for group in self._tables.groups:
            namespace, name = key_of(group)
            if ANNOTATION_MAX_PRICE in self._tables.namespace_annotations(namespace):
                self._context.enqueue(SERVER_GROUP, namespace, name)

    def wake_waiting(self, service: HostingService) -> None:
        """Servers that could do nothing while the service was out of reach."""
        for server in self._tables.servers.by_index("service", service.metadata.name):
            meta = server["metadata"]
            memory = self._context.memories.get(meta["uid"])
            if memory is None or memory.waits_for_service:
                self._context.enqueue(VIRTUAL_SERVER, meta["namespace"], meta["name"])


def _adopted_changed(server: Obj, connection: ServiceConnection) -> bool:
    """Whether an adopted server looks other than before: it keeps the key of its first owner, so no key tells that."""
    adopt = server["spec"].get("adopt")
    if adopt is None or connection.latest is None:
        return False
    before = connection.previous.by_id.get(adopt["providerID"]) if connection.previous is not None else None
    now, told = connection.latest.by_id.get(adopt["providerID"]), (server.get("status") or {}).get("state")
    # The inventory before is kept while it is younger than the lag: what went and came back since equals it.
    return now != before or (now is not None and now.state.value != told)
