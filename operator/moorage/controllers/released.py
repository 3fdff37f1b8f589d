"""Released servers and orphans as limits and ceilings count them: they are paid for, and no VirtualServer stands for
them."""

from __future__ import annotations

from collections.abc import Iterable

from moorage.controllers.context import Surroundings
from moorage.controllers.tables import Tables
from moorage.core.facts import Seen
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
        status = service.get("status") or {}
        return int((status.get("released") or 0) + (status.get("orphanCount") or 0))
    return sum(seen.provider_id != but for seen in released(context, tables, service))


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
