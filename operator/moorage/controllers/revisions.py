"""ControllerRevisions: each generation of a configuration that is in use, kept so that old servers stay renderable."""

from __future__ import annotations

import hashlib
import json

from moorage.api.names import LABEL_CONFIG, MANAGER_CONTROLLER
from moorage.api.virtualserverconfig import VirtualServerConfig, VirtualServerConfigSpec
from moorage.controllers.context import Context
from moorage.controllers.tables import Revision, Tables
from moorage.kube.errors import AlreadyExists
from moorage.kube.kinds import CONTROLLER_REVISION
from moorage.kube.store import Obj

_DIGITS = 10
_MAX_NAME = 253


def revision_name(config: str, spec: VirtualServerConfigSpec) -> str:
    """`<config>-<digest of the spec>`: equal specs share a revision, whoever writes it first."""
    canonical = json.dumps(spec.to_dict(), sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    digest = hashlib.sha256(canonical.encode()).hexdigest()[:_DIGITS]
    return f"{config[: _MAX_NAME - _DIGITS - 1]}-{digest}"


def namespace_ends(tables: Tables, namespace: str) -> bool:
    """Whether the namespace is being deleted: nothing can be made in it any more, and nothing need be tried."""
    found = tables.namespaces.get(None, namespace)
    return found is not None and bool(found["metadata"].get("deletionTimestamp"))


async def ensure_revision(context: Context, tables: Tables, config: VirtualServerConfig) -> Revision:
    """The ControllerRevision of the configuration's present generation, made if there is none."""
    meta = config.metadata
    name = revision_name(meta.name, config.spec)
    kept = tables.revisions.get(meta.namespace, name)
    if kept is None:
        body: Obj = {
            "metadata": {"name": name, "namespace": meta.namespace, "labels": {LABEL_CONFIG: meta.name}},
            "data": {"spec": config.spec.to_dict()},
            "revision": meta.generation,
        }
        try:
            kept = await context.client.create(CONTROLLER_REVISION, body, manager=MANAGER_CONTROLLER)
        except AlreadyExists:
            kept = await context.client.get(CONTROLLER_REVISION, meta.namespace, name)
        context.store.ingest(CONTROLLER_REVISION, kept)
    return tables.revisions.parse(kept)
