"""Released servers and orphans as limits and ceilings count them: they are paid for, and no VirtualServer stands for
them."""

from __future__ import annotations

from collections.abc import Iterable

from moorage.controllers.context import Surroundings
from moorage.controllers.tables import Tables
from moorage.core.facts import Seen
from moorage.kube.errors import InvalidObject
from moorage.kube.store import Obj


def released(context: Surroundings, tables: Tables, service: Obj) -> list[Seen]:
    """Those of a HostingService, as far as this process has seen; one that a VirtualServer has by now is not among
    them."""
    connection = context.connections.get(service["metadata"]["uid"])
    found = connection.released.servers() if connection is not None else {}
    name = service["metadata"]["name"]
    return [seen for key, seen in found.items() if not _is_held(tables.servers.by_index("provider", (name, key)))]


def count(context: Surroundings, tables: Tables, service: Obj, *, but: str = "") -> int:
    """How many there are, one that is about to be taken over apart; what status tells where nothing was seen yet."""
    connection = context.connections.get(service["metadata"]["uid"])
    if connection is None or connection.latest is None:
        return recorded(service)
    here = sum(seen.provider_id != but for seen in released(context, tables, service))
    return here + (_orphans(service) if connection.released.orphans is None else 0)


def untold(context: Surroundings, tables: Tables, service: Obj, namespace: str) -> int:
    """How many there are by the word of an earlier process alone, which tells neither whose they are nor of what size.

    0 where this process has judged for itself, and for a namespace that the service takes no servers of.
    """
    if context.judged(service["metadata"]["uid"]):
        return 0
    connection = context.connections.get(service["metadata"]["uid"])
    try:
        spec = tables.services.parse(service).spec
    except InvalidObject:
        spec = None
    if spec is not None and not spec.allowed_namespaces.matches(tables.namespace_labels(namespace)):
        return 0
    return recorded(service) if connection is None or connection.latest is None else _orphans(service)


def recorded(service: Obj | None) -> int:
    """How many the status of a HostingService tells."""
    if service is None:
        return 0
    return int((service.get("status") or {}).get("released") or 0) + _orphans(service)


def _orphans(service: Obj) -> int:
    return int((service.get("status") or {}).get("orphanCount") or 0)


def offering_of(context: Surroundings, server: Obj) -> str:
    """Of what an adopted server is: as its service shows it, or else as its object says, which a tenant may word."""
    spec, status = server["spec"], server.get("status") or {}
    connection = context.connections.get(spec["serviceRef"].get("uid") or "")
    seen = connection.known(status.get("providerID") or "") if connection is not None else None
    shown = seen.offering if seen is not None else None
    return str(shown or status.get("offering") or spec.get("offering") or "")


def _is_held(servers: Iterable[Obj]) -> bool:
    """Whether a VirtualServer has it, that is more than looks at it or asks for it."""
    return any((server.get("status") or {}).get("recordedAt") for server in servers)
