"""Whether a service, or one of its offerings, meets a requirement."""

from __future__ import annotations

from collections.abc import Sequence
from decimal import Decimal
from typing import Final

from moorage.api.hostingservice import Offering
from moorage.api.quantities import format_quantity, parse_quantity
from moorage.api.selection import Requirement
from moorage.core.services import ServiceView

OF_OFFERINGS: Final = frozenset({"arch", "offering", "cpu", "memory", "price"})
"""Keys that narrow the offerings: a service meets such a requirement with at least one, and only those are taken."""


def meets(requirement: Requirement, service: ServiceView) -> bool:
    """Whether the service meets the requirement."""
    if requirement.key in OF_OFFERINGS:
        if requirement.operator == "DoesNotExist":
            return not service.offerings
        return any(offering_meets(requirement, o) for o in service.offerings)
    if requirement.key == "image":
        return service.images is not None
    return _compared(requirement, _value(requirement.key, service))


def offering_meets(requirement: Requirement, offering: Offering) -> bool:
    """Whether an offering meets a requirement on what is one of `OF_OFFERINGS`."""
    match requirement.key:
        case "arch":
            return _compared(requirement, offering.arch)
        case "offering":
            return _compared(requirement, offering.name)
        case "cpu":
            return _within(requirement, offering.cpu)
        case "memory":
            return _within(requirement, offering.memory)
        case "price":
            return _within(requirement, offering.price_per_hour)
        case _:
            return True


def explain_unmet(requirement: Requirement, service: ServiceView) -> str:
    """What the service has instead: ``region is eu-2, must be In [eu-1]``."""
    key = requirement.key
    if key == "image":
        return "the service does not list its images, so that none is known to be there"
    wanted = f" [{', '.join(requirement.values)}]" if requirement.values else ""
    values = _offered(key, service.offerings) if key in OF_OFFERINGS else [v for v in [_value(key, service)] if v]
    has = f"is {', '.join(values)}" if values else "is not set"
    if requirement.operator in {"Gt", "Lt"} and values and key not in OF_OFFERINGS and _number(values[0]) is None:
        has += ", which is no number"
    return f"{key} {has}, must be {requirement.operator}{wanted}"


def _value(key: str, service: ServiceView) -> str | None:
    match key:
        case "region":
            return service.region or None
        case "type":
            return service.type
        case _:
            return service.labels.get(key)


def _compared(requirement: Requirement, value: str | None) -> bool:
    match requirement.operator:
        case "In":
            return value is not None and value in requirement.values
        case "NotIn":
            return value is None or value not in requirement.values
        case "Exists":
            return value is not None
        case "DoesNotExist":
            return value is None
        case "Gt" | "Lt":
            return _within(requirement, None if value is None else _number(value))


def _within(requirement: Requirement, value: Decimal | None) -> bool:
    """What is not known is neither greater nor less than anything."""
    bound = _number(requirement.values[0]) if len(requirement.values) == 1 else None
    if value is None or bound is None:
        return False
    return value > bound if requirement.operator == "Gt" else requirement.operator == "Lt" and value < bound


def _number(text: str) -> Decimal | None:
    try:
        return parse_quantity(text)
    except ValueError:
        return None


_SHOWN: Final = 5


def _offered(key: str, offerings: Sequence[Offering]) -> list[str]:
    """The values of the offerings; of many numbers only the least and the greatest."""
    if key in {"arch", "offering"}:
        values = sorted({o.arch if key == "arch" else o.name for o in offerings})
        return values if len(values) <= _SHOWN else [*values[:_SHOWN], f"and {len(values) - _SHOWN} more"]
    numbers = [{"cpu": o.cpu, "memory": o.memory, "price": o.price_per_hour}[key] for o in offerings]
    known = sorted(n for n in numbers if n is not None)
    if not known:
        return []
    spell = (lambda n: format(n, "f")) if key == "price" else format_quantity
    return [spell(known[0])] if known[0] == known[-1] else [f"{spell(known[0])} to {spell(known[-1])}"]
