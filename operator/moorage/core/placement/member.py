"""What a member's configuration means on one particular service: its image, its offering and its settings."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from decimal import Decimal
from typing import Any, Final

from moorage.api.hostingservice import Offering
from moorage.api.placement import Exhausted
from moorage.api.quantities import format_quantity
from moorage.api.selection import Requirement, SpotUse
from moorage.api.virtualserverconfig import ExactOffering, Image, Size, VirtualServerConfigSpec
from moorage.core.exhaustion import Exhaustion, Fallback, Room, in_turn
from moorage.core.placement.reasons import Reason, Rejection
from moorage.core.placement.requirements import OF_OFFERINGS, offering_meets
from moorage.core.services import ServiceView
from moorage.core.zones import Zones

MAX_TURNS: Final = 3
"""How many offerings of one service are tried for a member, beside what may be taken back: each try costs calls and
time, and a service that has no room for three of them is rarely waiting with a fourth."""

SpotSettings = Callable[[str, Mapping[str, Any]], Mapping[str, Any] | None]
"""From a type of service and a server's settings to those that ask for a server that may be taken back; None: there is
no such thing, or the settings say themselves whether they want it."""


def no_spot(_type: str, _settings: Mapping[str, Any]) -> None:
    """No server can be had so by settings."""


@dataclass(frozen=True, slots=True)
class Spot:
    """Whether what a service may take back is used, and how its backend is asked for that."""

    use: SpotUse = "Never"
    settings: SpotSettings = no_spot


NO_SPOT: Final = Spot()


@dataclass(frozen=True, slots=True)
class Choice:
    """An offering, at the price that it has with these settings."""

    offering: Offering
    settings: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class MemberTemplate:
    """What each server of a member is made from on the chosen service. ``offering`` holds the price, where known."""

    image: str
    offering: Offering
    settings: Mapping[str, Any] = field(default_factory=dict)
    interruptible: bool = False
    """Chosen although the service may take it back."""
    otherwise: MemberTemplate | None = None
    """What is taken where this finds no room."""
    instead: str = ""
    """Why it is not what comes first on this service; "" where it is."""
    zones: Zones = field(default_factory=dict)
    """The zones of the service that its servers are spread over, where that is known (`with_room`)."""
    narrowed: str = ""
    """Why those are not all zones of the service; "" where they are."""

    @property
    def price(self) -> Decimal | None:
        """The price of one server for one hour; None where it is not known."""
        return self.offering.price_per_hour


def resolve_member(
    config: VirtualServerConfigSpec,
    service: ServiceView,
    requirements: Sequence[Requirement] = (),
    spot: Spot = NO_SPOT,
) -> MemberTemplate | Rejection:
    """What comes first of `resolve_turns`, or the first reason why there is nothing."""
    found = resolve_turns(config, service, requirements, spot, most=1)
    return found if isinstance(found, Rejection) else found[0]


def resolve_turns(
    config: VirtualServerConfigSpec,
    service: ServiceView,
    requirements: Sequence[Requirement] = (),
    spot: Spot = NO_SPOT,
    *,
    most: int = MAX_TURNS,
) -> tuple[MemberTemplate, ...] | Rejection:
    """What servers of ``config`` are made from on ``service``, in the order in which it is tried where there turns out
    to be no room; or the first reason why there is nothing.

    The first entry of `images` that applies is taken. First come the entries of `size.offerings` that apply, in their
    order; without any, the offerings that are large enough: the lowest price first, at equal price the smallest, then
    the first by name. Offerings without a price come after all that have one. ``requirements`` are the policy's: those
    on offerings narrow them. ``spot`` says whether what the service may take back is looked at; where it is taken, it
    is the first turn, and its `otherwise` what is taken without it.
    """
    image = _image(config.images, service)
    if isinstance(image, Rejection):
        return image
    settings = next((s.values for s in config.settings if s.service_type == service.type), {})
    wanted = _Wanted(config.size, service, requirements)
    lasting = wanted.in_turn()
    lent = _best_lent(wanted, lasting, service, settings, spot)
    arch = lent.offering.arch if lent is not None else lasting[0].arch if lasting else None
    # An image runs on one architecture: what comes after the first choice has the same, unless it is named.
    turns = [MemberTemplate(image, o, settings) for o in lasting if wanted.exact or o.arch == arch][:most]
    if lent is not None:
        otherwise = turns[0] if turns else None
        first = MemberTemplate(image, lent.offering, lent.settings, interruptible=True, otherwise=otherwise)
        return first, *turns[1:]
    return tuple(turns) or Rejection(Reason.NO_OFFERING, _no_offering(service, wanted, spot))


class _Wanted:
    """Which offerings of a service a member may have: those that it names there, or those that are large enough."""

    def __init__(self, size: Size, service: ServiceView, requirements: Sequence[Requirement]) -> None:
        self.size = size
        self.exact = tuple(dict.fromkeys(e.name for e in size.offerings if _is_for(e, service)))
        self._service = service
        self._asked = [r for r in requirements if r.key in OF_OFFERINGS]

    def in_turn(self) -> list[Offering]:
        """What stays, in the order in which it is tried. The first that is named has to be there."""
        offerings = self._service.offerings
        if not self.exact:
            return sorted((o for o in offerings if not o.interruptible and self.fits(o)), key=_cheapest)
        known = {o.name: o for o in offerings if o.name in self.exact and self._meets(o)}
        return [known[name] for name in self.exact if name in known] if self.exact[0] in known else []

    def fits(self, offering: Offering) -> bool:
        """Whether it may come first."""
        size = self.size
        if self.exact:
            large = offering.name == self.exact[0]
        else:
            large = offering.cpu >= size.cpu and offering.memory >= size.memory and size.arch in (None, offering.arch)
        return large and self._meets(offering)

    def _meets(self, offering: Offering) -> bool:
        return not self._asked or all(offering_meets(r, offering) for r in self._asked)


def _best_lent(
    wanted: _Wanted, lasting: Sequence[Offering], service: ServiceView, settings: Mapping[str, Any], spot: Spot
) -> Choice | None:
    """What may be taken back, where it is to be taken before what stays."""
    if spot.use == "Never":
        return None
    spare = [c for c in _lent(service, settings, bool(wanted.exact), spot) if wanted.fits(c.offering)]
    lent = min(spare, key=lambda c: _cheapest(c.offering), default=None)
    return lent if lent is not None and (not lasting or _prefers(spot, lent.offering, lasting[0])) else None


def _lent(service: ServiceView, settings: Mapping[str, Any], named: bool, spot: Spot) -> list[Choice]:
    """What the service may take back. An offering that the configuration names is taken as it is."""
    spare = [Choice(o, settings) for o in service.offerings if o.interruptible and not named]
    lent = spot.settings(service.type, settings)
    if lent is not None:
        spare += [
            Choice(o.model_copy(update={"price_per_hour": o.spot_price_per_hour}), lent)
            for o in service.offerings
            if o.spot_price_per_hour is not None and not o.interruptible
        ]
    return spare


def _prefers(spot: Spot, lent: Offering, kept: Offering) -> bool:
    """With Allow only where it is cheaper: at one price nobody wants what may be taken back."""
    if spot.use == "Prefer":
        return True
    price, other = lent.price_per_hour, kept.price_per_hour
    return price is not None and (other is None or price < other)


def _no_offering(service: ServiceView, wanted: _Wanted, spot: Spot) -> str:
    if wanted.exact:
        return f"the service has no offering {wanted.exact[0]!r}"
    lent = sum(o.interruptible for o in service.offerings)
    aside = f" ({lent} that may be taken back are not looked at)" if lent and spot.use == "Never" else ""
    return f"none of its {len(service.offerings)} offerings has {_needs(wanted.size)}{aside}"


def first_with_room(
    turns: Sequence[MemberTemplate], service_uid: str, type_: str, exhaustion: Exhaustion
) -> MemberTemplate | Rejection:
    """The first of ``turns`` that is not known to find no room; or that there is none, in the words of the first.

    Each turn has its own ways out (the backend's next settings, what stays) before the next one.
    """
    first: Rejection | None = None
    for template in turns:
        found = with_room(template, service_uid, type_, exhaustion)
        if isinstance(found, Rejection):
            first = first or found
        elif first is None:
            return found
        else:
            return replace(found, instead=f"offering {found.offering.name} is taken instead: {first.detail}")
    if first is None:
        raise ValueError("nothing to choose from")
    others = ", ".join(template.offering.name for template in turns[1:])
    return replace(first, detail=f"{first.detail}; nor is there room with {others}") if others else first


def with_room(
    template: MemberTemplate, service_uid: str, type_: str, exhaustion: Exhaustion
) -> MemberTemplate | Rejection:
    """The template with the first settings that are not known to find no room, and the zones where; or that there are
    none.

    Where what may be taken back found no room, what is taken without it is next.
    """
    offering = template.offering.name
    left: Room | Exhausted
    if template.interruptible:
        # Not the backend's own fallback: what it gives has another price than the one that the choice rests on.
        left = exhaustion.room(service_uid, offering, template.settings, template.image)
        if isinstance(left, Exhausted) and template.otherwise is not None:
            return _staying(template.otherwise, service_uid, type_, exhaustion, left)
    else:
        left = exhaustion.left(service_uid, type_, offering, template.settings, template.image)
    if isinstance(left, Exhausted):
        why = f"offering {offering} turned out to have no room ({left.message})"
        return Rejection(Reason.NO_CAPACITY, f"{why}; not tried again before {left.until:%Y-%m-%dT%H:%M:%SZ}")
    return replace(template, settings=left.settings, zones=left.zones, narrowed=_narrowed(offering, left))


def _narrowed(offering: str, room: Room) -> str:
    """That there are zones without room or in trouble, in the words of the first of them."""
    told, first = [], [next(iter(found.values())) for found in (room.full, room.troubled) if found]
    if room.full:
        told.append(f"offering {offering} turned out to have no room in {', '.join(room.full)} ({first[0].message})")
    if room.troubled:
        told.append(f"servers failed in {', '.join(room.troubled)} ({first[-1].reason}: {first[-1].message})")
    if not told:
        return ""
    until = min(entry.until for entry in first)
    return f"{'; '.join(told)}: new servers go to {', '.join(room.zones)} until {until:%Y-%m-%dT%H:%M:%SZ}"


def _staying(
    otherwise: MemberTemplate, service_uid: str, type_: str, exhaustion: Exhaustion, full: Exhausted
) -> MemberTemplate | Rejection:
    """What stays, with its own ways out, because what may be taken back has no room."""
    found = with_room(otherwise, service_uid, type_, exhaustion)
    if isinstance(found, Rejection):
        return found
    why = f"offering {full.offering} that may be taken back turned out to have no room ({full.message})"
    until = f"not tried again before {full.until:%Y-%m-%dT%H:%M:%SZ}"
    return replace(found, instead=f"offering {found.offering.name} is taken at its full price: {why}; {until}")


def tried_in_turn(template: MemberTemplate, type_: str, fallback: Fallback) -> Iterator[MemberTemplate]:
    """Everything that servers of the member may be made from on this service, by what found no room before it."""
    found: MemberTemplate | None = template
    while found is not None:
        turns = (found.settings,) if found.interruptible else in_turn(type_, found.settings, fallback)
        for settings in turns:
            yield replace(found, settings=settings)
        found = found.otherwise


def _image(images: Sequence[Image], service: ServiceView) -> str | Rejection:
    found = next((i.image for i in images if _applies(i, service)), None)
    if found is None:
        where = f"type {service.type}" + (f" in region {service.region}" if service.region else "")
        return Rejection(Reason.NO_IMAGE, f"none of its {len(images)} images is for services of {where}")
    if service.images is not None and found not in service.images:
        return Rejection(Reason.IMAGE_UNKNOWN, f"the service has no image {found!r}")
    return found


def _applies(image: Image, service: ServiceView) -> bool:
    return (
        image.service_type in {None, service.type}
        and image.region in {None, service.region}
        and (image.service_selector is None or image.service_selector.matches(service.labels))
    )


def _is_for(exact: ExactOffering, service: ServiceView) -> bool:
    return exact.service in {None, service.name} and exact.service_type in {None, service.type}


def _cheapest(offering: Offering) -> tuple[bool, Decimal, Decimal, Decimal, str]:
    price = offering.price_per_hour
    return price is None, price or Decimal(0), offering.cpu, offering.memory, offering.name


def _needs(size: Size) -> str:
    arch = f", arch {size.arch}" if size.arch else ""
    return f"cpu {format_quantity(size.cpu)}, memory {format_quantity(size.memory)}{arch}"
