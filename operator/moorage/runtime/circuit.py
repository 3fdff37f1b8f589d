"""A circuit breaker: after repeated failures a service is left alone for a while, then tried by a single call."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

THRESHOLD = 5
PAUSE = 2.0
PAUSE_MAX = 60.0


@dataclass(slots=True, eq=False)
class Circuit:
    """Seconds are those of a monotonic clock that the caller reads."""

    failures: int = 0
    opened: int = 0
    until: float = 0.0
    state: Literal["Closed", "Open", "HalfOpen"] = "Closed"

    def failed(self, now: float) -> None:
        """A call got no usable answer."""
        self.failures += 1
        if self.state == "HalfOpen" or self.failures >= THRESHOLD:
            self.until = now + min(PAUSE * 2**self.opened, PAUSE_MAX)
            self.opened = min(self.opened + 1, 10)
            self.state = "Open"

    def succeeded(self) -> None:
        """The service answered, whatever it said."""
        self.failures, self.opened, self.state = 0, 0, "Closed"

    def abandoned(self, now: float) -> None:
        """A call ended without telling anything about the service (it was cancelled)."""
        if self.state == "HalfOpen":
            self.state, self.until = "Open", now

    def is_open(self, now: float) -> bool:
        """Whether calls are refused now."""
        return self.state == "Open" and now < self.until

    def refuses(self, now: float) -> bool:
        """Whether a call would be refused now: the pause lasts, or another call is on trial."""
        return self.state == "HalfOpen" or self.is_open(now)

    def may_try(self, now: float) -> bool:
        """Whether a call may go out; the first one after the pause goes alone."""
        if self.state == "Closed":
            return True
        if self.state == "Open" and now >= self.until:
            self.state = "HalfOpen"
            return True
        return False

    def left(self, now: float) -> float:
        """Seconds until the next try."""
        return max(0.0, self.until - now)
