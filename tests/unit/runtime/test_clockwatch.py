"""A clock that is set, or a machine that slept, is noticed within a minute; a clock that goes right is no news."""

from __future__ import annotations

from datetime import timedelta

import pytest

from moorage.runtime.clock import ManualClock
from moorage.runtime.clockwatch import EVERY, ClockWatch


@pytest.mark.parametrize("jump", [timedelta(hours=8), timedelta(seconds=2), -timedelta(minutes=5)])
def test_a_clock_that_moved_is_told_of_once(jump: timedelta) -> None:
    clock, told = ManualClock(), list[float]()
    watch = ClockWatch(clock, lambda: told.append(clock.monotonic()))
    watch.start()
    clock.advance(10 * EVERY)
    assert told == []
    clock.jump(clock.now() + jump)
    clock.advance(10 * EVERY)
    assert told == [11 * EVERY]
    watch.stop()
    assert clock.next_timer() is None


def test_a_clock_that_is_turned_slowly_is_no_news() -> None:
    clock, told = ManualClock(), list[float]()
    ClockWatch(clock, lambda: told.append(0.0)).start()
    for _ in range(100):
        clock.jump(clock.now() + timedelta(milliseconds=30))
        clock.advance(EVERY)
    assert told == []
