"""The end of a HostingService: once nothing of ours is left on it, the object and its credentials may go."""

from __future__ import annotations

import logging

from moorage.api.hostingservice import HostingService
from moorage.api.names import FINALIZER_SERVICE
from moorage.controllers.context import Context
from moorage.controllers.tables import Tables
from moorage.kube.apply import remove_finalizer
from moorage.kube.errors import ApiError, NotFound
from moorage.kube.kinds import HOSTING_SERVICE, SECRET, VIRTUAL_SERVER

log = logging.getLogger(__name__)


async def let_go(context: Context, tables: Tables, service: HostingService) -> bool:
    """Remove the finalizers; False where a VirtualServer is still there, or on its way. Raises ApiError."""
    if context.is_placing(service.metadata.uid):
        # Posted before the deletion was known; none is after that (`is_held`), so the list below misses none.
        return False
    obj = tables.services.by_uid(service.metadata.uid)
    listing = await context.client.list(VIRTUAL_SERVER)
    if any(o["spec"]["serviceRef"]["name"] == service.metadata.name for o in listing.items):
        return False
    if service.spec.credentials_secret_ref is not None and not _shared(tables, service):
        await _let_credentials_go(context, service.spec.credentials_secret_ref.name)
    if obj is not None and await remove_finalizer(
        context.client, context.store, HOSTING_SERVICE, obj, FINALIZER_SERVICE
    ):
        tables.services.removed(service.metadata.uid)
    return True


def _shared(tables: Tables, service: HostingService) -> bool:
    """Whether servers of another HostingService need the same credentials."""
    name = service.spec.credentials_secret_ref.name if service.spec.credentials_secret_ref else None
    return any(
        other["metadata"]["uid"] != service.metadata.uid
        and (other["spec"].get("credentialsSecretRef") or {}).get("name") == name
        and tables.servers.by_index("service", other["metadata"]["name"])
        for other in tables.services
    )


async def _let_credentials_go(context: Context, name: str) -> None:
    try:
        secret = await context.client.get(SECRET, context.namespace, name)
        await remove_finalizer(context.client, context.store, SECRET, secret, FINALIZER_SERVICE)
    except NotFound:
        return
    except ApiError as error:
        log.warning("the finalizer of Secret %s stays: %s", name, error)
