"""What objects of files would be once they are applied: the API server is asked, and stores nothing.

It is asked in the way in which the object would be applied, since that decides what becomes of fields that a file does
not have: kubectl's own merge where kubectl applied it before, else server-side apply in the name of whoever applied it.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from typing import Any

from moorage.cli.cluster import Cluster
from moorage.cli.errors import CliError, missing_rule
from moorage.cli.errors import Exit as Code
from moorage.cli.manifests import Obj, title
from moorage.kube.errors import ApiError, Forbidden, NotFound, Unavailable
from moorage.kube.kinds import Kind

_LAST_APPLIED = "kubectl.kubernetes.io/last-applied-configuration"
_MANAGER = "kubectl"
_UNTYPED = 500


async def rehearse(cluster: Cluster, kind: Kind, obj: Obj) -> Obj:
    """The object as it would be. Raises CliError with what the API server says of it."""
    name = str(obj["metadata"]["name"])
    held = await cluster.maybe(kind, name)
    wanted = {key: value for key, value in obj.items() if key != "status"}
    wanted["metadata"] = {**obj["metadata"], "namespace": cluster.namespace}
    last = _last_applied(held)
    try:
        if held is not None and last is not None:
            merged = client_patch(last, wanted)
            return await cluster.client.rehearse(kind, cluster.namespace, name, merged, _MANAGER, merge=True)
        manager = _applier(held) or _MANAGER
        return await cluster.client.rehearse(kind, cluster.namespace, name, wanted, manager)
    except Forbidden as error:
        hint = missing_rule(error.message) or "a dry run takes the permission to apply the object"
        raise CliError(error.message, Code.FORBIDDEN, hint=hint) from None
    except NotFound as error:
        raise CliError(f"{title(obj)} cannot be applied: {error.message}", Code.NOT_FOUND) from None
    except Unavailable as error:
        if error.status != _UNTYPED:
            raise
        # A field that the schema does not have is answered to an apply with a 500.
        raise CliError(f"{title(obj)} would be refused: {error.message}") from None
    except ApiError as error:
        raise CliError(f"{title(obj)} would be refused: {error.message}") from None


def client_patch(last: Mapping[str, Any], wanted: Mapping[str, Any]) -> dict[str, Any]:
    """The patch of a client-side `kubectl apply`, which always has annotations, its own: a file without any takes none
    away that others made (an approval, say)."""
    metadata = {"annotations": {}, **wanted["metadata"]}
    return merge_patch(last, {**wanted, "metadata": metadata})


def merge_patch(last: Mapping[str, Any], wanted: Mapping[str, Any]) -> dict[str, Any]:
    """kubectl's merge patch: all that is wanted, and null for what was applied last time and is not wanted any more."""
    gone = {key: None for key in last if key not in wanted}
    patch: dict[str, Any] = dict(gone)
    for key, value in wanted.items():
        before = last.get(key)
        patch[key] = merge_patch(before, value) if isinstance(before, Mapping) and isinstance(value, Mapping) else value
    return patch


def _last_applied(held: Obj | None) -> dict[str, Any] | None:
    """What kubectl noted when it applied the object from the client's side."""
    text = ((held or {}).get("metadata", {}).get("annotations") or {}).get(_LAST_APPLIED)
    if not isinstance(text, str):
        return None
    try:
        found = json.loads(text)
    except ValueError:
        return None
    return found if isinstance(found, dict) else None


def _applier(held: Obj | None) -> str:
    """Who applied it last from the server's side; the controllers' parts are not of the files."""
    entries: Iterable[Any] = (held or {}).get("metadata", {}).get("managedFields") or ()
    appliers = [
        e
        for e in entries
        if e.get("operation") == "Apply" and not e.get("subresource") and "moorage" not in str(e.get("manager"))
    ]
    latest = max(appliers, key=lambda e: str(e.get("time", "")), default=None)
    return "" if latest is None else str(latest.get("manager") or "")
