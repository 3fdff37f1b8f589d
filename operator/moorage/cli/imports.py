"""From the servers of a hosting service to the VirtualServers that would represent them."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from moorage.api.names import ANNOTATION_FOUND, API_VERSION
from moorage.cli.services import Known, Look, is_orphan, is_released, last_namespace, owner_of
from moorage.hosting.contract import ServerRecord, ServerState

_WORD = re.compile(r"[A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?")
_MAX_ID = 512


@dataclass(slots=True)
class Imported:
    """The objects, and how many servers were left out, by why."""

    objects: list[dict[str, Any]] = field(default_factory=list)
    left_out: dict[str, int] = field(default_factory=dict)

    def leave_out(self, why: str) -> None:
        """Count one."""
        self.left_out[why] = self.left_out.get(why, 0) + 1


@dataclass(frozen=True, slots=True)
class Wish:
    """What the user asked for. `others`: servers with another owner's tags, too. `manage`: take over what is free."""

    namespace: str
    others: bool = False
    manage: bool = False


def imported(look: Look, known: Known, wish: Wish) -> Imported:
    """One VirtualServer for each server that none stands for yet."""
    found = Imported()
    taken = {name for namespace, name in known.names if namespace == wish.namespace}
    service = look.service.metadata.name
    for record in look.servers:
        owner = owner_of(record)
        if (service, record.provider_id) in known.claims or owner in known.uids:
            found.leave_out("VirtualServers stand for them already")
        elif record.state is ServerState.TERMINATING:
            found.leave_out("they are being deleted")
        elif len(record.provider_id) > _MAX_ID:
            found.leave_out(f"their ids are longer than {_MAX_ID} characters")
        elif owner is not None and not is_released(record) and not wish.others:
            found.leave_out("their tags name another owner (--all)")
        else:
            name = _name(record, taken)
            taken.add(name)
            found.objects.append(_object(look, record, name, known, wish))
    return found


def _object(look: Look, record: ServerRecord, name: str, known: Known, wish: Wish) -> dict[str, Any]:
    relation, is_free = _relation(look, record, known, wish)
    metadata: dict[str, Any] = {"name": name, "namespace": wish.namespace}
    if relation:
        metadata["annotations"] = {ANNOTATION_FOUND: relation}
    spec: dict[str, Any] = {
        "serviceRef": {"name": look.service.metadata.name},
        "adopt": {"providerID": record.provider_id},
        "managementPolicy": "Manage" if wish.manage and is_free else "Observe",
    }
    if record.image and len(record.image) <= _MAX_ID:
        spec["image"] = record.image
    if record.offering and _WORD.fullmatch(record.offering):
        spec["offering"] = record.offering
    return {"apiVersion": API_VERSION, "kind": "VirtualServer", "metadata": metadata, "spec": spec}


def _relation(look: Look, record: ServerRecord, known: Known, wish: Wish) -> tuple[str, bool]:
    """In what relation to Moorage it is, for people, and whether it may be taken over."""
    owner = owner_of(record)
    if is_orphan(record, look.service, known):
        return "an orphan: it can be observed, or released first (moorage orphans) to be taken over", False
    if owner is not None and not is_released(record):
        return "its tags name another owner: it can be observed only", False
    if not look.can_retag:
        return "its service cannot write tags: it can be observed only", False
    if owner is None:
        return "", True
    namespace = last_namespace(record)
    if namespace not in {None, wish.namespace}:
        return f"released by namespace {namespace}: it can be taken over there, or observed", False
    return "released", True


def _name(record: ServerRecord, taken: Iterable[str]) -> str:
    """A host name after the server's own; where that is none, or taken, with a part of the digest of its id."""
    plain = re.sub(r"[^a-z0-9]+", "-", (record.name or "").lower()).strip("-")[:63].strip("-")
    if plain and plain not in taken:
        return plain
    digest = hashlib.sha256(record.provider_id.encode()).hexdigest()
    stem = (plain or "server")[:50].strip("-")
    return next(name for length in range(8, 65) if (name := f"{stem}-{digest[:length]}"[:63]) not in taken)


def summary(found: Imported) -> str:
    """One line for people."""
    policies: Mapping[str, int] = {
        policy: sum(obj["spec"]["managementPolicy"] == policy for obj in found.objects)
        for policy in ("Manage", "Observe")
    }
    told = ", ".join(f"{count} to {policy}" for policy, count in policies.items() if count) or "none"
    left = "".join(f"; {count} left out: {why}" for why, count in sorted(found.left_out.items()))
    return f"{told}{left}"
