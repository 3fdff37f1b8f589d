"""Whose an existing server is within this installation, before its tags can tell."""

from __future__ import annotations

from moorage.api.virtualserver import VirtualServer
from moorage.controllers.observation import is_observed, server_created
from moorage.controllers.tables import Tables
from moorage.kube.store import Obj


def rival_of(tables: Tables, server: VirtualServer, provider_id: str) -> bool:
    """Whether another VirtualServer has that server, or asked for it before.

    Tags decide between installations. Within one they come too late: of two objects that adopt one server at the same
    time, both would find it free, and one whose tags were taken off behind our back is somebody's all the same.
    """
    mine = (server_created(server), server.metadata.uid)
    return any(
        _has(other, provider_id) or (_asks_for(other, provider_id) and _age(other) < mine)
        for other in tables.servers.by_index("service", server.spec.service_ref.name)
        if other["metadata"]["uid"] != server.metadata.uid and not is_observed(other)
    )


def _has(other: Obj, provider_id: str) -> bool:
    status = other.get("status") or {}
    return bool(status.get("recordedAt") and status.get("providerID") == provider_id and not status.get("lost"))


def _asks_for(other: Obj, provider_id: str) -> bool:
    """An object that was refused, whose server was lost, or that is on its way out asks for nothing any more."""
    if other["metadata"].get("deletionTimestamp"):
        return False
    conditions = (other.get("status") or {}).get("conditions") or ()
    ended = any(c["type"] == "Stalled" and c["status"] == "True" for c in conditions)
    return bool((other["spec"].get("adopt") or {}).get("providerID") == provider_id and not ended)


def _age(obj: Obj) -> tuple[str, str]:
    return obj["metadata"].get("creationTimestamp") or "", obj["metadata"]["uid"]
