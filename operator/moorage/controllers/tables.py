"""The caches: which kinds, by which indexes, and what a change of an object has reconciled."""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any

from moorage.api.hostingpolicy import KINDS_OF_CONDITION, HostingPolicy
from moorage.api.hostingservice import HostingService
from moorage.api.names import (
    ANNOTATION_REVOKED,
    ANNOTATION_SERVER,
    ANNOTATION_STATE,
    LABEL_ALLOW_PROBES,
    LABEL_CONFIG,
    LABEL_SECRET,
)
from moorage.api.servergroup import ServerGroup
from moorage.api.virtualserver import VirtualServer
from moorage.api.virtualserverconfig import VirtualServerConfig, VirtualServerConfigSpec
from moorage.core.configuration import CompiledConfig, compile_config
from moorage.hosting.contract import identity_key
from moorage.kube import kinds
from moorage.kube.store import IndexFunction, Obj, Store, Table, as_is

SERVICE_DEBOUNCE = 0.5
USAGE_DEBOUNCE = 1.0
PARSED_SERVERS = 256
"""VirtualServers that are kept in their typed form (20 KB each): those that are looked at, with their groups."""


@dataclass(frozen=True, slots=True)
class Revision:
    """One generation of a VirtualServerConfig, as a ControllerRevision keeps it."""

    name: str
    config: str
    spec: VirtualServerConfigSpec = field(repr=False)
    compiled: CompiledConfig = field(repr=False)


def parse_revision(obj: Obj) -> Revision:
    """Raises pydantic.ValidationError where the kept data is no configuration."""
    data = obj.get("data")
    spec = VirtualServerConfigSpec.from_dict(data.get("spec") if isinstance(data, dict) else None)
    labels = obj["metadata"].get("labels") or {}
    return Revision(obj["metadata"]["name"], labels.get(LABEL_CONFIG, ""), spec, compile_config(spec))


@dataclass(frozen=True, slots=True)
class Tables:
    """Typed access to the store."""

    services: Table[HostingService]
    configs: Table[VirtualServerConfig]
    policies: Table[HostingPolicy]
    groups: Table[ServerGroup]
    servers: Table[VirtualServer]
    revisions: Table[Revision]
    secrets: Table[Obj]
    config_maps: Table[Obj]
    namespaces: Table[Obj]

    def namespace_labels(self, namespace: str) -> dict[str, str]:
        """The labels of a namespace; none where it is not known."""
        found = self.namespaces.get(None, namespace)
        return {} if found is None else found["metadata"].get("labels") or {}

    def namespace_annotations(self, namespace: str) -> dict[str, str]:
        """The annotations of a namespace; none where it is not known."""
        found = self.namespaces.get(None, namespace)
        return {} if found is None else found["metadata"].get("annotations") or {}


def _ns(obj: Obj) -> str:
    return str(obj["metadata"].get("namespace") or "")


def _server_group(obj: Obj) -> Iterable[Hashable]:
    group = obj["spec"].get("group")
    return [(_ns(obj), group["name"])] if group else []


def _server_config(obj: Obj) -> Iterable[Hashable]:
    """The revision that a server rests on, and the configuration that an adopted one follows."""
    spec = obj["spec"]
    found: list[Hashable] = []
    if spec.get("revision"):
        found.append(("revision", _ns(obj), spec["revision"]))
    if spec.get("configRef"):
        found.append(("config", _ns(obj), spec["configRef"]["name"]))
    return found


def _server_provider(obj: Obj) -> Iterable[Hashable]:
    """The service and the id of the server there, that of one to be adopted included."""
    spec, known = obj["spec"], (obj.get("status") or {}).get("providerID")
    ids = {id_ for id_ in (known, (spec.get("adopt") or {}).get("providerID")) if id_}
    return [(spec["serviceRef"]["name"], id_) for id_ in ids]


def _policy_conditions(obj: Obj) -> Iterable[Hashable]:
    """The kinds of condition that a policy has, however deeply nested."""
    return {kind for clause in _clauses(obj["spec"].get("when")) for kind in KINDS_OF_CONDITION if kind in clause}


def _clauses(value: Any) -> Iterator[Obj]:
    """A part of `when` and all within it; what has another shape is for the reader to complain of."""
    if isinstance(value, dict):
        yield value
        for inner in ("all", "any", "not"):
            yield from _clauses(value.get(inner))
    elif isinstance(value, list):
        for part in value:
            yield from _clauses(part)


def _group_configs(obj: Obj) -> Iterable[Hashable]:
    return {(_ns(obj), member["configRef"]["name"]) for member in obj["spec"]["members"]}


def _group_service(obj: Obj) -> Iterable[Hashable]:
    placement = (obj.get("status") or {}).get("placement")
    return [placement["service"]] if placement else []


def slim_metadata(obj: Obj) -> Obj:
    """The little of a Secret or ConfigMap that is looked at; there are three Secrets for each server."""
    meta = obj["metadata"]
    kept: dict[str, Any] = {key: meta[key] for key in ("name", "namespace", "uid", "resourceVersion")}
    if meta.get("deletionTimestamp"):
        kept["deletionTimestamp"] = meta["deletionTimestamp"]
        kept["finalizers"] = meta.get("finalizers") or []
    annotations, labels = meta.get("annotations") or {}, meta.get("labels") or {}
    if LABEL_SECRET in labels:
        kept["labels"] = {LABEL_SECRET: labels[LABEL_SECRET]}
        told = (ANNOTATION_SERVER, ANNOTATION_STATE, ANNOTATION_REVOKED)
        kept["annotations"] = {k: annotations[k] for k in told if k in annotations}
        if ANNOTATION_STATE in annotations and "creationTimestamp" in meta:
            kept["creationTimestamp"] = meta["creationTimestamp"]  # of the first attempt to make the server
    if LABEL_ALLOW_PROBES in labels:
        kept.setdefault("labels", {})[LABEL_ALLOW_PROBES] = labels[LABEL_ALLOW_PROBES]
    if meta.get("finalizers"):
        kept["finalizers"] = meta["finalizers"]
    return {"metadata": kept}


def register(store: Store, installation_id: str) -> Tables:
    """Make all tables of the controller."""

    def identity(obj: Obj) -> Iterable[Hashable]:
        return [identity_key(installation_id, obj["metadata"]["uid"])]

    by_namespace: dict[str, IndexFunction] = {"namespace": lambda obj: [_ns(obj)]}

    return Tables(
        services=store.register(kinds.HOSTING_SERVICE, HostingService.from_dict),
        configs=store.register(kinds.VIRTUAL_SERVER_CONFIG, VirtualServerConfig.from_dict, indexes=by_namespace),
        policies=store.register(
            kinds.HOSTING_POLICY, HostingPolicy.from_dict, indexes={**by_namespace, "condition": _policy_conditions}
        ),
        groups=store.register(
            kinds.SERVER_GROUP,
            ServerGroup.from_dict,
            indexes={
                "config": _group_configs,
                "policy": lambda obj: [(_ns(obj), obj["spec"]["policyRef"]["name"])],
                "service": _group_service,
                "namespace": lambda obj: [_ns(obj)],
            },
        ),
        servers=store.register(
            kinds.VIRTUAL_SERVER,
            VirtualServer.from_dict,
            parsed_limit=PARSED_SERVERS,
            indexes={
                "group": _server_group,
                "service": lambda obj: [obj["spec"]["serviceRef"]["name"]],
                "config": _server_config,
                "identity": identity,
                "provider": _server_provider,
                "namespace": lambda obj: [_ns(obj)],
            },
        ),
        revisions=store.register(
            kinds.CONTROLLER_REVISION,
            parse_revision,
            indexes={"config": lambda obj: [(_ns(obj), (obj["metadata"].get("labels") or {}).get(LABEL_CONFIG))]},
        ),
        secrets=store.register(kinds.SECRET, as_is, trim=slim_metadata),
        config_maps=store.register(kinds.CONFIG_MAP, as_is, trim=slim_metadata),
        namespaces=store.register(kinds.NAMESPACE, as_is),
    )
