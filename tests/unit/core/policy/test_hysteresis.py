"""`for` and `holdFor`: never a flap within them, exact edges, and nothing remembered outside of status."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta

from hypothesis import given
from hypothesis import strategies as st

from moorage.api.hostingpolicy import PolicyCondition, Reading, Verdict
from moorage.core.policy.hysteresis import Settled, settle
from moorage.core.policy.readings import RawReading

T0 = datetime(2026, 11, 22, 12, 0, tzinfo=UTC)


def at(seconds: float) -> datetime:
    return T0 + timedelta(seconds=seconds)


def condition(for_: int = 0, hold_for: int = 0) -> PolicyCondition:
    return PolicyCondition(name="c", for_=timedelta(seconds=for_), hold_for=timedelta(seconds=hold_for))


def raw(value: Verdict, since: datetime | None = None, *, exact: bool = False) -> RawReading:
    return RawReading(value, f"Is{value}", f"it is {value}", since, exact)


def through_status(reading: Reading | None) -> Reading | None:
    """As it comes back after a restart."""
    return None if reading is None else Reading.from_dict(json.loads(json.dumps(reading.to_dict())))


def run(c: PolicyCondition, series: list[tuple[float, Verdict]]) -> list[Settled]:
    settled: list[Settled] = []
    for seconds, value in series:
        previous = settled[-1].reading if settled else None
        settled.append(settle(c, raw(value), through_status(previous), at(seconds)))
    return settled


def values(c: PolicyCondition, series: list[tuple[float, Verdict]]) -> list[Verdict]:
    return [s.reading.value for s in run(c, series)]


def test_without_hysteresis_a_reading_is_what_it_is_and_remembers_nothing() -> None:
    settled = run(condition(), [(0, "Unmet"), (5, "Met"), (6, "Unknown"), (9, "Unmet")])
    assert [s.reading.value for s in settled] == ["Unmet", "Met", "Unknown", "Unmet"]
    assert [s.reading.since for s in settled] == [at(0), at(5), at(6), at(9)]
    assert all(s.reading.true_since is None and s.reading.last_true is None for s in settled)
    assert all(s.next_check is None for s in settled)


def test_for_delays_becoming_met_and_names_the_instant() -> None:
    first, second, third = run(condition(for_=60), [(0, "Met"), (59.9, "Met"), (60, "Met")])
    assert (first.reading.value, first.reading.reason, first.next_check) == ("Unmet", "PendingAnew", at(60))
    assert first.reading.message == (
        "true since 2026-11-22T12:00:00Z, counts as met from 2026-11-22T12:01:00Z: it is Met"
    )
    assert (second.reading, second.next_check) == (first.reading, at(60))
    assert (third.reading.value, third.reading.since, third.next_check) == ("Met", at(60), None)


def test_met_is_dated_when_it_was_due_not_when_it_was_seen() -> None:
    assert run(condition(for_=60), [(0, "Met"), (300, "Met")])[-1].reading.since == at(60)


def test_a_break_begins_for_anew() -> None:
    series: list[tuple[float, Verdict]] = [(0, "Met"), (50, "Unmet"), (55, "Met"), (100, "Met"), (115, "Met")]
    assert values(condition(for_=60), series) == ["Unmet", "Unmet", "Unmet", "Unmet", "Met"]
    series = [(0, "Met"), (50, "Unknown"), (55, "Met"), (114, "Met"), (115, "Met")]
    assert values(condition(for_=60), series) == ["Unmet", "Unknown", "Unmet", "Unmet", "Met"]


def test_what_was_met_and_became_unknown_is_met_again_at_once() -> None:
    """A source that is down for a while must not look like an end."""
    met: list[tuple[float, Verdict]] = [(0, "Met"), (60, "Met")]
    again: list[tuple[float, Verdict]] = [(70, "Unknown"), (500, "Unknown"), (501, "Met")]
    assert values(condition(for_=60), [*met, *again]) == ["Unmet", "Met", "Unknown", "Unknown", "Met"]
    denied: list[tuple[float, Verdict]] = [(70, "Unknown"), (80, "Unmet"), (90, "Unknown"), (95, "Met")]
    assert values(condition(for_=60), [*met, *denied])[2:] == ["Unknown", "Unmet", "Unknown", "Unmet"]


def test_a_hold_that_ended_by_a_known_end_is_no_memory_of_having_been_met() -> None:
    series: list[tuple[float, Verdict]] = [(0, "Met"), (60, "Met"), (70, "Unmet"), (100, "Unknown"), (101, "Met")]
    assert values(condition(for_=60, hold_for=30), series) == ["Unmet", "Met", "Met", "Unknown", "Unmet"]
    series[2] = (70, "Unknown")
    assert values(condition(for_=60, hold_for=30), series) == ["Unmet", "Met", "Met", "Unknown", "Met"]


UNREAD = RawReading("Unknown", "NotReadYet", "there is no answer yet", memory="Kept")


def after_restart(c: PolicyCondition, before: list[tuple[float, Verdict]]) -> Reading:
    """What stands in the status once the controller runs again, looked twice and has no answer yet."""
    reading = run(c, before)[-1].reading
    for _ in range(2):
        reading = settle(c, UNREAD, through_status(reading), at(40)).reading
    return reading


def test_a_restart_ends_neither_for_nor_hold() -> None:
    pending = after_restart(condition(for_=60), [(0, "Met")])
    assert (pending.value, pending.reason) == ("Unknown", "NotReadYet")
    assert settle(condition(for_=60), raw("Met"), pending, at(59)).reading.reason == "PendingAnew"
    assert settle(condition(for_=60), raw("Met"), pending, at(60)).reading.value == "Met"
    failed = settle(condition(for_=60), raw("Unknown"), pending, at(45)).reading
    assert settle(condition(for_=60), raw("Met"), failed, at(60)).reading.reason == "PendingAnew"
    met = after_restart(condition(for_=20), [(0, "Met"), (20, "Met")])
    assert met.value == "Unknown"
    assert settle(condition(for_=20), raw("Met"), met, at(41)).reading.value == "Met"
    held = after_restart(condition(hold_for=60), [(0, "Met"), (10, "Unmet")])
    assert (held.value, held.reason) == ("Met", "Held")
    assert settle(condition(hold_for=60), raw("Unmet"), held, at(69)).reading.value == "Met"
    assert settle(condition(hold_for=60), raw("Unmet"), held, at(70)).reading.value == "Unmet"


def test_what_nobody_saw_false_is_told_from_what_was_false() -> None:
    series: list[tuple[float, Verdict]] = [(0, "Met"), (5, "Met"), (10, "Unmet"), (20, "Met"), (25, "Met")]
    reasons = [s.reading.reason for s in run(condition(for_=60), series)]
    assert reasons[:2] == ["PendingAnew"] * 2
    assert reasons[3:] == ["Pending"] * 2


def test_hold_delays_ceasing_to_be_met() -> None:
    settled = run(condition(hold_for=60), [(0, "Met"), (10, "Unmet"), (69, "Unmet"), (70, "Unmet"), (80, "Unmet")])
    assert [s.reading.value for s in settled] == ["Met", "Met", "Met", "Unmet", "Unmet"]
    held = settled[1]
    assert (held.reading.reason, held.next_check, held.reading.since) == ("Held", at(70), at(0))
    assert settled[2].reading == held.reading
    assert (settled[3].reading.since, settled[3].reading.last_true) == (at(70), None)


def test_unknown_does_not_end_a_hold_nor_prolong_it() -> None:
    series: list[tuple[float, Verdict]] = [(0, "Met"), (10, "Unknown"), (40, "Unmet"), (69, "Unknown"), (70, "Unknown")]
    assert values(condition(hold_for=60), series) == ["Met", "Met", "Met", "Met", "Unknown"]


def test_what_comes_back_within_a_hold_was_never_gone() -> None:
    series: list[tuple[float, Verdict]] = [(0, "Met"), (60, "Met"), (70, "Unmet"), (80, "Met"), (200, "Met")]
    assert values(condition(for_=60, hold_for=30), series) == ["Unmet", "Met", "Met", "Met", "Met"]


def test_what_was_never_met_is_not_held() -> None:
    series: list[tuple[float, Verdict]] = [(0, "Met"), (30, "Unmet"), (31, "Unmet")]
    assert values(condition(for_=60, hold_for=600), series) == ["Unmet", "Unmet", "Unmet"]


def test_a_known_start_counts_although_nobody_looked() -> None:
    settled = settle(condition(for_=60), raw("Met", at(-100), exact=True), None, at(0))
    assert (settled.reading.value, settled.reading.since) == ("Met", at(-40))


def test_an_exact_start_is_believed_against_memory() -> None:
    before = settle(condition(for_=60), raw("Met", at(0), exact=True), None, at(1)).reading
    after = settle(condition(for_=60), raw("Met", at(100), exact=True), before, at(110)).reading
    assert (after.value, after.true_since) == ("Unmet", at(100))
    inexact = settle(condition(for_=60), raw("Met", at(100)), before, at(110)).reading
    assert (inexact.value, inexact.true_since) == ("Met", at(0))


def test_a_clock_set_back_is_taken_as_now() -> None:
    pending = settle(condition(for_=60), raw("Met"), None, at(3600)).reading
    again = settle(condition(for_=60), raw("Met"), pending, at(0))
    assert again.next_check == at(60)
    met = settle(condition(hold_for=60), raw("Met"), None, at(3600)).reading
    held = settle(condition(hold_for=60), raw("Unmet"), met, at(3600)).reading
    back = settle(condition(hold_for=60), raw("Unmet"), held, at(0))
    assert back.next_check == at(60)
    assert back.reading.since <= at(0)


_SERIES = st.lists(st.tuples(st.integers(1, 40), st.sampled_from(["Met", "Unmet", "Unknown"])), min_size=1, max_size=40)
_DELAYS = st.integers(0, 100)


def _timed(steps: list[tuple[int, Verdict]]) -> list[tuple[float, Verdict]]:
    now, series = 0, []
    for gap, value in steps:
        now += gap
        series.append((float(now), value))
    return series


@given(_DELAYS, _DELAYS, _SERIES)
def test_met_needs_for_without_a_break_and_ends_only_after_hold(
    for_: int, hold_for: int, steps: list[tuple[int, Verdict]]
) -> None:
    series = _timed(steps)
    settled = run(condition(for_, hold_for), series)
    run_start: float | None = None
    met_before = False
    never_denied = False  # it was met, and nothing known has said otherwise since
    gone_at = 0.0
    for (now, value), got in zip(series, settled, strict=True):
        if value == "Met":
            run_start = now if run_start is None else run_start
            expected = met_before or never_denied or now - run_start >= for_
            never_denied = expected
        else:
            never_denied = never_denied and value == "Unknown"
            gone_at = now if run_start is not None else gone_at
            run_start = None
            expected = met_before and now < gone_at + hold_for
        assert (got.reading.value == "Met") == expected
        assert got.reading.since <= at(now)
        assert got.next_check is None or got.next_check > at(now)
        met_before = expected


@given(st.integers(1, 100), _DELAYS, _SERIES)
def test_truth_that_never_lasts_for_is_never_met(for_: int, hold_for: int, steps: list[tuple[int, Verdict]]) -> None:
    """A series that crosses the threshold and back within `for` moves nothing: no flap."""
    series: list[tuple[float, Verdict]] = []
    true_since: float | None = None
    for now, value in _timed(steps):
        if value == "Met" and true_since is not None and now - true_since >= for_:
            value = "Unmet"
        true_since = None if value != "Met" else now if true_since is None else true_since
        series.append((now, value))
    assert "Met" not in values(condition(for_, hold_for), series)


@given(st.integers(1, 100), st.integers(50, 100), _SERIES)
def test_dips_shorter_than_hold_are_never_seen(for_: int, hold_for: int, steps: list[tuple[int, Verdict]]) -> None:
    series: list[tuple[float, Verdict]] = [(0, "Met"), (for_, "Met")]
    gone_at: float | None = None
    for gap, value in steps:
        now = series[-1][0] + gap
        if value != "Met" and gone_at is not None and now - gone_at >= hold_for:
            value = "Met"
        gone_at = None if value == "Met" else now if gone_at is None else gone_at
        series.append((now, value))
    assert set(values(condition(for_, hold_for), series)[1:]) == {"Met"}


@given(_DELAYS, _DELAYS, _SERIES)
def test_nothing_changes_before_the_next_check_and_something_does_at_it(
    for_: int, hold_for: int, steps: list[tuple[int, Verdict]]
) -> None:
    series = _timed(steps)
    c = condition(for_, hold_for)
    last = run(c, series)[-1]
    now, value = series[-1]
    if last.next_check is None:
        assert settle(c, raw(value), last.reading, at(now + 10_000)).reading == last.reading
    else:
        early = settle(c, raw(value), last.reading, last.next_check - timedelta(milliseconds=1))
        assert early.reading == last.reading
        assert settle(c, raw(value), last.reading, last.next_check).reading.value != last.reading.value


@given(_DELAYS, _DELAYS, _SERIES)
def test_looking_more_often_changes_nothing(for_: int, hold_for: int, steps: list[tuple[int, Verdict]]) -> None:
    series = _timed(steps)
    c = condition(for_, hold_for)
    often: list[tuple[float, Verdict]] = []
    for (now, value), (following, _) in zip(series, [*series[1:], series[-1]], strict=True):
        often += [(now, value)] + [(now + d, value) for d in (0.25, 0.5) if now + d < following]
    thin = {now: s.reading for (now, _), s in zip(series, run(c, series), strict=True)}
    dense = {now: s.reading for (now, _), s in zip(often, run(c, often), strict=True)}
    assert {now: dense[now].value for now in thin} == {now: r.value for now, r in thin.items()}
