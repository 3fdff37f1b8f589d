"""Conditions rest on no data of services that is older than the policy allows (`select.maxDataAge`)."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Final

from moorage.api.quantities import format_duration
from moorage.core.problems import joined
from moorage.core.services import ServiceView
from moorage.core.timing import earliest

DATA_TOO_OLD: Final = "DataTooOld"
_READS = re.compile(r"\b(minPrice|offerings)\b")
_AFTER: Final = timedelta(seconds=1)


@dataclass(frozen=True, slots=True)
class Known:
    """The services as conditions may see them. ``problem``: what of their offerings is too old to decide by, "" where
    nothing is; ``left_out``: of which services it is left out for that, in words, "" where of none; ``crossing``: when
    more of it will be."""

    services: Sequence[ServiceView]
    problem: str = ""
    left_out: str = ""
    crossing: datetime | None = None


def within_age(services: Sequence[ServiceView], allowed: timedelta | None, now: datetime) -> Known:
    """Of a service that takes no servers what is too old is left out: it is not asked, and stands for no choice.

    Only that: the service itself stays, or "main is out of reach and another one is cheap" would turn false some time
    after main went away.
    """
    if allowed is None:
        return Known(services)
    old = {s.name for s in services if s.is_older(allowed, now)}
    told = [_dated(s) for s in services if s.usable and s.name in old]
    bound = f"at most {format_duration(allowed)} old (select.maxDataAge)"
    without = joined(sorted(s.name for s in services if not s.usable and s.name in old)).replace("; ", ", ")
    due = (s.data_at + allowed + _AFTER for s in services if s.data_at is not None and s.name not in old)
    return Known(
        [replace(s, offerings=()) if s.name in old and not s.usable else s for s in services],
        f"{joined(told)}; they may be {bound}" if told else "",
        f"the offerings of {without} are left out, for what is decided by may be {bound}" if without else "",
        earliest(*due),
    )


def reads_offerings(expression: str) -> bool:
    """Whether an expression is about what services offer, and at which prices. A name in a text counts as well."""
    return _READS.search(expression) is not None


def _dated(service: ServiceView) -> str:
    if service.data_at is None:
        return f"of when the offerings of {service.name} are is not known"
    return f"the offerings of {service.name} are of {service.data_at:%Y-%m-%dT%H:%M:%SZ}"
