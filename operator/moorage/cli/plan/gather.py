"""Reads what a plan is made of, and lays the files' objects over it: a cache as the controller would have it then."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Any, Final

from moorage.api.names import GROUP
from moorage.cli.cluster import Cluster
from moorage.cli.errors import CliError, Exit
from moorage.cli.manifests import Obj, title
from moorage.cli.plan.rehearsal import rehearse
from moorage.controllers.context import ServerMemory
from moorage.controllers.tables import Tables, register
from moorage.kube.errors import Forbidden
from moorage.kube.kinds import (
    CONTROLLER_REVISION,
    HOSTING_POLICY,
    HOSTING_SERVICE,
    NAMESPACE,
    OWN,
    SECRET,
    SERVER_GROUP,
    VIRTUAL_SERVER,
    VIRTUAL_SERVER_CONFIG,
    Kind,
)
from moorage.kube.store import Store
from moorage.runtime.service import ServiceConnection

PLANNED: Final = {kind.kind: kind for kind in (SERVER_GROUP, VIRTUAL_SERVER_CONFIG, HOSTING_POLICY)}
"""The kinds that a file may hold; of others the cluster's are used."""
_HERE: Final = (VIRTUAL_SERVER_CONFIG, HOSTING_POLICY, CONTROLLER_REVISION)
_EVERYWHERE: Final = (SERVER_GROUP, VIRTUAL_SERVER)
"""What takes room on services is of all namespaces, as far as it may be seen."""


@dataclass(frozen=True, slots=True)
class Onlooker:
    """The surroundings of one who has no connection to any service: their counts are believed as status tells them."""

    connections: Mapping[str, ServiceConnection] = field(default_factory=dict)
    memories: Mapping[str, ServerMemory] = field(default_factory=dict)

    def counts(self, service_uid: str, provider_id: str) -> bool:
        """A server that is recorded was in an inventory, or will be in the next one."""
        return True

    def knows(self, service_uid: str) -> bool:
        """The controller that runs has looked, or will have when it decides."""
        return True

    def judged(self, service_uid: str) -> bool:
        """The controller has, or will have; whose those are is not to be seen from here, so no ceiling counts them."""
        return True

    def began(self) -> datetime:
        """Nothing is waited for that is known."""
        return datetime.now(UTC)


@dataclass(frozen=True, slots=True)
class Gathered:
    """The caches, the groups to be planned by name, and what a person should know about how they were filled."""

    namespace: str
    store: Store
    tables: Tables
    groups: tuple[str, ...]
    planned: frozenset[tuple[str, str]]
    """What the files hold, by kind and name."""
    before: Mapping[tuple[str, str], Obj]
    """The same objects as the cluster has them; those that it does not have are missing."""
    notes: tuple[str, ...]


def namespace_of(objects: Iterable[Obj], asked: str) -> str:
    """The one namespace that the files and the option name, or ""; raises CliError where they do not agree."""
    named = {str(o["metadata"].get("namespace") or "") for o in objects if o["kind"] in PLANNED} - {""}
    if asked:
        named.add(asked)
    if len(named) > 1:
        raise CliError(
            f"a plan is about one namespace, and the files and -n name {', '.join(sorted(named))}",
            Exit.USAGE,
            hint="plan the objects of each namespace for themselves",
        )
    return next(iter(named), "")


async def gather(cluster: Cluster, objects: Sequence[Obj]) -> Gathered:
    """Ask the API server what the files' objects would be, and read the rest. Raises CliError."""
    planned, notes = _sorted_out(objects)
    future = {(o["kind"], o["metadata"]["name"]): await rehearse(cluster, PLANNED[o["kind"]], o) for o in planned}
    found = await _read(cluster, future, notes)
    return replace(found, groups=_groups(found.tables, future, cluster.namespace))


async def look_around(cluster: Cluster, group: str, *, everywhere: bool) -> Gathered:
    """What decides about a group as the cluster has it. Raises Forbidden where that may not be seen.

    What takes room on services is of all namespaces; without ``everywhere``, where no service is chosen, of its own.
    """
    return replace(await _read(cluster, {}, [], everywhere=everywhere), groups=(group,))


async def _read(
    cluster: Cluster, future: Mapping[tuple[str, str], Obj], notes: list[str], *, everywhere: bool = True
) -> Gathered:
    """The cluster's objects with those of ``future`` in their places."""
    store = Store()
    tables = register(store, "")
    before: dict[tuple[str, str], Obj] = {}
    for kind in (HOSTING_SERVICE, *_HERE, *_EVERYWHERE):
        for obj in await _list(cluster, kind, notes, everywhere=everywhere):
            meta = obj["metadata"]
            key = (kind.kind, meta["name"])
            if key in future and meta.get("namespace") == cluster.namespace:
                before[key] = obj
            else:
                store.ingest(kind, obj)
    for (kind_name, _), obj in future.items():
        store.ingest(PLANNED[kind_name], _versioned(obj))
    await _read_beside(cluster, store, notes)
    return Gathered(cluster.namespace, store, tables, (), frozenset(future), before, tuple(notes))


def _sorted_out(objects: Sequence[Obj]) -> tuple[list[Obj], list[str]]:
    """The objects to be planned, each once, and what is said of the others. Raises CliError where there is none."""
    planned: dict[tuple[str, str], Obj] = {}
    notes: list[str] = []
    for obj in objects:
        ours = str(obj["apiVersion"]).startswith(f"{GROUP}/")
        if ours and obj["kind"] in PLANNED:
            key = (obj["kind"], obj["metadata"]["name"])
            if key in planned:
                raise CliError(f"the files hold {title(obj)} twice", Exit.USAGE, hint="leave one of them out")
            planned[key] = obj
        elif ours and obj["kind"] in {kind.kind for kind in OWN}:
            notes.append(f"{title(obj)} of the files is left out: it is taken as the cluster has it")
    if not planned:
        raise CliError(f"the files hold none of {', '.join(PLANNED)}", Exit.USAGE)
    return list(planned.values()), notes


async def _list(cluster: Cluster, kind: Kind, notes: list[str], *, everywhere: bool) -> list[Obj]:
    if kind not in _EVERYWHERE or not everywhere:
        return (await cluster.client.list(kind, cluster.namespace if kind.namespaced else None)).items
    try:
        return (await cluster.client.list(kind, None)).items
    except Forbidden:
        notes.append(f"{kind.plural} of other namespaces may not be seen: services may have less room than is said")
        return (await cluster.client.list(kind, cluster.namespace)).items


async def _read_beside(cluster: Cluster, store: Store, notes: list[str]) -> None:
    """What a person may lack the permission to see: without it the plan is made as far as can be told."""
    try:
        store.ingest(NAMESPACE, await cluster.client.get(NAMESPACE, None, cluster.namespace))
    except Forbidden:
        notes.append(
            f"namespace {cluster.namespace} may not be seen: it is taken to have no labels and no cost ceiling, "
            "and to ask for no approval"
        )
    try:
        for obj in (await cluster.client.list(SECRET, cluster.namespace, metadata_only=True)).items:
            store.ingest(SECRET, obj)
    except Forbidden:
        pass  # tells that an agent has joined some moments before its first report does


def _versioned(obj: Obj) -> Obj:
    """A rehearsed object that is new has no resourceVersion yet."""
    meta: dict[str, Any] = obj["metadata"]
    return {**obj, "metadata": {**meta, "resourceVersion": meta.get("resourceVersion") or "1"}}


def _groups(tables: Tables, future: Mapping[tuple[str, str], Obj], namespace: str) -> tuple[str, ...]:
    """The groups of the files; where they hold none, those that use what the files hold."""
    named = tuple(sorted(name for kind, name in future if kind == SERVER_GROUP.kind))
    if named:
        return named
    using: set[str] = set()
    for kind, name in future:
        index = "config" if kind == VIRTUAL_SERVER_CONFIG.kind else "policy"
        using |= {obj["metadata"]["name"] for obj in tables.groups.by_index(index, (namespace, name))}
    return tuple(sorted(using))
