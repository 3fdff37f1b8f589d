"""Schedules: inside or outside, the exact next edge, both changes of the clock, and what is not a schedule."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from cronsim import CronSim
from hypothesis import given
from hypothesis import strategies as st

from moorage.api.hostingpolicy import Schedule
from moorage.core.policy import schedule as module
from moorage.core.policy.schedule import Window, read_schedule

ZURICH = ZoneInfo("Europe/Zurich")


def utc(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


def cron(line: str, duration: str, zone: str = "UTC") -> Schedule:
    return Schedule.from_dict({"cron": line, "duration": duration, "timeZone": zone})


def look(schedule: Schedule, now: str) -> tuple[bool, datetime | None]:
    window = read_schedule(schedule, utc(now))
    assert not window.problem
    return window.inside, window.edge


OFFICE = cron("0 8 * * MON-FRI", "10h", "Europe/Zurich")


@pytest.mark.parametrize(
    ("now", "inside", "edge"),
    [
        ("2026-11-20T06:59:59", False, "2026-11-20T07:00:00"),
        ("2026-11-20T07:00:00", True, "2026-11-20T17:00:00"),
        ("2026-11-20T16:59:59.999999", True, "2026-11-20T17:00:00"),
        ("2026-11-20T17:00:00", False, "2026-11-23T07:00:00"),
        ("2026-07-01T05:59:59", False, "2026-07-01T06:00:00"),
        ("2026-07-01T06:00:00", True, "2026-07-01T16:00:00"),
    ],
)
def test_office_hours_begin_and_end_at_the_second(now: str, inside: bool, edge: str) -> None:
    assert look(OFFICE, now) == (inside, utc(edge))


@pytest.mark.parametrize(
    ("schedule", "now", "inside", "edge"),
    [
        # To summer time, 29 March 2026: 02:00 to 03:00 do not exist in Zurich.
        (cron("30 2 * * *", "1h", "Europe/Zurich"), "2026-03-29T00:59:59", False, "2026-03-29T01:00:00"),
        (cron("30 2 * * *", "1h", "Europe/Zurich"), "2026-03-29T01:00:00", True, "2026-03-29T02:00:00"),
        (cron("30 2 * * *", "1h", "Europe/Zurich"), "2026-03-29T02:00:00", False, "2026-03-30T00:30:00"),
        (cron("0 22 * * *", "10h", "Europe/Zurich"), "2026-03-29T06:59:59", True, "2026-03-29T07:00:00"),
        (cron("0 8 * * *", "1h", "Europe/Zurich"), "2026-03-28T08:00:00", False, "2026-03-29T06:00:00"),
        (cron("*/30 * * * *", "10m", "Europe/Zurich"), "2026-03-29T00:45:00", False, "2026-03-29T01:00:00"),
        # From summer time, 25 October 2026: 02:00 to 03:00 happen twice.
        (cron("30 2 * * *", "10m", "Europe/Zurich"), "2026-10-25T00:29:59", False, "2026-10-25T00:30:00"),
        (cron("30 2 * * *", "10m", "Europe/Zurich"), "2026-10-25T00:30:00", True, "2026-10-25T00:40:00"),
        (cron("30 2 * * *", "10m", "Europe/Zurich"), "2026-10-25T01:30:00", False, "2026-10-26T01:30:00"),
        (cron("30 2,3 * * *", "10m", "Europe/Zurich"), "2026-10-25T01:15:00", False, "2026-10-25T02:30:00"),
        (cron("*/30 * * * *", "10m", "Europe/Zurich"), "2026-10-25T00:45:00", False, "2026-10-25T01:00:00"),
        (cron("*/30 * * * *", "10m", "Europe/Zurich"), "2026-10-25T01:15:00", False, "2026-10-25T01:30:00"),
        (cron("0 22 * * *", "10h", "Europe/Zurich"), "2026-10-25T05:59:59", True, "2026-10-25T06:00:00"),
        (cron("0 8 * * *", "1h", "Europe/Zurich"), "2026-10-24T12:00:00", False, "2026-10-25T07:00:00"),
        # The other half of the world changes the other way round.
        (cron("30 2 * * *", "1h", "Australia/Sydney"), "2026-10-03T15:59:59", False, "2026-10-03T16:00:00"),
        (cron("30 2 * * *", "1h", "Australia/Sydney"), "2026-04-04T16:30:00", False, "2026-04-05T16:30:00"),
    ],
)
def test_changes_of_the_clock(schedule: Schedule, now: str, inside: bool, edge: str) -> None:
    assert look(schedule, now) == (inside, utc(edge))


def test_windows_that_touch_are_one() -> None:
    weekdays = cron("0 0 * * MON-FRI", "24h")
    assert look(weekdays, "2026-11-18T12:00:00") == (True, utc("2026-11-21T00:00:00"))
    overlapping = cron("0 8,9 * * *", "2h")
    assert look(overlapping, "2026-11-18T08:30:00") == (True, utc("2026-11-18T11:00:00"))


def test_a_schedule_without_a_gap_has_no_edge_and_is_looked_at_again_all_the_same() -> None:
    window = read_schedule(cron("* * * * *", "10h"), utc("2026-11-18T08:30:30"))
    assert window.inside
    assert window.edge is None
    assert window.check is not None
    assert window.check > utc("2026-11-18T16:00:00")


def test_since_is_the_start_and_is_exact_after_a_gap() -> None:
    window = read_schedule(OFFICE, utc("2026-11-20T09:00:00"))
    assert (window.since, window.exact) == (utc("2026-11-20T07:00:00"), True)
    assert not read_schedule(cron("0 * * * *", "1h"), utc("2026-11-20T09:10:00")).exact


@pytest.mark.parametrize(
    ("schedule", "now", "since"),
    [
        (OFFICE, "2026-11-20T06:00:00", "2026-11-19T17:00:00"),
        (OFFICE, "2026-11-23T06:00:00", "2026-11-20T17:00:00"),
        (cron("0 0 29 2 *", "1h"), "2026-11-23T06:00:00", "2024-02-29T01:00:00"),
        (cron("30 2 * * *", "10m", "Europe/Zurich"), "2026-10-25T01:30:00", "2026-10-25T00:40:00"),
        (cron("0 22 * * *", "10h", "Europe/Zurich"), "2026-03-29T12:00:00", "2026-03-29T07:00:00"),
    ],
)
def test_outside_a_window_since_is_the_end_of_the_one_before(schedule: Schedule, now: str, since: str) -> None:
    window = read_schedule(schedule, utc(now))
    assert (window.inside, window.since, window.exact) == (False, utc(since), True)


class Counting(CronSim):
    """Counts how many starts are looked for."""

    steps = 0

    def __next__(self) -> datetime:
        Counting.steps += 1
        return super().__next__()


@pytest.mark.parametrize(
    "schedule",
    [
        cron("59 23 L 12 *", "8784h", "America/Sao_Paulo"),
        cron("* * * * *", "1m", "America/Sao_Paulo"),
        cron("* * * * *", "8784h", "America/Sao_Paulo"),
        cron("* * * * *", "10h"),
        cron("*/2 0-22 * * *", "3m", "America/Sao_Paulo"),
        cron("0 * * * *", "2h"),
    ],
)
def test_a_schedule_costs_little_and_nothing_until_it_can_change(
    schedule: Schedule, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "CronSim", Counting)
    module._WINDOWS.clear()
    now, Counting.steps = utc("2026-11-20T12:00:30"), 0
    window = read_schedule(schedule, now)
    assert window.inside
    assert window.check is not None
    assert Counting.steps <= 2 * module.MAX_TOUCHING + 8
    before = Counting.steps
    assert read_schedule(schedule, window.check - timedelta(seconds=1)) == window
    assert Counting.steps == before
    assert read_schedule(schedule, window.check).inside
    assert read_schedule(schedule, now - timedelta(days=1)).inside, "a clock that was set back"
    assert Counting.steps > before


def test_what_is_remembered_of_schedules_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "KEPT", 3)
    module._WINDOWS.clear()
    for minute in range(10):
        read_schedule(cron(f"{minute} * * * *", "1m"), utc("2026-11-20T12:00:30"))
    assert len(module._WINDOWS) == 3


INTERVAL = {"from": "2026-11-20T08:00:00Z", "until": "2026-11-21T08:00:00+01:00"}


@pytest.mark.parametrize(
    ("spec", "now", "expected"),
    [
        (INTERVAL, "2026-11-20T07:59:59", (False, utc("2026-11-20T08:00:00"))),
        (INTERVAL, "2026-11-20T08:00:00", (True, utc("2026-11-21T07:00:00"))),
        (INTERVAL, "2026-11-21T07:00:00", (False, None)),
        ({"from": INTERVAL["from"]}, "2030-01-01T00:00:00", (True, None)),
        ({"until": INTERVAL["until"]}, "2020-01-01T00:00:00", (True, utc("2026-11-21T07:00:00"))),
    ],
)
def test_from_and_until(spec: dict[str, Any], now: str, expected: tuple[bool, datetime | None]) -> None:
    assert look(Schedule.from_dict(spec), now) == expected


@pytest.mark.parametrize(
    ("fields", "part"),
    [
        ({}, "the schedule is empty; write `cron` with `duration`, or `from` and `until`"),
        ({"cron": "0 8 * * *"}, "`cron` needs a `duration`"),
        ({"cron": "0 8 * * *", "duration": timedelta(0)}, "`cron` needs a `duration` above 0s"),
        ({"cron": "0 8 * * *", "duration": timedelta(days=999_999)}, "of at most 8784h"),
        ({"cron": "0 8 * *", "duration": timedelta(hours=1)}, "it needs five fields"),
        ({"cron": "0 0 8 * * *", "duration": timedelta(hours=1)}, "it needs five fields"),
        ({"cron": "61 8 * * *", "duration": timedelta(hours=1)}, "its minute cannot be read"),
        ({"cron": "0 8 * * FUN", "duration": timedelta(hours=1)}, "its day-of-week cannot be read"),
        ({"cron": "0 8 31 2 *", "duration": timedelta(hours=1)}, "its day-of-month cannot be read or never occurs"),
        ({"cron": "every day", "duration": timedelta(hours=1)}, "it needs five fields"),
        (
            {"cron": "0 8 * * *", "duration": timedelta(hours=1), "time_zone": "Mars/Olympus"},
            "no time zone 'Mars/Olympus'",
        ),
        ({"cron": "0 8 * * *", "duration": timedelta(hours=1), "time_zone": "Europe"}, "no time zone 'Europe'"),
        ({"cron": "0 8 * * *", "duration": timedelta(hours=1), "time_zone": "../etc/passwd"}, "no time zone"),
        ({"cron": "0 8 * * *", "from_": utc("2026-01-01T00:00:00")}, "exclude each other"),
        ({"from_": utc("2026-01-02T00:00:00"), "until": utc("2026-01-01T00:00:00")}, "`until` must be later"),
        ({"from_": utc("2026-01-02T00:00:00"), "duration": timedelta(hours=1)}, "`duration` goes with `cron`"),
    ],
)
def test_what_is_not_a_schedule_says_what_to_write(fields: dict[str, Any], part: str) -> None:
    # The API server refuses most of these; a reading must not depend on that.
    window = read_schedule(Schedule.model_construct(**{"time_zone": "UTC", **fields}), utc("2026-11-20T08:00:00"))
    assert part in window.problem


def test_a_line_that_never_fires_is_a_problem() -> None:
    problem = read_schedule(cron("0 0 31 4 MON#5", "1h"), utc("2026-11-20T08:00:00")).problem
    # In cron, a day of the month and a day of the week that are both given mean either of them.
    assert problem == ""
    for line in ("0 0 */30 * SUN#2", "0 0 */30 2 MON#5"):
        assert "never occur together" in read_schedule(cron(line, "1h"), utc("2026-11-20T08:00:00")).problem
    assert not read_schedule(cron("0 0 29 2 */7", "1h"), utc("2026-11-20T08:00:00")).problem, "in 2032"
    assert "never occurs" in read_schedule(cron("0 0 31 2,4,6 *", "1h"), utc("2026-11-20T08:00:00")).problem


def test_the_last_years_that_a_date_can_have() -> None:
    assert "beyond the last year" in read_schedule(cron("0 8 1 1 *", "1h"), utc("9999-12-31T23:00:00")).problem


_MINUTES = st.sampled_from(["0", "30", "*/20", "15,45"])
_HOURS = st.sampled_from(["*", "2", "1-3", "2,3", "*/6", "8", "22"])
_DAYS = st.sampled_from(["*", "MON-FRI", "SUN"])
_DURATIONS = st.sampled_from([timedelta(minutes=m) for m in (5, 20, 30, 60, 90, 600, 1440)])
_AROUND = st.sampled_from([utc("2026-03-29T01:00:00"), utc("2026-10-25T01:00:00"), utc("2026-11-20T12:00:00")])
_OFFSETS = st.integers(-3 * 86400, 3 * 86400).map(lambda s: timedelta(seconds=s))


def brute(line: str, duration: timedelta, zone: ZoneInfo, now: datetime) -> bool:
    """Whether a start that lies in the past is less than `duration` ago, by walking through all of them."""
    for start in CronSim(line, (now - timedelta(days=4)).astimezone(zone)):
        instant = start.astimezone(UTC)
        if instant > now + timedelta(days=1):
            return False
        if instant <= now < instant + duration:
            return True
    return False


@given(_MINUTES, _HOURS, _DAYS, _DURATIONS, _AROUND, _OFFSETS)
def test_inside_and_edge_agree_with_walking_through_all_starts(
    minute: str, hour: str, day: str, duration: timedelta, around: datetime, offset: timedelta
) -> None:
    line = f"{minute} {hour} * * {day}"
    schedule = Schedule(cron=line, duration=duration, time_zone="Europe/Zurich")
    now = around + offset
    window: Window = read_schedule(schedule, now)
    assert window.inside == brute(line, duration, ZURICH, now)
    if window.edge is not None:
        assert window.edge > now
        assert brute(line, duration, ZURICH, window.edge) != window.inside
        assert brute(line, duration, ZURICH, window.edge - timedelta(seconds=1)) == window.inside
    if window.since is not None:
        assert brute(line, duration, ZURICH, window.since) == window.inside
        changed = brute(line, duration, ZURICH, window.since - timedelta(seconds=1)) != window.inside
        assert window.exact == changed
