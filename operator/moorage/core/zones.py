"""The zones of a hosting service: its failure domains, over which the servers of a member are spread.

A zone is chosen with the VirtualServer and stands in its settings: what is tried after a zone without room is another
VirtualServer with another identity, so that no request is ever sent to two zones.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Callable, Mapping
from typing import Any

Zones = Mapping[str, Mapping[str, Any]]
"""By the name of each zone, what is added to a server's settings to have it made there."""

ZonesOf = Callable[[str, Mapping[str, Any]], Zones]
"""From the uid of a service and a server's settings to the zones that the server may be in; none where the service has
no zones, or the settings choose one themselves."""


def no_zones(_uid: str, _settings: Mapping[str, Any]) -> Zones:
    """The service has no zones."""
    return {}


def in_own_order(zones: Zones, whose: str, first: int = 0) -> Zones:
    """The zones in an order of ``whose`` own, so that the first servers of many groups are not all in one zone; it
    begins with the ``first``, so that those of a group's members are not either.

    It is mostly the same one when zones come and go.
    """
    names = sorted(zones, key=lambda name: hashlib.sha256(f"{whose}/{name}".encode()).digest())
    turn = first % len(names) if names else 0
    return {name: zones[name] for name in (*names[turn:], *names[:turn])}


def zone_of(settings: Mapping[str, Any], zones: Zones) -> str | None:
    """The zone that a server's settings are of."""
    return next((name for name, added in zones.items() if added.items() <= settings.items()), None)


def emptiest(zones: Zones, ordinal: int, beside: Counter[str]) -> str:
    """The zone for a server: that with the fewest of its siblings; among equals, the next in turn by its ordinal."""
    names = tuple(zones)
    turn = ordinal % len(names)
    return min((*names[turn:], *names[:turn]), key=lambda name: beside[name])
