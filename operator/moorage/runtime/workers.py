"""Workers: take keys from a queue, reconcile them, and turn what happens into the queue's next step."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Hashable, Iterator
from contextlib import contextmanager, suppress
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Final, Generic, Protocol, TypeVar

from moorage.hosting.errors import HostingError
from moorage.kube.errors import Conflict, KubeError, NotLeader
from moorage.kube.lanes import current_lane
from moorage.runtime.clock import Clock, SystemClock
from moorage.runtime.logs import bound, new_reconcile_id
from moorage.runtime.queue import Item, QueueClosed, WorkQueue

log = logging.getLogger(__name__)

K = TypeVar("K", bound=Hashable)


@dataclass(frozen=True, slots=True)
class Result:
    """What a reconcile asks for: run again in the same turn (`again`), and/or after so many seconds."""

    again: bool = False
    after: float | None = None


DONE: Final = Result()
AGAIN: Final = Result(again=True)


class Retry(Exception):
    """Raised by a reconcile that wants to be retried with back-off, for a reason that needs no traceback.

    `at_least` is a lower bound in seconds, as from a Retry-After.
    """

    def __init__(self, reason: str, *, at_least: float = 0.0) -> None:
        super().__init__(reason)
        self.at_least = at_least


Reconcile = Callable[[K], Awaitable[Result]]


class _Place:
    """A worker's place among the `count` that work at a time."""

    def __init__(self, leave: Callable[[], bool], come_back: Callable[[], None]) -> None:
        self.leave, self.come_back = leave, come_back
        self.away = 0


_place: ContextVar[_Place | None] = ContextVar("place", default=None)


@contextmanager
def aside() -> Iterator[None]:
    """For the part of a turn that only waits for somebody outside: meanwhile its place is another object's.

    Without it a service that hangs would take one worker after the other, until nothing else is looked at. Outside of
    a turn this does nothing.
    """
    place = _place.get()
    left = place is not None and place.away == 0 and place.leave()
    if place is not None and left:
        place.away += 1
    try:
        yield
    finally:
        if place is not None and left:
            place.away -= 1
            place.come_back()


def outlive_turn() -> None:
    """For a task that was made in a turn and goes on after it: what it waits for is no part of any turn."""
    _place.set(None)


class ReconcileMetrics(Protocol):
    """What workers report; `moorage.runtime.metrics.Metrics.controller` makes one."""

    def started(self) -> None:
        """A worker began a turn."""

    def finished(self, result: str, seconds: float) -> None:
        """A worker ended a turn: success, requeue, requeue_after or error."""


class Workers(Generic[K]):
    """`count` workers of one queue.

    A reconcile that returns `AGAIN` is run on in the same turn, at most `turns` times, so that with many objects they
    finish one after another instead of all at the end.
    """

    def __init__(
        self,
        queue: WorkQueue[K],
        reconcile: Reconcile[K],
        *,
        count: int = 16,
        turns: int = 8,
        clock: Clock | None = None,
        metrics: ReconcileMetrics | None = None,
        describe: Callable[[K], str] = str,
    ) -> None:
        self._queue = queue
        self._reconcile = reconcile
        self._count, self._turns = count, turns
        self._clock = clock or SystemClock()
        self._metrics = metrics
        self._describe = describe
        self._tasks: set[asyncio.Task[None]] = set()
        self._surplus = 0
        self._number = 0

    @property
    def name(self) -> str:
        """The queue's name."""
        return self._queue.name

    def start(self) -> None:
        """Start the workers, in the running event loop."""
        for _ in range(self._count):
            self._hire()

    async def stop(self, deadline: float) -> bool:
        """Close the queue and let the present turns end; after `deadline` seconds they are cancelled.

        True where all ended by themselves.
        """
        self._queue.close()
        if not self._tasks:
            return True
        _, late = await asyncio.wait(set(self._tasks), timeout=deadline)
        for task in late:
            task.cancel()
        if late:
            log.warning("%d workers of %s did not end in %s s", len(late), self._queue.name, deadline)
            await asyncio.wait(late)
        return not late

    def _hire(self) -> None:
        task = asyncio.create_task(self._work(), name=f"{self._queue.name}-{self._number}")
        self._number += 1
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def _leave(self) -> bool:
        if self._queue.closed:
            return False
        self._hire()
        return True

    def _come_back(self) -> None:
        """One worker more than there shall be: whoever ends a turn next goes."""
        self._surplus += 1

    async def _work(self) -> None:
        _place.set(_Place(self._leave, self._come_back))
        with suppress(QueueClosed):
            while True:
                if self._surplus:
                    self._surplus -= 1
                    return
                item = await self._queue.get()
                try:
                    await self._turn(item)
                finally:
                    self._queue.done(item.key)

    async def _turn(self, item: Item[K]) -> None:
        key = item.key
        current_lane.set(item.lane)
        started = self._clock.monotonic()
        if self._metrics is not None:
            self._metrics.started()
        outcome = "error"
        try:
            with bound(controller=self._queue.name, object=self._describe(key), reconcileID=new_reconcile_id()):
                outcome = await self._guarded(item)
        finally:
            if self._metrics is not None:
                self._metrics.finished(outcome, self._clock.monotonic() - started)

    async def _guarded(self, item: Item[K]) -> str:
        key, queue = item.key, self._queue
        try:
            result = await self._run_on(key)
        except Conflict as error:
            # Ordinary: somebody wrote between our read and our write. Read again, decide again.
            log.debug("conflict: %s", error)
            queue.add_rate_limited(key, item.lane)
            return "requeue"
        except NotLeader as error:
            log.debug("not acting: %s", error)
            queue.add_rate_limited(key, item.lane, at_least=1.0)
            return "requeue"
        except Retry as retry:
            log.debug("retry: %s", retry)
            queue.add_rate_limited(key, item.lane, at_least=retry.at_least)
            return "requeue"
        except (KubeError, HostingError) as error:
            asked: float | None = getattr(error, "retry_after", None)
            delay = queue.add_rate_limited(key, item.lane, at_least=asked or 0.0)
            log.warning("retry in %.1f s: %s", delay, error)
            return "error"
        except Exception:
            # Anything else is a fault of ours: it must neither end the worker nor go unseen.
            delay = queue.add_rate_limited(key, item.lane)
            log.exception("retry in %.1f s", delay)
            return "error"
        queue.forget(key)
        if result.after is not None:
            queue.add_after(key, result.after)
        if result.again:
            queue.add(key, item.lane)
            return "requeue"
        return "success" if result.after is None else "requeue_after"

    async def _run_on(self, key: K) -> Result:
        result = await self._reconcile(key)
        for _ in range(self._turns - 1):
            if not result.again or self._queue.closed:
                break
            result = await self._reconcile(key)
        return result
