"""Lanes for work and writes: what others wait for goes before what can wait.

The lane of the present work travels in a context variable, so that a reconcile's writes take its lane with no one
passing it on.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Mapping, Sized
from contextlib import asynccontextmanager
from contextvars import ContextVar
from enum import IntEnum


class Lane(IntEnum):
    """URGENT: values on their way from the server that has them to those that wait for them, and the lease.

    HOT: other changed facts, such as what agents report. COLD: everything else, new creations above all.
    """

    URGENT = 0
    HOT = 1
    COLD = 2


current_lane: ContextVar[Lane] = ContextVar("moorage_lane", default=Lane.COLD)


class Turns:
    """Whose turn it is: the most urgent lane's, but after `share` turns in a row that of the next that has a waiter."""

    def __init__(self, share: int) -> None:
        self._share = share
        self._taken = dict.fromkeys(Lane, 0)

    def next(self, waiting: Mapping[Lane, Sized]) -> Lane | None:
        """The lane to serve now, of those in which somebody waits."""
        chosen: Lane | None = None
        for lane in Lane:
            if waiting[lane]:
                chosen = lane
                if self._taken[lane] < self._share:
                    break
        if chosen is not None:
            self._taken[chosen] += 1
            for lane in Lane:
                if lane < chosen:
                    self._taken[lane] = 0
        return chosen


class WriteSlots:
    """A semaphore of `limit` slots that serves the lanes in their order.

    After `share` grants in a row a waiter of a later lane is served, so that a busy lane starves no one.
    """

    def __init__(self, limit: int = 16, *, share: int = 8) -> None:
        if limit < 1 or share < 1:
            raise ValueError("limit and share must be at least 1")
        self._free = limit
        self._turns = Turns(share)
        self._waiting: dict[Lane, deque[asyncio.Future[None]]] = {lane: deque() for lane in Lane}

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
        for queue in self._waiting.values():
            while queue and queue[0].done():
                queue.popleft()
        lane = self._turns.next(self._waiting)
        return None if lane is None else self._waiting[lane].popleft()
