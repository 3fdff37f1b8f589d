"""The condition `schedule`: whether an instant is within it, and the next instant at which that changes.

A window of `cron` begins at each instant that the line names, in its time zone, and lasts `duration` of elapsed time;
windows that touch or overlap are one. As in Debian's cron, a fixed local time that a change to summer time skips
fires right after the gap, and one that the change back repeats fires once, the first time.
"""

from __future__ import annotations

from calendar import isleap, monthrange
from collections import OrderedDict
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from functools import lru_cache
from itertools import islice
from typing import Final
from zoneinfo import ZoneInfo

from cronsim import CronSim, CronSimError

from moorage.api.hostingpolicy import Schedule

INVALID_SCHEDULE: Final = "InvalidSchedule"
MAX_DURATION: Final = timedelta(days=366)
MAX_TOUCHING: Final = 64
LOOK_AHEAD: Final = timedelta(days=8)
"""How many windows that touch are followed to find the end, and how far. Beyond, one looks again before the end."""
KEPT: Final = 4096
"""Schedules whose window is remembered."""


@dataclass(frozen=True, slots=True)
class Window:
    """Where an instant is in a schedule.

    ``edge`` is the next instant at which ``inside`` changes (None: never, or too far to tell), ``check`` until when it
    does not for sure, ``since`` when it last changed (the latest instant at which it may have, unless ``exact``), as
    far as that is known. ``problem`` says what is wrong with the schedule; the rest means nothing then.
    """

    inside: bool = False
    edge: datetime | None = None
    check: datetime | None = None
    since: datetime | None = None
    exact: bool = False
    problem: str = ""


def read_schedule(schedule: Schedule, now: datetime) -> Window:
    """Where ``now`` (aware) is in ``schedule``. Never raises: `Window.problem` says what is wrong and what to write."""
    now = now.astimezone(UTC)
    if schedule.cron is None:
        return _read_interval(schedule, now)
    if schedule.from_ is not None or schedule.until is not None:
        return Window(problem="`cron` and `from`/`until` exclude each other; make it two conditions of `all`")
    if schedule.duration is None or not timedelta(0) < schedule.duration <= MAX_DURATION:
        return Window(problem="`cron` needs a `duration` above 0s and of at most 8784h, such as 10h")
    zone = _zone(schedule.time_zone)
    if zone is None:
        return Window(problem=f"there is no time zone {schedule.time_zone!r}; write one such as UTC or Europe/Zurich")
    problem = _cron_problem(schedule.cron)
    if problem:
        return Window(problem=f"the cron line {schedule.cron!r} is not valid: {problem}")
    try:
        return _read_cron(schedule.cron, schedule.duration, zone, now)
    except OverflowError:
        return Window(problem=f"the cron line {schedule.cron!r} leads beyond the last year that a date can have")


def _read_interval(schedule: Schedule, now: datetime) -> Window:
    start, end = schedule.from_, schedule.until
    if start is None and end is None:
        return Window(problem="the schedule is empty; write `cron` with `duration`, or `from` and `until`")
    if schedule.duration is not None:
        return Window(problem="`duration` goes with `cron`; write `until` instead")
    start = None if start is None else start.astimezone(UTC)
    end = None if end is None else end.astimezone(UTC)
    if start is not None and end is not None and end <= start:
        return Window(problem="`until` must be later than `from`")
    if start is not None and now < start:
        return Window(inside=False, edge=start, check=start)
    if end is not None and now >= end:
        return Window(inside=False, since=end)
    return Window(inside=True, edge=end, check=end, since=start, exact=start is not None)


def _read_cron(cron: str, duration: timedelta, zone: ZoneInfo, now: datetime) -> Window:
    """As it was found before, as long as that is so for sure: walking through starts takes its time."""
    key = cron, duration, zone.key
    found = _WINDOWS.get(key)
    if found is not None and found[0] <= now < found[1]:
        _WINDOWS.move_to_end(key)
        return found[2]
    window = _window(cron, duration, zone, now)
    if window.check is not None:
        _WINDOWS[key] = now, window.check, window
        while len(_WINDOWS) > KEPT:
            _WINDOWS.popitem(last=False)
    return window


_WINDOWS: Final[OrderedDict[tuple[str, timedelta, str], tuple[datetime, datetime, Window]]] = OrderedDict()
"""From when until when each is so. Nothing else than `_window` decides what is found here."""


def _window(cron: str, duration: timedelta, zone: ZoneInfo, now: datetime) -> Window:
    first = next(_starts(cron, zone, now - duration), None)
    if first is None:
        return Window(problem=f"the cron line {cron!r} never fires; check its day and month")
    if first > now:
        ended = _last_end(cron, duration, zone, now)
        return Window(inside=False, edge=first, check=first, since=ended, exact=ended is not None)
    touching = next(_starts(cron, zone, first - duration - timedelta(seconds=1))) < first
    end, certain = _end(cron, duration, zone, first, now + LOOK_AHEAD)
    return Window(inside=True, edge=end if certain else None, check=end, since=first, exact=not touching)


def _end(cron: str, duration: timedelta, zone: ZoneInfo, start: datetime, enough: datetime) -> tuple[datetime, bool]:
    """When the window from ``start`` ends, with those that touch it; False where it was not followed to its end."""
    for _ in range(MAX_TOUCHING):
        end = start + duration
        following = next(_starts(cron, zone, start), None)
        if following is None or following > end:
            return end, True
        if end >= enough:
            break
        gap = following - start
        # Where starts are dense, most of those within the window need not be visited.
        late = next(_starts(cron, zone, end - 2 * gap), None) if duration > 4 * gap else None
        start = following if late is None or late > end else late
    return start + duration, False


def _last_end(cron: str, duration: timedelta, zone: ZoneInfo, now: datetime) -> datetime | None:
    """When the window before ``now``, which lies outside, ended. None where nobody can tell.

    Walking backwards does not agree with walking forwards where clocks change: it only says where to begin.
    """
    latest = now - duration
    back = CronSim(cron, (latest.replace(microsecond=0) + timedelta(seconds=1)).astimezone(zone), reverse=True)
    found = next(back, None)
    if found is None:
        return None
    last = None
    for start in islice(_starts(cron, zone, found.astimezone(UTC) - timedelta(seconds=1)), 8):
        if start > latest:
            return None if last is None else last + duration
        last = start
    return None


def _starts(cron: str, zone: ZoneInfo, after: datetime) -> Iterator[datetime]:
    """The instants strictly after ``after`` that the line names, in order."""
    for start in CronSim(cron, after.astimezone(zone)):
        instant = start.astimezone(UTC)
        # A repeated local hour is named once, by its first pass: seen from the second pass that is in the past.
        if instant > after:
            yield instant
            after = instant


@lru_cache(maxsize=4096)
def _cron_problem(cron: str) -> str:
    if len(cron.split()) != 5:
        return "it needs five fields: minute, hour, day of month, month, day of week"
    try:
        line = CronSim(cron, datetime(2000, 1, 1, tzinfo=UTC))
    except CronSimError as error:
        field = str(error).removeprefix("Bad ")
        return f"its {field} cannot be read or never occurs; write for instance 0 8 * * MON-FRI"
    if not any(line.match_day(date(year, month, day)) for year, month, day in _days(line)):
        return "its day of month and its day of week never occur together; check both"
    return ""


def _days(line: CronSim) -> Iterator[tuple[int, int, int]]:
    """Each day of the line's months in each of the fourteen calendars that a year can have."""
    for year in _CALENDARS:
        for month in sorted(line.months):
            for day in range(1, monthrange(year, month)[1] + 1):
                yield year, month, day


_CALENDARS: Final = tuple({(date(year, 1, 1).weekday(), isleap(year)): year for year in range(2000, 2028)}.values())


@lru_cache(maxsize=256)
def _zone(key: str) -> ZoneInfo | None:
    try:
        return ZoneInfo(key)
    except (KeyError, ValueError, OSError):
        return None
