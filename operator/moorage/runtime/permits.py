"""Leave to create servers: so many at a time, the others in the order in which they asked, and nobody waits in a task.

A creation begins with writes to the API server, and its attempt's time runs from then on: it must not begin long before
its call can go out. A few may be ahead: while they are written down, no place of the service's own stands empty.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Hashable
from typing import Final, Generic, TypeVar

AHEAD: Final = 4
"""One creation for so many that may be under way is prepared while it waits for the call of another to end."""
BRISK: Final = 0.25
"""The most of its time that a call may take for anything to be prepared ahead: what waits loses as much of its own."""
K = TypeVar("K", bound=Hashable)


class Permits(Generic[K]):
    """At most `count` keys hold a permit, and a few more (see `AHEAD`). `on_free` is told the keys whose turn it is:
    they ask again."""

    def __init__(self, count: int, on_free: Callable[[K], None]) -> None:
        self.count = count
        self._took: deque[float] = deque(maxlen=count)
        self._on_free = on_free
        self._held: set[K] = set()
        self._waiting: dict[K, float] = {}

    @property
    def _limit(self) -> int:
        brisk = bool(self._took) and max(self._took) <= BRISK
        return self.count + self.count // AHEAD if brisk else self.count

    def took(self, part: float) -> None:
        """A call took that part of the time that it may take."""
        self._took.append(part)

    def take(self, key: K, now: float) -> bool:
        """Whether `key` has a permit now; if not, it stands in line since `now` (seconds)."""
        if key in self._held:
            return True
        first = key in self._waiting and key in self._next()
        if len(self._held) < self._limit and (first or len(self._held) + len(self._waiting) < self._limit):
            self._held.add(key)
            self._waiting.pop(key, None)
            return True
        self._waiting.setdefault(key, now)
        return False

    def since(self, key: K) -> float | None:
        """Since when `key` stands in line; None where it does not."""
        return self._waiting.get(key)

    def give_back(self, key: K) -> None:
        """`key` needs no permit (any more) and does not stand in line: those that are next are told. Repetition:
        harmless."""
        held, waited = key in self._held, key in self._waiting
        self._held.discard(key)
        self._waiting.pop(key, None)
        if held or waited:
            for other in self._next():
                self._on_free(other)

    def _next(self) -> list[K]:
        free = self._limit - len(self._held)
        return [key for key, _ in zip(self._waiting, range(free), strict=False)]
