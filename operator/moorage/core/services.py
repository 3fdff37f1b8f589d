"""Hosting services as policies and placement see them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any, Final

from moorage.api import conditions
from moorage.api.hostingservice import DataSource, HostingService, Offering
from moorage.api.meta import LabelSelector

STATUS_IMAGES: Final = 200
NOT_SEEN_YET: Final = "NotSeenYet"
DELETING: Final = "Deleting"
EVERY: Final = LabelSelector()


@dataclass(frozen=True, slots=True)
class ServiceView:
    """What is known of one hosting service at one moment.

    ``room`` is how many more servers it takes, None where neither the service nor ``spec.limits`` sets a bound.
    ``images`` is None where the service does not list its images. ``usable`` is false while no new server may be made
    there; ``why_not`` then holds one CamelCase word and one sentence. ``new_since`` is since when a first look at it is
    due: when its object was made, or when this process began.
    ``retags`` is whether tags of its servers can be rewritten, without which none can be retained.
    """

    name: str
    uid: str = ""
    type: str = "local"
    region: str = ""
    labels: Mapping[str, str] = field(default_factory=dict)
    allowed_namespaces: LabelSelector = EVERY
    offerings: tuple[Offering, ...] = ()
    images: frozenset[str] | None = None
    limit: int | None = None
    used: int = 0
    room: int | None = None
    servers: int = 0
    usable: bool = True
    why_not: tuple[str, str] = ("", "")
    new_since: datetime | None = None
    retags: bool = True
    sources: tuple[DataSource, ...] = ()
    """Where its offerings come from, and how old what each of them says is."""
    boot_seconds: float | None = None
    """The median time that a server took there within the last day; None where too few were made to tell."""
    failure_rate: float | None = None
    """The share of servers that could not be made there within the last day; None where too few were tried to tell."""

    @property
    def data_at(self) -> datetime | None:
        """Of when the oldest of what is known of its offerings is; None where that is not known of all of it."""
        times = [source.at for source in self.sources]
        return min((at for at in times if at is not None), default=None) if all(times) else None

    def is_older(self, allowed: timedelta, now: datetime) -> bool:
        """Whether what is known of its offerings is older than that, or nobody knows how old it is."""
        return self.data_at is None or now - self.data_at > allowed

    @property
    def min_price(self) -> Decimal | None:
        """The lowest price of one hour among all offerings; None where no price is known."""
        return min((o.price_per_hour for o in self.offerings if o.price_per_hour is not None), default=None)

    def to_cel(self) -> dict[str, Any]:
        """The map that expressions see. What is not known is absent, so that ``has()`` tells and nothing is guessed."""
        capacity: dict[str, Any] = {"used": self.used}
        if self.limit is not None:
            capacity["limit"] = self.limit
        if self.room is not None:
            capacity["available"] = self.room
        shown: dict[str, Any] = {
            "name": self.name,
            "type": self.type,
            "region": self.region,
            "labels": dict(self.labels),
            "available": self.usable,
            "capacity": capacity,
            "offerings": [_offering_to_cel(o) for o in self.offerings],
            "servers": self.servers,
        }
        if (price := self.min_price) is not None:
            shown["minPrice"] = float(price)
        if self.boot_seconds is not None:
            shown["bootSeconds"] = self.boot_seconds
        if self.failure_rate is not None:
            shown["failureRate"] = self.failure_rate
        return shown


def service_view(
    service: HostingService, *, servers: int | None = None, promised: int = 0, released: int | None = None
) -> ServiceView:
    """The view of a HostingService from its spec and status.

    ``servers`` is how many VirtualServers are on it, ``released`` how many servers run on there without one (default:
    what its status says), ``promised`` how many servers were placed there that the service's own count does not
    contain yet.
    """
    spec, status = service.spec, service.status
    here = status.servers or 0 if servers is None else servers
    limit, used, room = _room(service, here, promised, _ownerless(service) if released is None else released)
    usable, why_not = _usable(service)
    return ServiceView(
        name=service.metadata.name,
        uid=service.metadata.uid,
        type=spec.type,
        region=spec.region,
        labels=spec.labels,
        allowed_namespaces=spec.allowed_namespaces,
        offerings=_offerings(service),
        # Status keeps 200 images at most: a full list may be a cut one, and says nothing about what is not in it.
        images=frozenset(status.images) if 0 < len(status.images) < STATUS_IMAGES else None,
        limit=limit,
        used=used,
        room=room,
        servers=here,
        usable=usable,
        why_not=why_not,
        new_since=service.metadata.creation_timestamp,
        retags="Retag" in status.abilities,
        sources=status.sources,
        boot_seconds=status.measured.boot_seconds if status.measured is not None else None,
        failure_rate=status.measured.failure_rate if status.measured is not None else None,
    )


def not_seen_yet(view: ServiceView, since: datetime) -> ServiceView:
    """The view of a service that this process, which began at ``since``, has not looked at: its status may be old."""
    if not view.usable and view.why_not[0] == DELETING:
        return view
    why_not = NOT_SEEN_YET, "the controller has not looked at it since it was started"
    return replace(view, usable=False, why_not=why_not, new_since=max(since, view.new_since or since))


def _offerings(service: HostingService) -> tuple[Offering, ...]:
    merged = {o.name: o for o in service.status.offerings} | {o.name: o for o in service.spec.offerings}
    return tuple(sorted(merged.values(), key=lambda o: o.name))


def _ownerless(service: HostingService) -> int:
    """Servers that run on without an object."""
    return (service.status.released or 0) + (service.status.orphan_count or 0)


def _room(service: HostingService, servers: int, promised: int, released: int) -> tuple[int | None, int, int | None]:
    own = service.spec.limits.servers
    capacity = service.status.capacity
    told = limit = None
    used = servers
    if capacity is not None:
        limit, used = capacity.limit, capacity.used
        told = capacity.available
        if told is None and limit is not None:
            told = limit - used
    bounds = [b for b in (told, None if own is None else own - servers - released) if b is not None]
    room = max(0, min(bounds) - promised) if bounds else None
    limits = [b for b in (limit, own) if b is not None]
    return min(limits, default=None), used, room


def _usable(service: HostingService) -> tuple[bool, tuple[str, str]]:
    if service.metadata.deleting:
        return False, (DELETING, "the HostingService is being deleted")
    circuit = service.status.circuit
    if circuit is not None and circuit.state == "Open":
        return False, ("CircuitOpen", "the service failed repeatedly and is left alone for a while")
    stalled = conditions.find(service.status.conditions, conditions.STALLED)
    if stalled is not None and stalled.status == "True":
        return False, (stalled.reason, stalled.message)
    available = conditions.find(service.status.conditions, conditions.AVAILABLE)
    if available is None:
        return False, (NOT_SEEN_YET, "the service was not reached yet")
    if available.status != "True":
        return False, (available.reason, available.message)
    return True, ("", "")


def _offering_to_cel(offering: Offering) -> dict[str, Any]:
    shown: dict[str, Any] = {
        "name": offering.name,
        "cpu": float(offering.cpu),
        "memory": int(offering.memory),
        "arch": offering.arch,
        "interruptible": offering.interruptible,
    }
    if offering.price_per_hour is not None:
        shown["price"] = float(offering.price_per_hour)
    if offering.spot_price_per_hour is not None:
        shown["spotPrice"] = float(offering.spot_price_per_hour)
    return shown
