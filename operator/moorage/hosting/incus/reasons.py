"""Why nothing was created: most of what a request names is told by nothing but text where it is missing."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final
from urllib.parse import quote

from moorage.hosting.contract import CreateRequest
from moorage.hosting.errors import (
    AuthenticationError,
    CapacityError,
    HostingError,
    Invalid,
    NotFound,
    QuotaError,
    Throttled,
    Unavailable,
)
from moorage.hosting.incus.client import Client
from moorage.hosting.incus.records import is_fingerprint
from moorage.hosting.incus.settings import IncusServerSettings

_PLAIN: Final = (AuthenticationError, CapacityError, QuotaError, Throttled)


async def explained(
    client: Client, request: CreateRequest, server: IncusServerSettings, failed: HostingError
) -> HostingError:
    """The error to raise for a creation that left nothing: what the request names is looked up, one after the other,
    and the first that is not there is the reason."""
    if isinstance(failed, _PLAIN):
        return failed
    for path, field, text in _named(request, server):
        try:
            found = await client.ask(path, "create")
        except NotFound:
            return Invalid(f"there is no {text} in the project", field=field)
        kind = found.get("type") if isinstance(found, dict) and field == "image" else None
        if kind not in {None, server.instance_type}:
            return Invalid(f"{text} is not one of a {server.instance_type}", field="image")
    if server.target is not None and isinstance(failed, NotFound | Invalid) and getattr(failed, "field", None) is None:
        return Invalid(failed.message, field="settings.target")  # all else that is named is there
    return failed if not isinstance(failed, NotFound) else Unavailable(failed.message)


def _named(request: CreateRequest, server: IncusServerSettings) -> Iterator[tuple[str, str, str]]:
    """Path, field and words of each thing that the request names."""
    kind = "images" if is_fingerprint(request.image) else "images/aliases"
    yield f"{kind}/{quote(request.image, safe='')}", "image", f"image {request.image}"
    for profile in server.profiles:
        yield f"profiles/{profile}", "settings.profiles", f"profile {profile}"
    if server.storage_pool is not None:
        yield f"storage-pools/{server.storage_pool}", "settings.storagePool", f"storage pool {server.storage_pool}"
    if server.network is not None:
        yield f"networks/{server.network}", "settings.network", f"network {server.network}"
