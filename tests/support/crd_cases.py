"""One accepted and one rejected object for a rule of a CRD, as a row of a table."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from copy import deepcopy
from dataclasses import dataclass
from typing import Any

from moorage.api.crd import object_schema
from moorage.api.kinds import KINDS
from moorage.api.names import API_VERSION

Fields = Mapping[str, Any]

BASES: dict[str, dict[str, Any]] = {
    "HostingService": {"type": "local", "endpoint": "http://127.0.0.1:7070"},
    "VirtualServerConfig": {"images": [{"image": "debian-12"}]},
    "HostingPolicy": {"when": {"all": [{"name": "always", "schedule": {"from": "2026-01-01T00:00:00Z"}}]}},
    "ServerGroup": {"members": [{"name": "db", "configRef": {"name": "db"}}], "policyRef": {"name": "cheap"}},
    "VirtualServer": {
        "serviceRef": {"name": "anchor"},
        "group": {"name": "shop", "uid": "d1f0"},
        "member": "db",
        "image": "debian-12",
        "offering": "small",
    },
}
"""The least that each kind needs."""


@dataclass(frozen=True)
class Case:
    """The least object of `kind` with fields replaced (None: removed); `says` is a part of the message of one rule."""

    kind: str
    says: str
    at: str
    """The field that the API server points at."""
    rejected: Fields
    accepted: Fields
    before: Fields | None = None
    """For rules about changes: the object that is changed."""

    def __str__(self) -> str:
        words = self.says.replace(",", "").replace(";", "").split()[:7]
        return f"{self.kind}-{'-'.join(words)}-{self.at.removeprefix('spec.')}"


def built(kind: str, fields: Fields, name: str = "one") -> dict[str, Any]:
    """The object; the key `metadata.name` replaces its name, any other key a field of its spec."""
    spec = deepcopy(BASES[kind])
    for field, value in fields.items():
        if field == "metadata.name":
            name = value
        elif value is None:
            spec.pop(field)
        else:
            spec[field] = value
    return {"apiVersion": API_VERSION, "kind": kind, "metadata": {"name": name}, "spec": spec}


def messages(kind: str) -> set[str]:
    """The messages of all rules of a kind."""
    info = next(i for i in KINDS if i.kind == kind)
    return set(_messages(object_schema(info)))


def _messages(schema: Mapping[str, Any]) -> Iterator[str]:
    for rule in schema.get("x-kubernetes-validations", ()):
        yield rule["message"]
    inner = [
        *schema.get("properties", {}).values(),
        *(schema[k] for k in ("items", "additionalProperties") if k in schema),
    ]
    for child in inner:
        yield from _messages(child)


def message_of(case: Case) -> str:
    """The whole message of the rule that a case is about; the case must leave no doubt which."""
    found = [message for message in messages(case.kind) if case.says in message]
    assert len(found) == 1, f"{case.says!r} is in {len(found)} messages of {case.kind}: {found}"
    return found[0]
