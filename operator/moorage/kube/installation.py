"""The identity of this installation: a Secret that is made once and never changed."""

from __future__ import annotations

import base64
import binascii
import secrets
import uuid
from dataclasses import dataclass, field

from moorage.api.names import MANAGER_CONTROLLER, SECRET_INSTALLATION
from moorage.kube.answers import Obj
from moorage.kube.client import Client
from moorage.kube.errors import AlreadyExists, InvalidObject, NotFound
from moorage.kube.kinds import SECRET

_KEY_BYTES = 32


@dataclass(frozen=True, slots=True)
class Installation:
    """`id` is part of every server's identity; `hmac_key` keys digests of sensitive values."""

    id: str
    hmac_key: bytes = field(repr=False)


async def ensure_installation(
    client: Client, namespace: str, *, manager: str = MANAGER_CONTROLLER, name: str = SECRET_INSTALLATION
) -> Installation:
    """Read the installation Secret, or create it if there is none; of several at once one creates, all read the same.

    Raises InvalidObject where the Secret lacks a part: it is never written a second time, for with another id every
    server would be a stranger.
    """
    try:
        return _read(await client.get(SECRET, namespace, name))
    except NotFound:
        pass
    fresh = {
        "metadata": {"name": name, "namespace": namespace},
        "type": "Opaque",
        "data": {
            "id": _encode(str(uuid.uuid4()).encode()),
            "hmacKey": _encode(secrets.token_bytes(_KEY_BYTES)),
        },
    }
    try:
        return _read(await client.create(SECRET, fresh, manager=manager))
    except AlreadyExists:
        return _read(await client.get(SECRET, namespace, name))


def _read(secret: Obj) -> Installation:
    meta, data = secret["metadata"], secret.get("data") or {}
    try:
        identity = base64.b64decode(data["id"], validate=True).decode("ascii").strip()
        key = base64.b64decode(data["hmacKey"], validate=True)
    except (KeyError, binascii.Error, UnicodeDecodeError):
        identity, key = "", b""
    if not identity or len(key) < _KEY_BYTES:
        raise InvalidObject(
            f"the Secret {meta['namespace']}/{meta['name']} must have the keys id (text) and hmacKey (32 bytes); "
            "restore it from a backup, because without it no server can be recognised"
        )
    return Installation(identity, key)


def _encode(value: bytes) -> str:
    return base64.b64encode(value).decode("ascii")
