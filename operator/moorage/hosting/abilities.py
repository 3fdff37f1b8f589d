"""What a backend may be able to do beyond the contract: one protocol for each ability.

A backend has an ability by having its methods; `abilities_of` tells which. The rules of `moorage.hosting.contract` hold
for every method here too (typed errors, bounded, cancellable, nothing retried after a lost answer), and every method
raises NotFound where the server is gone, on the service's own typed word only.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from enum import StrEnum
from typing import Final, Protocol, runtime_checkable

from moorage.hosting.contract import ServerRecord


class Ability(StrEnum):
    """The name of an ability, as `moorage backends` and status show it."""

    RETAG = "Retag"
    IMAGES = "Images"
    POWER = "Power"
    RESIZE = "Resize"
    SPOT = "Spot"
    VOLUMES = "Volumes"
    ADDRESSES = "Addresses"
    EVENTS = "Events"
    BATCH_GET = "BatchGet"
    BATCH_DELETE = "BatchDelete"


@runtime_checkable
class Retag(Protocol):
    """Tags can be changed: without it there is no `deletionPolicy: Retain` and no adoption."""

    async def retag(self, provider_id: str, tags: Mapping[str, str]) -> None:
        """Set these tags and leave the others; when it returns, `get` MUST show them. Repetition: harmless.
        Interrupted or unanswered: repeat."""
        ...


@runtime_checkable
class Images(Protocol):
    """Boot images can be listed."""

    async def images(self) -> tuple[str, ...]:
        """Every name that `CreateRequest.image` may have, or raises: MUST NOT leave out one that `create` would take,
        since a group whose image is missing is not placed here."""
        ...


@runtime_checkable
class Power(Protocol):
    """Servers can be stopped and started without losing disk, identity or id."""

    async def start(self, provider_id: str) -> None:
        """Ask that the server runs. Returns once accepted. A server that runs, or is about to, MUST be left as it is.
        Repetition: harmless."""
        ...

    async def stop(self, provider_id: str) -> None:
        """Ask that the server stops, its disks and id kept. Returns once accepted. Repetition: harmless."""
        ...


@runtime_checkable
class Resize(Protocol):
    """A server can get another offering in place, with its disk and id; it may restart."""

    async def resize(self, provider_id: str, offering: str) -> None:
        """Ask for the offering. Returns once accepted; `get` shows it when it is done. A server that has the offering
        MUST be left as it is. MUST raise Invalid(field="offering") for one that does not exist, CapacityError where
        there is no room; the server is then as it was. Repetition: harmless."""
        ...


@runtime_checkable
class Spot(Protocol):
    """Offerings can be had cheaper where the service may take the server back."""

    async def spot_prices(self) -> Mapping[str, Decimal]:
        """Price per hour by offering, now; an offering that cannot be had so is absent."""
        ...


@dataclass(frozen=True, slots=True)
class VolumeRecord:
    """A volume: `key` is what it was created with, `attached_to` the server it hangs on, or None."""

    volume_id: str
    key: str | None
    size_gib: int
    attached_to: str | None
    tags: Mapping[str, str]


@runtime_checkable
class Volumes(Protocol):
    """Disks with a life of their own, that outlive the replacement of the server they hang on."""

    async def create_volume(self, key: str, size_gib: int, tags: Mapping[str, str], near: str | None) -> VolumeRecord:
        """Create the volume, or return the one that was created with this key; `near` is the zone it must be in.
        Repetition MUST give the same volume, a lost answer included; typed refusals MUST mean nothing was created."""
        ...

    async def volumes(self) -> tuple[VolumeRecord, ...]:
        """All volumes, over all pages: complete or raises."""
        ...

    async def attach_volume(self, volume_id: str, provider_id: str) -> None:
        """Attach it to the server. Repetition: harmless. MUST raise Invalid(field="volume") where it hangs on another
        server, which it is never taken from."""
        ...

    async def detach_volume(self, volume_id: str) -> None:
        """Detach it. Returns once accepted, or where it is attached to nothing. Repetition: harmless."""
        ...

    async def delete_volume(self, volume_id: str) -> None:
        """Delete it, or return where it is gone. MUST raise Invalid(field="volume") while it is attached."""
        ...


@runtime_checkable
class Addresses(Protocol):
    """Public addresses of the account that can be moved from server to server."""

    async def attach_address(self, address: str, provider_id: str) -> None:
        """Make this address of the account lead to the server, and to no other from then on. Repetition: harmless.
        MUST raise Invalid(field="address") for an address that is not the account's."""
        ...

    async def detach_address(self, address: str) -> None:
        """Make the address lead nowhere. Repetition: harmless."""
        ...


@runtime_checkable
class Events(Protocol):
    """The service tells of changes by itself, so that inventories can be rarer."""

    def events(self) -> AsyncIterator[str]:
        """The provider ids of servers that appeared, changed or went, from the moment of the first "" on: an empty
        string MUST come once it is listening, and again after anything that may have been missed (the caller then
        takes an inventory). Ends only by raising a HostingError or by being closed; MUST notice within 60 s that the
        service is gone. Events are hints: they prove nothing, and the caller asks `get` or `inventory`."""
        ...


@runtime_checkable
class BatchGet(Protocol):
    """Many servers can be asked for in one call."""

    BATCH: int
    """Most ids of one call."""

    async def get_many(self, provider_ids: Sequence[str]) -> Mapping[str, ServerRecord | None]:
        """Each id with its record as it is now, or None where `get` would raise NotFound. One id that is gone MUST NOT
        make the others fail. Every id asked for is in the answer, or the call raises."""
        ...


@runtime_checkable
class BatchDelete(Protocol):
    """Many servers can be deleted in one call."""

    BATCH: int
    """Most ids of one call."""

    async def delete_many(self, provider_ids: Sequence[str]) -> None:
        """As `delete` for each; ids that are gone are no error, and MUST NOT keep the others from being deleted.
        Raises where any was not accepted: repeat all."""
        ...


PROTOCOLS: Final[Mapping[Ability, type]] = {
    Ability.RETAG: Retag,
    Ability.IMAGES: Images,
    Ability.POWER: Power,
    Ability.RESIZE: Resize,
    Ability.SPOT: Spot,
    Ability.VOLUMES: Volumes,
    Ability.ADDRESSES: Addresses,
    Ability.EVENTS: Events,
    Ability.BATCH_GET: BatchGet,
    Ability.BATCH_DELETE: BatchDelete,
}

_METHODS: Final[Mapping[Ability, tuple[str, ...]]] = {
    ability: tuple(name for name, value in vars(protocol).items() if callable(value) and not name.startswith("_"))
    for ability, protocol in PROTOCOLS.items()
}


def abilities_of(backend: object) -> frozenset[Ability]:
    """The abilities of a backend, or of a backend's class."""
    return frozenset(a for a, methods in _METHODS.items() if all(callable(getattr(backend, m, None)) for m in methods))
