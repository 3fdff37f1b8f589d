"""The keyed work queue, with the semantics of client-go's.

A key is worked on by one worker at a time, and however often it is added meanwhile, it is worked on once more.

Beyond client-go there are lanes: what others wait for (URGENT, then HOT) goes before all else (COLD), within bounds.
"""

from __future__ import annotations

import asyncio
import heapq
import itertools
import random
from collections import OrderedDict, deque
from collections.abc import Hashable
from dataclasses import dataclass
from typing import Generic, Protocol, TypeVar

from moorage.kube.backoff import backoff_delay
from moorage.kube.lanes import Lane, Turns
from moorage.runtime.clock import Clock, SystemClock, Timer

K = TypeVar("K", bound=Hashable)


class QueueClosed(Exception):
    """The queue takes and gives nothing any more."""


class QueueMetrics(Protocol):
    """What a queue reports; `moorage.runtime.metrics.Metrics.queue` makes one."""

    def depth(self, keys: int) -> None:
        """Keys that wait for a worker."""

    def added(self) -> None:
        """A key that was not waiting is waiting now."""

    def retried(self) -> None:
        """A key was added with a back-off."""

    def started(self, seconds: float) -> None:
        """A worker took a key that had waited so long."""

    def finished(self, seconds: float) -> None:
        """A worker is done with a key after so long."""


class _NoMetrics:
    def depth(self, keys: int) -> None:
        pass

    def added(self) -> None:
        pass

    def retried(self) -> None:
        pass

    def started(self, seconds: float) -> None:
        pass

    def finished(self, seconds: float) -> None:
        pass


@dataclass(frozen=True, slots=True)
class Item(Generic[K]):
    """A key to work on and the lane that it came by."""

    key: K
    lane: Lane


class WorkQueue(Generic[K]):
    """See the module. All methods are for the event loop's thread.

    `share`: after so many keys of a lane in a row one of a later lane is served. `base` and `limit` (seconds) bound the
    back-off, which doubles with each failure of a key and is multiplied by a random factor between 0.5 and 1.
    """

    def __init__(
        self,
        name: str,
        *,
        clock: Clock | None = None,
        rng: random.Random | None = None,
        metrics: QueueMetrics | None = None,
        share: int = 8,
        base: float = 0.05,
        limit: float = 120.0,
    ) -> None:
        self.name = name
        self._clock = clock or SystemClock()
        self._rng = rng or random.Random()  # noqa: S311 - jitter, not security
        self._metrics: QueueMetrics = metrics or _NoMetrics()
        self._turns, self._base, self._limit = Turns(share), base, limit
        self._waiting: dict[Lane, OrderedDict[K, float]] = {lane: OrderedDict() for lane in Lane}
        self._working: dict[K, float] = {}
        self._again: dict[K, Lane] = {}
        self._failures: dict[K, int] = {}
        self._later: dict[K, tuple[float, Lane]] = {}
        self._heap: list[tuple[float, int, K]] = []
        self._count = itertools.count()
        self._timer: tuple[float, Timer] | None = None
        self._getters: deque[asyncio.Future[None]] = deque()
        self._closed = False

    # Adding

    def add(self, key: K, lane: Lane = Lane.COLD) -> None:
        """Have `key` worked on. If it waits already, it keeps its place, or moves to an earlier lane; if it is being
        worked on, it waits again as soon as that is done. Ignored once the queue is closed.
        """
        if self._closed:
            return
        if key in self._working:
            self._again[key] = min(lane, self._again.get(key, lane))
            return
        present = next((known for known in Lane if key in self._waiting[known]), None)
        if present is None:
            self._enqueue(key, lane)
        elif lane < present:
            self._waiting[lane][key] = self._waiting[present].pop(key)

    def add_after(self, key: K, seconds: float, lane: Lane = Lane.COLD) -> None:
        """Add `key` after `seconds`. Of several only the earliest counts: whoever is worked on decides anew."""
        if self._closed:
            return
        if seconds <= 0:
            self.add(key, lane)
            return
        when = self._clock.monotonic() + seconds
        known = self._later.get(key)
        if known is not None and known[0] <= when:
            self._later[key] = (known[0], min(lane, known[1]))
            return
        self._later[key] = (when, lane)
        heapq.heappush(self._heap, (when, next(self._count), key))
        self._set_timer()

    def add_rate_limited(self, key: K, lane: Lane = Lane.COLD, *, at_least: float = 0.0) -> float:
        """Add `key` after its back-off, which grows with each call until `forget`; gives the seconds."""
        failures = self._failures.get(key, 0) + 1
        self._failures[key] = failures
        delay = max(at_least, backoff_delay(self._base, self._limit, failures) * self._rng.uniform(0.5, 1.0))
        self._metrics.retried()
        self.add_after(key, delay, lane)
        return delay

    def forget(self, key: K) -> None:
        """`key` went well: its next failure begins with the shortest back-off."""
        self._failures.pop(key, None)

    def failures(self, key: K) -> int:
        """How often in a row `key` was added with a back-off."""
        return self._failures.get(key, 0)

    # Working

    async def get(self) -> Item[K]:
        """The next key, held until `done`. Raises QueueClosed after `close`, also while waiting."""
        while True:
            if self._closed:
                raise QueueClosed(self.name)
            item = self.try_get()
            if item is not None:
                return item
            getter: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            self._getters.append(getter)
            try:
                await getter
            except asyncio.CancelledError:
                if getter.done() and not getter.cancelled():
                    self._wake()  # the key that we were woken for is for somebody else
                raise

    def try_get(self) -> Item[K] | None:
        """The next key, held until `done`, or None where none waits."""
        lane = self._turns.next(self._waiting)
        if lane is None:
            return None
        key, since = self._waiting[lane].popitem(last=False)
        now = self._clock.monotonic()
        self._working[key] = now
        self._metrics.started(now - since)
        self._metrics.depth(len(self))
        return Item(key, lane)

    def done(self, key: K) -> None:
        """Give `key` back. If it was added meanwhile, it waits again, at the tail of its lane."""
        started = self._working.pop(key)
        self._metrics.finished(self._clock.monotonic() - started)
        lane = self._again.pop(key, None)
        if lane is not None and not self._closed:
            self._enqueue(key, lane)

    def added_meanwhile(self, key: K) -> bool:
        """True where `key`, which is being worked on, has been added again."""
        return key in self._again

    def close(self) -> None:
        """Give nothing out any more; waiting keys are dropped (whoever starts next finds them again)."""
        self._closed = True
        for lane in self._waiting.values():
            lane.clear()
        self._later.clear()
        self._heap.clear()
        self._again.clear()
        if self._timer is not None:
            self._timer[1].cancel()
            self._timer = None
        while self._getters:
            self._wake()
        self._metrics.depth(0)

    # Looking

    def __len__(self) -> int:
        """Keys that wait for a worker, without those of `add_after`."""
        return sum(map(len, self._waiting.values()))

    @property
    def closed(self) -> bool:
        """True after `close`."""
        return self._closed

    @property
    def delayed(self) -> int:
        """Keys that are to be added later."""
        return len(self._later)

    @property
    def working(self) -> int:
        """Keys that are being worked on."""
        return len(self._working)

    @property
    def idle(self) -> bool:
        """True when nothing waits and nothing is worked on; delayed keys do not count."""
        return not len(self) and not self._working

    def unfinished_seconds(self) -> float:
        """The time that all keys being worked on have taken so far, summed."""
        now = self._clock.monotonic()
        return sum(now - started for started in self._working.values())

    def longest_running_seconds(self) -> float:
        """The time that the oldest of the keys being worked on has taken so far."""
        now = self._clock.monotonic()
        return max((now - started for started in self._working.values()), default=0.0)

    # How

    def _enqueue(self, key: K, lane: Lane) -> None:
        self._waiting[lane][key] = self._clock.monotonic()
        self._metrics.added()
        self._metrics.depth(len(self))
        self._wake()

    def _wake(self) -> None:
        while self._getters:
            getter = self._getters.popleft()
            if not getter.done():
                getter.set_result(None)
                return

    def _set_timer(self) -> None:
        """Have the one timer go off at the earliest delayed key that still counts."""
        while self._heap and self._later.get(self._heap[0][2], (None,))[0] != self._heap[0][0]:
            heapq.heappop(self._heap)
        due = self._heap[0][0] if self._heap else None
        if self._timer is not None:
            if due == self._timer[0]:
                return
            self._timer[1].cancel()
        self._timer = None if due is None else (due, self._clock.call_at(due, self._fire))

    def _fire(self) -> None:
        self._timer = None
        now = self._clock.monotonic()
        while self._heap and self._heap[0][0] <= now:
            when, _, key = heapq.heappop(self._heap)
            known = self._later.get(key)
            if known is not None and known[0] == when:
                del self._later[key]
                self.add(key, known[1])
        self._set_timer()
