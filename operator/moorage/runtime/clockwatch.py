"""Notices that the time of day was set, or went on while this machine slept.

Who waits for a moment of the day waits by a clock that only counts seconds of being awake: it would be told too late.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Final

from moorage.runtime.clock import Clock, Timer

log = logging.getLogger(__name__)

EVERY: Final = 60.0
"""Seconds between two looks."""
TOLERATED: Final = 1.0
"""Seconds that both clocks may move against each other between two looks: NTP turns a clock by less than a tenth."""


class ClockWatch:
    """Calls ``moved`` where the time of day has moved against the seconds that passed, within a minute."""

    def __init__(self, clock: Clock, moved: Callable[[], None]) -> None:
        self._clock, self._moved = clock, moved
        self._difference = self._now()
        self._timer: Timer | None = None

    def start(self) -> None:
        """Look from now on."""
        self._timer = self._clock.call_at(self._clock.monotonic() + EVERY, self._look)

    def stop(self) -> None:
        """Look no more."""
        if self._timer is not None:
            self._timer.cancel()

    def _now(self) -> float:
        return self._clock.now().timestamp() - self._clock.monotonic()

    def _look(self) -> None:
        before, self._difference = self._difference, self._now()
        self.start()
        by = self._difference - before
        if abs(by) > TOLERATED:
            log.warning("the time of day moved by %.0f s: all that waits for a moment is looked at", by)
            self._moved()
