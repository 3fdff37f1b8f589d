"""A choice among services is made once all that are new have been looked at, or a bounded time has passed."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime, timedelta
from typing import Final

from moorage.core.services import NOT_SEEN_YET, ServiceView

FIRST_CONTACT: Final = timedelta(seconds=10)
"""How long after its creation, or the controller's start, a HostingService may take to be reached before placements do
without it."""


def awaited(services: Iterable[ServiceView], now: datetime) -> tuple[tuple[str, ...], datetime | None]:
    """Names of the services that are still to be looked at for the first time, and until when they are waited for."""
    unseen = [s for s in services if s.why_not[0] == NOT_SEEN_YET]
    ends = {s.name: s.new_since + FIRST_CONTACT for s in unseen if s.new_since is not None}
    new = {name: end for name, end in ends.items() if now < end}
    return tuple(sorted(new)), max(new.values(), default=None)
