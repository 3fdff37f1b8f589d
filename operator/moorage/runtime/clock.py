"""Time as something that is passed in, so that tests can own it."""

from __future__ import annotations

import asyncio
import heapq
import itertools
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Protocol


class Timer(Protocol):
    """A call that is due later."""

    def cancel(self) -> None:
        """Do not call."""


class Clock(Protocol):
    """`now()` for what people read, `monotonic()` for durations and deadlines (seconds, no meaning of its own)."""

    def now(self) -> datetime:
        """The time of day, UTC; may jump."""

    def monotonic(self) -> float:
        """Seconds that only grow."""

    def call_at(self, when: float, callback: Callable[[], None]) -> Timer:
        """Call `callback` in the event loop once `monotonic()` has reached `when`."""

    async def sleep(self, seconds: float) -> None:
        """Wait."""


class SystemClock:
    """The clock of the running event loop."""

    def now(self) -> datetime:
        """The system's time of day."""
        return datetime.now(UTC)

    def monotonic(self) -> float:
        """The clock that asyncio's event loop schedules by."""
        return time.monotonic()

    def call_at(self, when: float, callback: Callable[[], None]) -> Timer:
        """Needs a running event loop."""
        loop = asyncio.get_running_loop()
        return loop.call_later(max(0.0, when - time.monotonic()), callback)

    async def sleep(self, seconds: float) -> None:
        """`asyncio.sleep`."""
        await asyncio.sleep(seconds)


class _ManualTimer:
    def __init__(self, callback: Callable[[], None]) -> None:
        self.callback: Callable[[], None] | None = callback

    def cancel(self) -> None:
        self.callback = None


class ManualClock:
    """A clock that stands still until `advance`: for tests and simulations."""

    def __init__(self, start: datetime = datetime(2026, 1, 1, tzinfo=UTC)) -> None:
        self._now = start
        self._monotonic = 0.0
        self._timers: list[tuple[float, int, _ManualTimer]] = []
        self._count = itertools.count()

    def now(self) -> datetime:
        """The time of day set so far."""
        return self._now

    def monotonic(self) -> float:
        """The seconds advanced so far."""
        return self._monotonic

    def call_at(self, when: float, callback: Callable[[], None]) -> Timer:
        """`callback` is called by the `advance` that reaches `when`."""
        timer = _ManualTimer(callback)
        heapq.heappush(self._timers, (when, next(self._count), timer))
        return timer

    async def sleep(self, seconds: float) -> None:
        """Wait for the `advance` that reaches the end."""
        done = asyncio.Event()
        self.call_at(self._monotonic + seconds, done.set)
        await done.wait()

    def advance(self, seconds: float) -> None:
        """Let time pass: timers due meanwhile are called in order, each at its own time."""
        end = self._monotonic + seconds
        while self._timers and self._timers[0][0] <= end:
            when, _, timer = heapq.heappop(self._timers)
            self._pass(max(0.0, when - self._monotonic))
            callback, timer.callback = timer.callback, None
            if callback is not None:
                callback()
        self._pass(end - self._monotonic)

    def jump(self, now: datetime) -> None:
        """Set the time of day, as an administrator or NTP would; `monotonic` does not notice."""
        self._now = now

    def next_timer(self) -> float | None:
        """Seconds until the next timer is due, or None."""
        while self._timers and self._timers[0][2].callback is None:
            heapq.heappop(self._timers)
        return self._timers[0][0] - self._monotonic if self._timers else None

    def _pass(self, seconds: float) -> None:
        self._monotonic += seconds
        self._now += timedelta(seconds=seconds)
