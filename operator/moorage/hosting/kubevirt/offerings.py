"""The sizes of a cluster: those declared in the settings, and its cluster-wide instance types."""

from __future__ import annotations

from collections.abc import Iterable
from decimal import Decimal
from typing import Any

from moorage.api.quantities import parse_quantity
from moorage.hosting.contract import Offering
from moorage.hosting.errors import Unavailable
from moorage.hosting.kubevirt.settings import KubevirtSettings


def offerings_of(settings: KubevirtSettings, instance_types: Iterable[dict[str, Any]]) -> tuple[Offering, ...]:
    """Every offering once, declared ones first. Raises Unavailable for an instance type that makes no sense."""
    found = {
        size.name: Offering(
            name=size.name,
            cpu=Decimal(size.cpu),
            memory=size.memory,
            arch=size.arch,
            price_per_hour=size.price_per_hour,
        )
        for size in settings.sizes
    }
    for kind in instance_types:
        try:
            name, spec = kind["metadata"]["name"], kind["spec"]
            cpu, memory = Decimal(spec["cpu"]["guest"]), parse_quantity(str(spec["memory"]["guest"]))
        except (KeyError, TypeError, ValueError, ArithmeticError):
            raise Unavailable("an instance type of the cluster makes no sense") from None
        if name not in found:
            found[name] = Offering(
                name=name, cpu=cpu, memory=memory, arch=settings.arch, price_per_hour=settings.price(name)
            )
    return tuple(found.values())
