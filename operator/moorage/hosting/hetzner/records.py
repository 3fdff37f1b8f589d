"""What the API tells, as the contract has it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from decimal import Decimal, InvalidOperation
from typing import Any, Final

from hcloud.images import BoundImage
from hcloud.server_types import BoundServerType
from hcloud.servers import BoundServer

from moorage.hosting.contract import Address, AddressType, Offering, ServerRecord, ServerState
from moorage.hosting.errors import clean

LABEL_KEY: Final = "moorage-key"
LABEL_REQUEST: Final = "moorage-request"
LABEL_NAME: Final = "moorage-name"
OWN_LABELS: Final = frozenset({LABEL_KEY, LABEL_REQUEST, LABEL_NAME})
"""The backend's own labels."""
STATES: Final[Mapping[str, ServerState]] = {
    "running": ServerState.RUNNING,
    "initializing": ServerState.PENDING,
    "starting": ServerState.PENDING,
    "rebuilding": ServerState.PENDING,
    "migrating": ServerState.RUNNING,
    "stopping": ServerState.STOPPED,
    "off": ServerState.STOPPED,
    "deleting": ServerState.TERMINATING,
}
_ARCHITECTURES: Final = {"x86": "amd64", "arm": "arm64"}


def record(server: BoundServer) -> ServerRecord:
    """A server."""
    labels: Mapping[str, str] = server.labels or {}
    return ServerRecord(
        provider_id=str(server.id),
        key=labels.get(LABEL_KEY),
        tags={name: value for name, value in labels.items() if name not in OWN_LABELS},
        state=STATES.get(str(server.status), ServerState.UNKNOWN),
        addresses=tuple(_addresses(server)),
        created=_utc(server.created),
        message="" if server.status in STATES else clean(f"status {server.status}"),
        name=labels.get(LABEL_NAME) or server.name,
        image=_image(server.image),
        offering=server.server_type.name if server.server_type else None,
        zone=server.location.name if server.location else None,
    )


def _utc(moment: datetime | None) -> datetime | None:
    return moment.replace(tzinfo=UTC) if moment is not None and moment.tzinfo is None else moment


def _image(image: Any) -> str | None:
    # Only system images have names.
    return None if image is None else image.name or str(image.id)


def _addresses(server: BoundServer) -> Iterable[Address]:
    for net in server.private_net or ():
        yield Address(AddressType.INTERNAL, net.ip)
    public = server.public_net
    if public is None:
        return
    if public.ipv4 is not None:
        yield Address(AddressType.EXTERNAL, public.ipv4.ip)
    if public.ipv6 is not None:
        # The server has a whole network, and uses its first address.
        yield Address(AddressType.EXTERNAL, f"{public.ipv6.network}1")


def offerings_of(types: Iterable[BoundServerType], location: str) -> tuple[Offering, ...]:
    """The sizes sold in a location ("": anywhere, at the highest price), without those that are being withdrawn."""
    found = []
    for each in types:
        prices = [price for price in each.prices or () if location in {"", price["location"]}]
        kept = {place.location.name for place in each.locations or () if place.deprecation is None}
        prices = [price for price in prices if price["location"] in kept]
        if prices:
            found.append(_offering(each, max(_price(price) for price in prices)))
    return tuple(sorted(found, key=lambda offering: offering.name))


def _price(price: Mapping[str, Any]) -> Decimal:
    try:
        value = Decimal(str(price["price_hourly"]["net"]))
    except InvalidOperation:
        raise ValueError("not a price") from None
    if not value.is_finite():
        raise ValueError("not a price")
    return value.normalize()


def _offering(each: BoundServerType, price: Decimal) -> Offering:
    memory = Decimal(int(Decimal(str(each.memory)) * 2**30))
    return Offering(
        name=str(each.name),
        cpu=Decimal(each.cores or 0),
        memory=memory,
        arch=_ARCHITECTURES.get(str(each.architecture), str(each.architecture)),
        price_per_hour=price,
    )


def images_of(images: Iterable[BoundImage]) -> tuple[str, ...]:
    """Every word that names an image that can be booted: ids, and the names that system images have."""
    found: set[str] = set()
    for image in images:
        if image.status == "available":
            found |= {str(image.id)} | ({image.name} if image.name else set())
    return tuple(sorted(found))
