"""Points in time, as decisions use them."""

from __future__ import annotations

from datetime import datetime


def earliest(*moments: datetime | None) -> datetime | None:
    """The first of the moments that there are."""
    return min((m for m in moments if m is not None), default=None)
