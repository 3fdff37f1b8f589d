"""A service's request budget: a token bucket in which what changes things goes before what only looks."""

from __future__ import annotations

import asyncio
import heapq
import itertools
from collections.abc import Hashable
from enum import IntEnum
from typing import Final

from moorage.runtime.clock import Clock, SystemClock, Timer

MAX_PENALTY: Final = 900.0
"""Seconds that a service may ask to be left alone at most: it is asked again then, and may say so again."""


class Priority(IntEnum):
    """Who goes first: creates are waited for and deletes end what costs money, while a read can wait."""

    WRITE = 0
    READ = 1


class Budget:
    """`rate` requests per second with bursts of `burst`.

    Waiting requests are served by priority, then in order; after `share` grants to others in a row the oldest of the
    lowest priority that waits is served, so that reads (which confirm what was done) never starve.
    """

    def __init__(self, rate: float, burst: int, *, clock: Clock | None = None, share: int = 8) -> None:
        if rate <= 0 or burst < 1:
            raise ValueError("a budget needs a rate above 0 and a burst of at least 1")
        self._rate, self._burst, self._share = rate, float(burst), share
        self._clock = clock or SystemClock()
        self._tokens = float(burst)
        self._at = self._clock.monotonic()
        self._paused_until = float("-inf")
        self._waiting: list[tuple[Priority, int, asyncio.Future[None]]] = []
        self._count = itertools.count()
        self._timer: Timer | None = None
        self._streak = 0

    def reconfigure(self, rate: float, burst: int) -> None:
        """Take new limits; tokens above the new burst are lost. Raises ValueError as the constructor does."""
        if rate <= 0 or burst < 1:
            raise ValueError("a budget needs a rate above 0 and a burst of at least 1")
        self._refill()
        self._rate, self._burst = rate, float(burst)
        self._tokens = min(self._tokens, self._burst)
        self._serve()

    def penalise(self, retry_after: float) -> None:
        """The service asked to be left alone for `retry_after` seconds: nobody is served until then, and what was
        saved up is lost.
        """
        self._refill()
        self._paused_until = max(self._paused_until, self._clock.monotonic() + min(retry_after, MAX_PENALTY))
        self._tokens = min(self._tokens, 1.0)
        self._serve()

    @property
    def waiting(self) -> int:
        """Requests that wait for a token."""
        return sum(1 for _, _, future in self._waiting if not future.done())

    def available(self) -> float:
        """Tokens at hand now (0 during a penalty)."""
        self._refill()
        return 0.0 if self._clock.monotonic() < self._paused_until else self._tokens

    def try_acquire(self) -> bool:
        """Take a token without waiting, if there is one and nobody waits."""
        if self.waiting or self.available() < 1:
            return False
        self._tokens -= 1
        return True

    async def acquire(self, priority: Priority = Priority.READ) -> None:
        """Wait for a token and take it."""
        if self.try_acquire():
            return
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        heapq.heappush(self._waiting, (priority, next(self._count), future))
        self._serve()
        try:
            await future
        except asyncio.CancelledError:
            if future.done() and not future.cancelled():
                self._tokens += 1  # granted while we were being cancelled
            self._serve()
            raise

    # How

    def _refill(self) -> None:
        now = self._clock.monotonic()
        start = max(self._at, self._paused_until)
        if now > start:
            self._tokens = min(self._burst, self._tokens + (now - start) * self._rate)
        self._at = now

    def _serve(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        while self.available() >= 1:
            future = self._next()
            if future is None:
                return
            self._tokens -= 1
            future.set_result(None)
        if self.waiting:
            now = self._clock.monotonic()
            due = max(now, self._paused_until) + max(0.0, 1 - self._tokens) / self._rate
            # Never exactly at the token's time: rounding could leave it a hair short and the timer at zero.
            self._timer = self._clock.call_at(due + 1e-6, self._serve)

    def _next(self) -> asyncio.Future[None] | None:
        # Those that were cancelled wait for nothing, wherever they stand.
        if len(left := [entry for entry in self._waiting if not entry[2].done()]) < len(self._waiting):
            self._waiting = left
            heapq.heapify(self._waiting)
        if not self._waiting:
            return None
        lowest = max(entry[0] for entry in self._waiting)
        if self._streak >= self._share and lowest != self._waiting[0][0]:
            self._streak = 0
            entry = min(e for e in self._waiting if e[0] == lowest)
            self._waiting.remove(entry)
            heapq.heapify(self._waiting)
            return entry[2]
        priority, _, future = heapq.heappop(self._waiting)
        self._streak = self._streak + 1 if priority != lowest else 0
        return future


class Budgets:
    """The budgets of accounts: HostingServices that lead to the same account share one, as the service counts them
    together. Where they declare different limits, the lowest of them hold.
    """

    def __init__(self, clock: Clock | None = None) -> None:
        self._clock = clock
        self._shared: dict[Hashable, tuple[Budget, dict[str, tuple[float, int]]]] = {}

    def join(self, member: str, account: Hashable, rate: float, burst: int) -> Budget:
        """The budget of `account`, with the limits that `member` declares for it; `member` leaves any other."""
        self.leave(member, stays=account)
        known = self._shared.get(account)
        budget, members = known if known is not None else (Budget(rate, burst, clock=self._clock), {})
        members[member] = (rate, burst)
        self._shared[account] = budget, members
        _limit(budget, members)
        return budget

    def leave(self, member: str, *, stays: Hashable = None) -> None:
        """`member` is on no account any more (or on none but one)."""
        for account, (budget, members) in list(self._shared.items()):
            if account == stays or members.pop(member, None) is None:
                continue
            if members:
                _limit(budget, members)
            else:
                del self._shared[account]


def _limit(budget: Budget, members: dict[str, tuple[float, int]]) -> None:
    budget.reconfigure(min(rate for rate, _ in members.values()), min(burst for _, burst in members.values()))
