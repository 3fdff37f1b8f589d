"""What a member's configuration means on one particular service: its image, its offering and its settings."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from decimal import Decimal
from typing import Any, Final

from moorage.api.hostingpolicy import Requirement
from moorage.api.hostingservice import Offering
from moorage.api.quantities import format_quantity
from moorage.api.servergroup import Exhausted
from moorage.api.virtualserverconfig import ExactOffering, Image, Size, VirtualServerConfigSpec
from moorage.core.exhaustion import Exhaustion
from moorage.core.placement.reasons import Reason, Rejection
from moorage.core.services import ServiceView

MAX_TURNS: Final = 3
"""How many offerings of one service are tried for a member: each try costs calls and time, and a service that has no
room for three of them is rarely waiting with a fourth."""


@dataclass(frozen=True, slots=True)
class MemberTemplate:
    """What each server of a member is made from on the chosen service. ``offering`` holds the price, where known."""

    image: str
    offering: Offering
    settings: Mapping[str, Any] = field(default_factory=dict)
    instead: str = ""
    """Why it is not what comes first on this service; "" where it is."""

    @property
    def price(self) -> Decimal | None:
        """The price of one server for one hour; None where it is not known."""
        return self.offering.price_per_hour


def resolve_member(
    config: VirtualServerConfigSpec, service: ServiceView, requirements: Sequence[Requirement] = ()
) -> MemberTemplate | Rejection:
    """What comes first of `resolve_turns`, or the first reason why there is nothing."""
    found = resolve_turns(config, service, requirements)
    return found if isinstance(found, Rejection) else found[0]


def resolve_turns(
    config: VirtualServerConfigSpec, service: ServiceView, requirements: Sequence[Requirement] = ()
) -> tuple[MemberTemplate, ...] | Rejection:
    """What servers of ``config`` are made from on ``service``, in the order in which it is tried where there turns out
    to be no room; or the first reason why there is nothing.

    The first entry of `images` that applies is taken. First come the entries of `size.offerings` that apply, in their
    order; without any, the offerings that are large enough: the lowest price first, at equal price the smallest, then
    the first by name. Offerings without a price come after all that have one. ``requirements`` are the policy's: those
    on ``arch`` narrow the offerings.
    """
    image = _image(config.images, service)
    if isinstance(image, Rejection):
        return image
    offerings = _offerings(config.size, service, requirements)
    if isinstance(offerings, Rejection):
        return offerings
    settings = next((s.values for s in config.settings if s.service_type == service.type), {})
    return tuple(MemberTemplate(image, offering, settings) for offering in offerings)


def first_with_room(
    turns: Sequence[MemberTemplate], service_uid: str, type_: str, exhaustion: Exhaustion
) -> MemberTemplate | Rejection:
    """The first of ``turns`` that is not known to find no room; or that there is none, in the words of the first."""
    first: Rejection | None = None
    for template in turns:
        found = with_room(template, service_uid, type_, exhaustion)
        if isinstance(found, Rejection):
            first = first or found
        elif first is None:
            return found
        else:
            return replace(found, instead=f"offering {template.offering.name} is taken instead: {first.detail}")
    if first is None:
        raise ValueError("nothing to choose from")
    others = ", ".join(template.offering.name for template in turns[1:])
    return replace(first, detail=f"{first.detail}; nor is there room with {others}") if others else first


def with_room(
    template: MemberTemplate, service_uid: str, type_: str, exhaustion: Exhaustion
) -> MemberTemplate | Rejection:
    """The template with the first settings that are not known to find no room, or that there are none."""
    offering = template.offering.name
    left = exhaustion.left(service_uid, type_, offering, template.settings)
    if isinstance(left, Exhausted):
        why = f"offering {offering} turned out to have no room ({left.message})"
        return Rejection(Reason.NO_CAPACITY, f"{why}; not tried again before {left.until:%Y-%m-%dT%H:%M:%SZ}")
    return replace(template, settings=left)


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


def _offerings(size: Size, service: ServiceView, requirements: Sequence[Requirement]) -> Sequence[Offering] | Rejection:
    """The offerings that a member may have, in turn; the first of an exact list has to be there."""
    allowed = [o for o in service.offerings if all(arch_matches(r, o.arch) for r in requirements if r.key == "arch")]
    exact = [e.name for e in size.offerings if _is_for(e, service)]
    if exact:
        known = {o.name: o for o in allowed}
        if exact[0] not in known:
            return Rejection(Reason.NO_OFFERING, f"the service has no offering {exact[0]!r}")
        return [known[name] for name in dict.fromkeys(exact) if name in known][:MAX_TURNS]
    large = [o for o in allowed if o.cpu >= size.cpu and o.memory >= size.memory and size.arch in {None, o.arch}]
    if not large:
        return Rejection(Reason.NO_OFFERING, f"none of its {len(service.offerings)} offerings has {_needs(size)}")
    in_turn = sorted(large, key=_cheapest)
    # An image runs on one architecture: what comes after the first choice has the same.
    return [o for o in in_turn if o.arch == in_turn[0].arch][:MAX_TURNS]


def _is_for(exact: ExactOffering, service: ServiceView) -> bool:
    return exact.service in {None, service.name} and exact.service_type in {None, service.type}


def _cheapest(offering: Offering) -> tuple[bool, Decimal, Decimal, Decimal, str]:
    price = offering.price_per_hour
    return price is None, price or Decimal(0), offering.cpu, offering.memory, offering.name


def _needs(size: Size) -> str:
    arch = f", arch {size.arch}" if size.arch else ""
    return f"cpu {format_quantity(size.cpu)}, memory {format_quantity(size.memory)}{arch}"


def arch_matches(requirement: Requirement, arch: str) -> bool:
    """Whether an offering of this architecture meets a requirement on ``arch``."""
    match requirement.operator:
        case "In":
            return arch in requirement.values
        case "NotIn":
            return arch not in requirement.values
        case "Exists":
            return True
        case "DoesNotExist":
            return False
