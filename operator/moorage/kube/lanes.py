"""Two lanes for work and writes: what others wait for goes before what can wait.

The lane of the present work travels in a context variable, so that a reconcile's writes take its lane with no one
passing it on.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from contextvars import ContextVar
from enum import IntEnum


class Lane(IntEnum):
    """HOT: changed facts and those who depend on them. COLD: everything else, new creations above all."""

    HOT = 0
    COLD = 1


current_lane: ContextVar[Lane] = ContextVar("moorage_lane", default=Lane.COLD)


class WriteSlots:
    """A semaphore of `limit` slots that serves the hot lane first.

    After `share` hot grants in a row one cold waiter is served, so that a busy hot lane starves no one.
    """

    def __init__(self, limit: int = 16, *, share: int = 8) -> None:
        if limit < 1 or share < 1:
            raise ValueError("limit and share must be at least 1")
        self._free = limit
        self._share = share
        self._streak = 0
        self._waiting: dict[Lane, deque[asyncio.Future[None]]] = {Lane.HOT: deque(), Lane.COLD: deque()}

    @property
    def free(self) -> int:
        """Slots that nobody holds."""
        return self._free

    @asynccontextmanager
    async def slot(self, lane: Lane | None = None) -> AsyncIterator[None]:
        """Hold one slot; `lane` defaults to that of the present context."""
        await self._acquire(current_lane.get() if lane is None else lane)
        try:
            yield
        finally:
            self._release()

    async def _acquire(self, lane: Lane) -> None:
        if self._free > 0:
            self._free -= 1
            return
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting[lane].append(future)
        try:
            await future
        except asyncio.CancelledError:
            if future.done() and not future.cancelled():
                self._release()  # the slot was handed over while we were being cancelled
            raise

    def _release(self) -> None:
        waiter = self._next()
        if waiter is None:
            self._free += 1
        else:
            waiter.set_result(None)

    def _next(self) -> asyncio.Future[None] | None:
        hot, cold = self._waiting[Lane.HOT], self._waiting[Lane.COLD]
        for queue in (hot, cold):
            while queue and queue[0].done():
                queue.popleft()
        if hot and (self._streak < self._share or not cold):
            self._streak += 1
            return hot.popleft()
        self._streak = 0
        return cold.popleft() if cold else None
