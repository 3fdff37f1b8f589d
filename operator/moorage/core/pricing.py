"""The offerings in force: what is declared, what a catalogue says, and what the service tells, with the age of each.

By name, `spec.offerings` go before the catalogue and the catalogue before the service. An entry of `spec.offerings`
stands for itself; an entry of the catalogue adds to and corrects what the service tells of the offering of its name.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from decimal import Decimal
from typing import Any

from moorage.api.catalogue import Catalogue, CatalogueEntry
from moorage.api.hostingservice import DataSource, Offering
from moorage.core.problems import joined


@dataclass(frozen=True, slots=True)
class Told:
    """What a service tells of its offerings, and when it was asked. ``problem``: why its spot prices are not known."""

    offerings: Sequence[Offering] = ()
    spot_prices: Mapping[str, Decimal] = field(default_factory=dict)
    at: datetime | None = None
    problem: str = ""


@dataclass(frozen=True, slots=True)
class InForce:
    """The offerings by name, and where they come from."""

    offerings: tuple[Offering, ...]
    sources: tuple[DataSource, ...]


def market_price(offering: Offering, interruptible: bool) -> Decimal | None:
    """The price of one hour of an offering: for what may be taken back the spot price, and while that is not known the
    full one, which it does not exceed. What is interruptible as an offering of its own has one price only."""
    if interruptible and not offering.interruptible and offering.spot_price_per_hour is not None:
        return offering.spot_price_per_hour
    return offering.price_per_hour


def in_force(
    declared: Sequence[Offering], declared_as_of: datetime | None, catalogue: Catalogue | None, told: Told
) -> InForce:
    """Merge the three sources. What makes no sense is left out, and its source says so."""
    discovered, ignored = _sensible(told)
    listed, incomplete = _listed(catalogue, discovered)
    own = {o.name: o for o in declared}
    merged = discovered | listed | own
    sources = [
        DataSource(name="Spec", at=declared_as_of, offerings=len(own)),
        DataSource(
            name="Catalogue",
            at=catalogue.as_of if catalogue is not None else None,
            offerings=len(listed.keys() - own.keys()),
            message=joined(incomplete) or None,
        ),
        DataSource(
            name="Service",
            at=told.at.replace(microsecond=0) if told.at is not None else None,
            offerings=len(discovered.keys() - listed.keys() - own.keys()),
            message=joined([*ignored, *([told.problem] if told.problem else [])]) or None,
        ),
    ]
    # What a catalogue adds to is still the service's word for the rest.
    rests = {"Service"} if discovered.keys() & listed.keys() else set()
    used = tuple(s for s in sources if s.offerings or s.message or s.name in rests)
    return InForce(tuple(merged[name] for name in sorted(merged)), used)


def _sensible(told: Told) -> tuple[dict[str, Offering], list[str]]:
    """A service's own data comes from outside, too: a negative price is no price, and no size is below 0."""
    found: dict[str, Offering] = {}
    ignored: list[str] = []
    for offering in told.offerings:
        if not all(size.is_finite() and size >= 0 for size in (offering.cpu, offering.memory)):
            ignored.append(f"offering {offering.name} is ignored: its size is no number from 0 on")
            continue
        prices: dict[str, Decimal | None] = {
            "price_per_hour": offering.price_per_hour,
            "spot_price_per_hour": told.spot_prices.get(offering.name, offering.spot_price_per_hour),
        }
        for name, price in prices.items():
            if price is not None and not (price.is_finite() and price >= 0):
                ignored.append(
                    f"offering {offering.name}: the price {price} is ignored, since it is no number from 0 on"
                )
                prices[name] = None
        found[offering.name] = offering.model_copy(update=prices)
    return found, ignored


def _listed(catalogue: Catalogue | None, discovered: Mapping[str, Offering]) -> tuple[dict[str, Offering], list[str]]:
    found: dict[str, Offering] = {}
    incomplete: list[str] = []
    for entry in catalogue.offerings if catalogue is not None else ():
        known = discovered.get(entry.name)
        if known is not None:
            found[entry.name] = known.model_copy(update=_given(entry))
        elif entry.cpu is None or entry.memory is None:
            incomplete.append(
                f"offering {entry.name} is ignored: the service tells none of that name, so it needs cpu and memory"
            )
        else:
            found[entry.name] = Offering(cpu=entry.cpu, memory=entry.memory, name=entry.name).model_copy(
                update=_given(entry)
            )
    return found, incomplete


def _given(entry: CatalogueEntry) -> dict[str, Any]:
    return {name: value for name in CatalogueEntry.model_fields if (value := getattr(entry, name)) is not None}
