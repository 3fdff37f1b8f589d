"""Looks into a hosting service from the command line, with the credentials that its HostingService names.

These are in a Secret of the controller's namespace: whoever looks needs to be allowed to read it. They are handed to
the backend and to nothing else.
"""

from __future__ import annotations

import asyncio
import base64
import binascii
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from moorage.api.hostingservice import HostingService
from moorage.api.names import SECRET_INSTALLATION
from moorage.cli.cluster import Cluster, read
from moorage.cli.errors import CliError, Exit
from moorage.hosting.abilities import Retag
from moorage.hosting.contract import (
    RELEASED,
    TAG_INSTALLATION,
    TAG_NAMESPACE,
    TAG_SERVER,
    TAG_SERVICE,
    Inventory,
    ServerRecord,
)
from moorage.hosting.errors import HostingError
from moorage.hosting.registry import backend
from moorage.kube.errors import Forbidden
from moorage.kube.kinds import HOSTING_SERVICE, SECRET, VIRTUAL_SERVER

SECONDS = 120.0
"""How long the service may take to answer everything."""


@dataclass(frozen=True, slots=True)
class Look:
    """What a service was found to have. `can_retag`: whether servers of it can be taken over, or released."""

    service: HostingService
    servers: tuple[ServerRecord, ...] = field(repr=False)
    can_retag: bool = True


@dataclass(frozen=True, slots=True)
class Known:
    """What the VirtualServers of the whole cluster stand for."""

    uids: frozenset[str]
    claims: frozenset[tuple[str, str]]
    """(HostingService, provider id), of those that are adopted, observed, or recorded."""
    names: frozenset[tuple[str, str]]
    """(namespace, name)."""


async def look_into(cluster: Cluster, name: str, controller_namespace: str) -> Look:
    """A complete inventory of the service, taken now. Raises CliError, for the service's own refusals too."""
    service = read(HostingService, await cluster.one(HOSTING_SERVICE, name))
    credentials = await _credentials(cluster, service, controller_namespace)
    try:
        async with asyncio.timeout(SECONDS):
            listing, can_retag = await _listing(service, credentials)
    except TimeoutError:
        raise CliError(f"{name} did not tell everything within {SECONDS:g} s") from None
    except HostingError as error:
        raise CliError(
            f"{name}: {error.reason}: {error.message}",
            hint="endpoint, settings and network of the service have to fit this machine as well as the controller's",
        ) from None
    first = service.status.account
    if first is not None and first.id != listing.account:
        raise CliError(
            f"{name} answers for another account than the controller saw at first contact",
            hint=f"see kubectl describe hs {name}; is it the same endpoint from here?",
        )
    servers = sorted(listing.servers, key=lambda record: (record.name or "", record.provider_id))
    return Look(service, tuple(servers), can_retag)


async def _listing(service: HostingService, credentials: Mapping[str, bytes]) -> tuple[Inventory, bool]:
    opened = backend(service.spec.type).open(service.spec, credentials)
    try:
        return await opened.inventory(), isinstance(opened, Retag)
    finally:
        await opened.close()


async def _credentials(cluster: Cluster, service: HostingService, namespace: str) -> dict[str, bytes]:
    ref = service.spec.credentials_secret_ref
    if ref is None:
        return {}
    found = await Cluster(cluster.client, namespace).maybe(SECRET, ref.name)
    if found is None:
        raise CliError(
            f"there is no Secret {ref.name} in namespace {namespace}",
            Exit.NOT_FOUND,
            hint="say --controller-namespace where the controller's is another one",
        )
    try:
        return {key: base64.b64decode(value, validate=True) for key, value in (found.get("data") or {}).items()}
    except (binascii.Error, ValueError):
        raise CliError(f"Secret {ref.name} holds what is no base64") from None


async def known_servers(cluster: Cluster) -> Known:
    """All VirtualServers of the cluster: a server of any namespace is somebody's."""
    items = (await cluster.client.list(VIRTUAL_SERVER, None)).items
    return Known(
        uids=frozenset(str(obj["metadata"]["uid"]) for obj in items),
        claims=frozenset(claim for obj in items for claim in _claims(obj)),
        names=frozenset((str(obj["metadata"]["namespace"]), str(obj["metadata"]["name"])) for obj in items),
    )


def _claims(obj: Mapping[str, Any]) -> list[tuple[str, str]]:
    spec, status = obj["spec"], obj.get("status") or {}
    ids = ((spec.get("adopt") or {}).get("providerID"), status.get("providerID"))
    return [(str(spec["serviceRef"]["name"]), str(found)) for found in ids if found]


def owner_of(record: ServerRecord) -> str | None:
    """The uid of the VirtualServer that its tags name, `released`, or None for a server without an owner."""
    return record.tags.get(TAG_SERVER)


def is_released(record: ServerRecord) -> bool:
    """Whether it was released by its last owner."""
    return owner_of(record) == RELEASED


def last_namespace(record: ServerRecord) -> str | None:
    """Where the object of its owner is or was."""
    return record.tags.get(TAG_NAMESPACE)


async def abandoned_by(cluster: Cluster, namespace: str) -> Callable[[ServerRecord], bool]:
    """Tells servers of this installation whose HostingService is gone: they are told by its uid, which never returns.

    That a server is of this installation says its Secret; who may not read it is told of none.
    """
    try:
        secret = await Cluster(cluster.client, namespace).maybe(SECRET, SECRET_INSTALLATION)
    except Forbidden:
        secret = None
    encoded = ((secret or {}).get("data") or {}).get("id", "")
    installation = base64.b64decode(encoded).decode("ascii", "replace").strip()
    services = {str(obj["metadata"]["uid"]) for obj in (await cluster.client.list(HOSTING_SERVICE, None)).items}

    def is_abandoned(record: ServerRecord) -> bool:
        ours = installation and record.tags.get(TAG_INSTALLATION) == installation
        return bool(ours and owner_of(record) not in {None, RELEASED} and record.tags.get(TAG_SERVICE) not in services)

    return is_abandoned


def is_orphan(record: ServerRecord, service: HostingService, known: Known) -> bool:
    """Whether it says to be of this HostingService, and of a VirtualServer that does not exist."""
    owner = owner_of(record)
    return (
        owner is not None
        and owner != RELEASED
        and record.tags.get(TAG_SERVICE) == service.metadata.uid
        and owner not in known.uids
    )
