"""Workers: take keys from a queue, reconcile them, and turn what happens into the queue's next step."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Hashable
from contextlib import suppress
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
        self._tasks: list[asyncio.Task[None]] = []

    @property
    def name(self) -> str:
        """The queue's name."""
        return self._queue.name

    def start(self) -> None:
        """Start the workers, in the running event loop."""
        self._tasks = [
            asyncio.create_task(self._work(), name=f"{self._queue.name}-{number}") for number in range(self._count)
        ]

    async def stop(self, deadline: float) -> bool:
        """Close the queue and let the present turns end; after `deadline` seconds they are cancelled.

        True where all ended by themselves.
        """
        self._queue.close()
        if not self._tasks:
            return True
        _, late = await asyncio.wait(self._tasks, timeout=deadline)
        for task in late:
            task.cancel()
        if late:
            log.warning("%d workers of %s did not end in %s s", len(late), self._queue.name, deadline)
            await asyncio.wait(late)
        return not late

    async def _work(self) -> None:
        with suppress(QueueClosed):
            while True:
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
