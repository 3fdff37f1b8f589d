"""Whether there is room for one more machine."""

from __future__ import annotations

from collections.abc import Collection

from moorage.api.hostd import CreateServer, Faults, Offering
from moorage.hostd.machine import Machine
from moorage.hostd.refusals import invalid, no_capacity, over_quota


def check_room(
    request: CreateServer,
    offering: Offering | None,
    machines: Collection[Machine],
    reserved: int,
    limit: int | None,
    faults: Faults,
) -> None:
    """Raises Refusal where the request has no place among the machines and those that are being made (`reserved`)."""
    there = len(machines) + reserved
    if offering is None:
        raise invalid(f"there is no offering {request.offering!r}", "offering")
    if faults.quota is not None and there >= faults.quota:
        raise over_quota(faults.quota)
    if limit is not None and there >= limit:
        raise no_capacity(f"all {limit} places are taken")
    if not request.settings.spot:
        return
    if offering.spot_price_per_hour is None:
        raise invalid(f"the offering {offering.name} cannot be had at a spot price", "settings.spot")
    if faults.spot_capacity is not None:
        spot = sum(machine.request.settings.spot for machine in machines)
        if spot >= faults.spot_capacity:
            raise no_capacity("there is no room left at the spot price")
