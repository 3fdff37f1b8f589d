"""The Secrets of a server as configd reads and writes them. Reprs show nothing of what is in them."""

from __future__ import annotations

import base64
import binascii
import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any

from pydantic import ValidationError

from moorage.api.channel import Document, read_revision
from moorage.api.names import (
    ANNOTATION_REVOKED,
    ANNOTATION_SERVER,
    API_VERSION,
    GROUP,
    LABEL_SECRET,
    SECRET_KIND_OUTPUTS,
    SECRET_KIND_SERVER,
    SECRET_KIND_SESSION,
    outputs_secret,
    session_secret,
)

ANNOTATION_SEQUENCE = f"{GROUP}/sequence"
"""On `<uid>-outputs`: the sequence of the state that its values came with."""
ANNOTATION_VERSIONS = f"{GROUP}/versions"
"""On `<uid>-outputs`: compact JSON of output name to version, as `status.agent.outputs` names them."""

SELECTOR = f"{LABEL_SECRET} in ({SECRET_KIND_SERVER},{SECRET_KIND_SESSION},{SECRET_KIND_OUTPUTS})"

_NAME = re.compile(r"[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?")

Obj = dict[str, Any]


@dataclass(frozen=True, slots=True)
class ServerSecret:
    """The Secret `<uid>`: whom the server is, its token, and its configuration as it goes over the wire."""

    namespace: str
    uid: str
    name: str
    """The VirtualServer's name."""
    token_digest: bytes = field(repr=False)
    document: bytes = field(repr=False)
    revision: int
    """0 while there is no configuration."""


@dataclass(frozen=True, slots=True)
class Session:
    """The Secret `<uid>-session`."""

    key_hash: str = field(repr=False)
    joined_at: str


@dataclass(frozen=True, slots=True)
class Outputs:
    """The Secret `<uid>-outputs`."""

    values: Mapping[str, str] = field(repr=False)
    versions: Mapping[str, int]
    sequence: int


@dataclass(frozen=True, slots=True)
class Revoked:
    """The Secret `<uid>` of a server that is going: nobody gets anything in its name any more."""


Parsed = ServerSecret | Session | Outputs | Revoked | None


def parse_secret(obj: Obj) -> Parsed:
    """The typed form of a Secret of a server; None where it is not one, or damaged."""
    meta = obj["metadata"]
    kind = (meta.get("labels") or {}).get(LABEL_SECRET)
    annotations = meta.get("annotations") or {}
    if kind == SECRET_KIND_SERVER and ANNOTATION_REVOKED in annotations:
        return Revoked()
    if kind == SECRET_KIND_SERVER:
        token, document = decoded(obj, "token"), decoded(obj, "configuration")
        name = annotations.get(ANNOTATION_SERVER) or _owner(meta)
        # Whoever may write Secrets of the namespace may write any annotation; what is no name is no server's.
        if not token or not _NAME.fullmatch(name):
            return None
        return ServerSecret(
            namespace=meta["namespace"],
            uid=meta["name"],
            name=name,
            token_digest=hashlib.sha256(token).digest(),
            document=document,
            revision=(read_revision(document) or 0) if document else 0,
        )
    if kind == SECRET_KIND_SESSION:
        return Session(decoded(obj, "keyHash").decode("ascii", "replace"), meta.get("creationTimestamp") or "")
    if kind == SECRET_KIND_OUTPUTS:
        values = {name: decoded(obj, name).decode("utf-8", "replace") for name in obj.get("data") or {}}
        return Outputs(values, _versions(annotations), _whole(annotations.get(ANNOTATION_SEQUENCE)))
    return None


def trimmed(obj: Obj) -> Obj:
    """A Secret without what configd never reads: the create request is the largest part of it."""
    data = {name: value for name, value in (obj.get("data") or {}).items() if name != "request"}
    meta = obj["metadata"]
    kept = ("namespace", "name", "uid", "resourceVersion", "labels", "annotations", "creationTimestamp")
    small = {name: meta[name] for name in (*kept, "ownerReferences") if name in meta}
    return {"metadata": small, "data": data}


def decoded(obj: Obj, name: str) -> bytes:
    """The value of a key of a Secret; empty where it is absent or not base64."""
    try:
        return base64.b64decode((obj.get("data") or {}).get(name) or "", validate=True)
    except (binascii.Error, ValueError, TypeError):
        return b""


@lru_cache(maxsize=4096)
def read_document(document: bytes) -> Document | None:
    """The model of a document; None where it is damaged."""
    try:
        return Document.model_validate_json(document)
    except ValidationError:
        return None


def session_manifest(server: ServerSecret, key_hash: str) -> Obj:
    """The Secret whose creation burns the join token."""
    manifest = _manifest(server, session_secret(server.uid), SECRET_KIND_SESSION, {"keyHash": key_hash})
    return {**manifest, "immutable": True}


def outputs_manifest(server: ServerSecret, outputs: Outputs) -> Obj:
    """The Secret of the sensitive and large outputs."""
    manifest = _manifest(server, outputs_secret(server.uid), SECRET_KIND_OUTPUTS, outputs.values)
    manifest["metadata"]["annotations"] |= {
        ANNOTATION_SEQUENCE: str(outputs.sequence),
        ANNOTATION_VERSIONS: json.dumps(dict(outputs.versions), separators=(",", ":"), sort_keys=True),
    }
    return manifest


def _manifest(server: ServerSecret, name: str, kind: str, values: Mapping[str, str]) -> Obj:
    owner = {"apiVersion": API_VERSION, "kind": "VirtualServer", "name": server.name, "uid": server.uid}
    return {
        "metadata": {
            "name": name,
            "namespace": server.namespace,
            "labels": {LABEL_SECRET: kind},
            "annotations": {ANNOTATION_SERVER: server.name},
            "ownerReferences": [owner],
        },
        "type": "Opaque",
        "data": {key: base64.b64encode(value.encode()).decode() for key, value in values.items()},
    }


def _owner(meta: Obj) -> str:
    return next((o["name"] for o in meta.get("ownerReferences") or () if o.get("uid") == meta["name"]), "")


def _versions(annotations: Mapping[str, str]) -> dict[str, int]:
    try:
        found = json.loads(annotations.get(ANNOTATION_VERSIONS) or "{}")
    except (ValueError, RecursionError):
        return {}
    return {k: v for k, v in found.items() if isinstance(v, int)} if isinstance(found, dict) else {}


def _whole(text: str | None) -> int:
    return int(text) if text and len(text) <= 16 and text.isascii() and text.isdigit() else 0
