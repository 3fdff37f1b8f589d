"""The Secret of the root CA: made once, read by every replica, rotated with its resourceVersion."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Awaitable, Callable, Mapping
from datetime import datetime
from typing import Any

from moorage.api.names import MANAGER_CONTROLLER, SECRET_CA
from moorage.configd.pki import Authority, CADamaged, CAMissing, new_authority, rotated, rotation_due
from moorage.configd.ports import Cluster
from moorage.kube.errors import AlreadyExists, Conflict, NotFound
from moorage.kube.kinds import SECRET

ServersExist = Callable[[], Awaitable[bool]]


async def load_authority(cluster: Cluster, namespace: str) -> Authority:
    """The root CA. Raises CAMissing where its Secret is absent, CADamaged, ApiError."""
    try:
        return read_authority(await cluster.get(SECRET, namespace, SECRET_CA))
    except NotFound:
        raise CAMissing(f"the Secret {namespace}/{SECRET_CA} with the root CA is absent") from None


async def ensure_authority(cluster: Cluster, namespace: str, now: datetime, servers_exist: ServersExist) -> Authority:
    """The root CA; made where neither it nor any server exists, rotated where it is due. For the controller alone.

    Raises CAMissing where it is absent and servers exist: restore the Secret from a backup, or replace the servers.
    """
    try:
        secret = await cluster.get(SECRET, namespace, SECRET_CA)
    except NotFound:
        if await servers_exist():
            raise CAMissing(
                f"the Secret {namespace}/{SECRET_CA} with the root CA is absent, and servers that trust it exist; "
                "restore it from a backup (a new CA would cut them off)"
            ) from None
        return await _create(cluster, namespace, now)
    found = read_authority(secret)
    return await _rotate(cluster, secret, found, now) if rotation_due(found, now) else found


def read_authority(secret: Mapping[str, Any]) -> Authority:
    """The root CA in its Secret. Raises CADamaged."""
    try:
        data = {k: base64.b64decode(v, validate=True) for k, v in (secret.get("data") or {}).items()}
    except (binascii.Error, ValueError, TypeError):
        raise CADamaged("the CA's Secret: its data is not base64") from None
    return Authority.from_data(data)


async def _create(cluster: Cluster, namespace: str, now: datetime) -> Authority:
    made = new_authority(now)
    manifest = {"metadata": {"name": SECRET_CA, "namespace": namespace}, "type": "Opaque", "data": _encoded(made)}
    try:
        await cluster.create(SECRET, manifest, manager=MANAGER_CONTROLLER)
    except AlreadyExists:
        return await load_authority(cluster, namespace)
    return made


async def _rotate(cluster: Cluster, secret: Mapping[str, Any], found: Authority, now: datetime) -> Authority:
    made = rotated(found, now)
    meta = secret["metadata"]
    try:
        await cluster.update(SECRET, {**secret, "data": _encoded(made)}, manager=MANAGER_CONTROLLER)
    except Conflict:
        return await load_authority(cluster, str(meta["namespace"]))
    return made


def _encoded(authority: Authority) -> dict[str, str]:
    return {name: base64.b64encode(value).decode() for name, value in authority.to_data().items()}
