"""One timer of the clock below, however many wait, and each is called at its own time."""

from __future__ import annotations

import random
from collections.abc import Callable

from moorage.runtime.clock import ManualClock, Timer
from moorage.runtime.onetimer import OneTimer


class CountingClock(ManualClock):
    """Counts the timers that are set and not over, and those that went off."""

    def __init__(self) -> None:
        super().__init__()
        self.live: set[int] = set()
        self.fired = 0
        self.most = 0

    def call_at(self, when: float, callback: Callable[[], None]) -> Timer:
        number = object()

        def fire() -> None:
            self.live.discard(id(number))
            self.fired += 1
            callback()

        timer = super().call_at(when, fire)
        self.live.add(id(number))
        self.most = max(self.most, len(self.live))
        return _Counted(self, id(number), timer, number)


class _Counted:
    def __init__(self, clock: CountingClock, number: int, timer: Timer, keep: object) -> None:
        self._clock, self._number, self._timer, self._keep = clock, number, timer, keep

    def cancel(self) -> None:
        self._clock.live.discard(self._number)
        self._timer.cancel()


def test_many_share_one_timer_and_each_is_called_at_its_time() -> None:
    clock = CountingClock()
    timers, seen = OneTimer(clock), list[tuple[float, float]]()
    moments = list(range(1, 1001))
    random.Random(1).shuffle(moments)
    for moment in moments:
        timers.call_at(moment, lambda moment=moment: seen.append((moment, clock.monotonic())))  # type: ignore[misc]
    clock.advance(1000)
    assert seen == [(m, m) for m in range(1, 1001)]
    assert (clock.most, clock.fired, clock.live) == (1, 1000, set())


def test_what_is_cancelled_wakes_nobody() -> None:
    clock = CountingClock()
    timers, seen = OneTimer(clock), list[str]()
    first = timers.call_at(1, lambda: seen.append("first"))
    timers.call_at(5, lambda: seen.append("second"))
    first.cancel()
    assert clock.next_timer() == 5
    clock.advance(5)
    assert (seen, clock.fired) == (["second"], 1)
    only = timers.call_at(9, lambda: seen.append("never"))
    only.cancel()
    assert clock.next_timer() is None


def test_a_call_may_wait_again_and_one_that_fails_takes_nobody_with_it() -> None:
    clock = CountingClock()
    timers, seen = OneTimer(clock), list[float]()

    def again() -> None:
        seen.append(clock.monotonic())
        if len(seen) < 3:
            timers.call_at(clock.monotonic() + 2, again)

    timers.call_at(1, again)
    clock.advance(10)
    assert seen == [1, 3, 5]

    def fail() -> None:
        raise RuntimeError("boom")

    timers.call_at(11, fail)
    timers.call_at(12, again)
    try:
        clock.advance(1)
    except RuntimeError:
        seen.append(-1)
    clock.advance(1)
    assert seen[3:] == [-1, 12]
