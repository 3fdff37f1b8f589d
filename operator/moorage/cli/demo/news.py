"""What changed between two versions of an object, in words for the demo's timeline. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

from moorage.api.conditions import AVAILABLE, CONFIGURED, INSTANTIATED, READY
from moorage.api.hostingservice import HostingService
from moorage.api.servergroup import ServerGroup
from moorage.api.virtualserver import VirtualServer

Obj = dict[str, Any]


def news(kind: str, old: Obj | None, new: Obj | None) -> list[str]:
    """What became true with the change from `old` to `new`; None is an object that is not there."""
    match kind:
        case HostingService.KIND:
            return list(_conditions(old, new, (AVAILABLE,)))
        case ServerGroup.KIND:
            return [*_group(old, new), *_conditions(old, new, (INSTANTIATED, CONFIGURED, READY))]
        case VirtualServer.KIND:
            return [*_server(old, new), *_conditions(old, new, (INSTANTIATED, CONFIGURED, READY))]
        case _:
            return []


def _status(obj: Obj | None) -> Obj:
    return (obj or {}).get("status") or {}


def _conditions(old: Obj | None, new: Obj | None, types: Iterable[str]) -> Iterator[str]:
    before = {c["type"]: c["status"] for c in _status(old).get("conditions", ())}
    for condition in _status(new).get("conditions", ()):
        type_, value = condition["type"], condition["status"]
        if type_ not in types or before.get(type_) == value:
            continue
        if value == "True":
            yield type_
        elif before.get(type_) == "True":
            yield f"no longer {type_}: {condition.get('message') or condition.get('reason')}"


def _group(old: Obj | None, new: Obj | None) -> Iterator[str]:
    if new is None:
        yield "gone"
        return
    was, now = _status(old), _status(new)
    policy = now.get("policy") or {}
    if policy and policy.get("verdict") != (was.get("policy") or {}).get("verdict"):
        yield f"policy {policy['verdict']}: {policy.get('message', '')}".rstrip(": ")
    placement = now.get("placement") or {}
    if placement and placement.get("number") != (was.get("placement") or {}).get("number"):
        yield f"placed on {placement['service']}: {placement.get('message', '')}".rstrip(": ")
    if placement.get("gateOpened") and not (was.get("placement") or {}).get("gateOpened"):
        yield "all servers run: configuration begins to flow"


def _server(old: Obj | None, new: Obj | None) -> Iterator[str]:
    if new is None:
        yield "gone"
        return
    if old is None:
        yield "to be created"
    elif new["metadata"].get("deletionTimestamp") and not old["metadata"].get("deletionTimestamp"):
        yield "being deleted"
    was, now = _status(old), _status(new)
    if now.get("providerID") and not was.get("providerID"):
        yield f"is {now['providerID']} at the service"
    yield from _items(was, now)
    yield from _agent(was.get("agent") or {}, now.get("agent") or {}, now)


def _items(was: Obj, now: Obj) -> Iterator[str]:
    """Items whose value comes from another server; the rest is known from the start."""
    before = {item["name"]: item for item in (was.get("configuration") or {}).get("items", ())}
    for item in (now.get("configuration") or {}).get("items", ()):
        if "output" not in item.get("source", ""):
            continue
        old = before.get(item["name"], {})
        if item["state"] != old.get("state") or item.get("revision") != old.get("revision"):
            yield f"item {item['name']} is {item['state']}"
        if item.get("stale") and not old.get("stale"):
            yield f"item {item['name']} is stale, the last value stays in force"


def _agent(was: Obj, now: Obj, status: Obj) -> Iterator[str]:
    if now.get("joinedAt") and not was.get("joinedAt"):
        yield "its agent has joined"
    acknowledged = now.get("acknowledgedRevision", 0)
    if acknowledged and acknowledged != was.get("acknowledgedRevision", 0):
        # What a configuration lacks is known as long as no later one has been rendered.
        rendered = status.get("configuration") or {}
        items = rendered.get("items", ()) if rendered.get("revision") == acknowledged else ()
        pending = [item["name"] for item in items if item["state"] == "Pending"]
        rest = f", without {', '.join(pending)}" if pending else ""
        yield f"configuration {acknowledged} in force{rest}"
    before = {output["name"]: output for output in was.get("outputs", ())}
    for output in now.get("outputs", ()):
        if output.get("value") and output["value"] != before.get(output["name"], {}).get("value"):
            yield f"publishes {output['name']} = {output['value']}"
