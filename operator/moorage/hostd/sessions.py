"""Sessions: what a token is exchanged for, where hostd was told to give none of its answers for the token itself.

They are in memory only. After a restart everybody logs in again, as after an expiry.
"""

from __future__ import annotations

import secrets
import time
from collections.abc import Callable
from typing import Final

PREFIX: Final = "session-"


class Sessions:
    """The sessions that are good; each lasts `length` seconds."""

    def __init__(self, length: float, clock: Callable[[], float] = time.monotonic) -> None:
        self.length = length
        self._clock = clock
        self._ends: dict[str, float] = {}

    def begin(self) -> str:
        """A new session."""
        now = self._clock()
        self._ends = {session: end for session, end in self._ends.items() if end > now}
        session = PREFIX + secrets.token_urlsafe(24)
        self._ends[session] = now + self.length
        return session

    def is_good(self, session: str) -> bool:
        """Whether it was begun here and is not over."""
        end = self._ends.get(session)
        return end is not None and self._clock() < end

    def expire(self) -> None:
        """End all of them now."""
        self._ends.clear()
