"""One timer for many who wait: whatever they are, only the earliest moment of all is set with the event loop."""

from __future__ import annotations

import heapq
import itertools
from collections.abc import Callable
from datetime import datetime

from moorage.runtime.clock import Clock, Timer


class _Call:
    __slots__ = ("_changed", "callback")

    def __init__(self, callback: Callable[[], None], changed: Callable[[], None]) -> None:
        self.callback: Callable[[], None] | None = callback
        self._changed = changed

    def cancel(self) -> None:
        self.callback = None
        self._changed()


class OneTimer:
    """A `Clock` whose `call_at` shares one timer of the clock below it."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._heap: list[tuple[float, int, _Call]] = []
        self._count = itertools.count()
        self._timer: tuple[float, Timer] | None = None
        self._firing = False

    def now(self) -> datetime:
        """The time of day of the clock below."""
        return self._clock.now()

    def monotonic(self) -> float:
        """The seconds of the clock below."""
        return self._clock.monotonic()

    async def sleep(self, seconds: float) -> None:
        """Wait, by a timer of one's own."""
        await self._clock.sleep(seconds)

    def call_at(self, when: float, callback: Callable[[], None]) -> Timer:
        """See `Clock.call_at`."""
        call = _Call(callback, self._set)
        heapq.heappush(self._heap, (when, next(self._count), call))
        self._set()
        return call

    def _set(self) -> None:
        if self._firing:
            return  # once, when all that is due was called
        while self._heap and self._heap[0][2].callback is None:
            heapq.heappop(self._heap)
        due = self._heap[0][0] if self._heap else None
        if self._timer is not None:
            if self._timer[0] == due:
                return
            self._timer[1].cancel()
        self._timer = None if due is None else (due, self._clock.call_at(due, self._fire))

    def _fire(self) -> None:
        self._timer = None
        self._firing = True
        try:
            now = self._clock.monotonic()
            while self._heap and self._heap[0][0] <= now:
                call = heapq.heappop(self._heap)[2]
                callback, call.callback = call.callback, None
                if callback is not None:
                    callback()
        finally:
            self._firing = False
            self._set()
