"""Many questions about single servers, asked in one call where the service can answer so."""

from __future__ import annotations

import asyncio
import contextlib
import copy
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Final, Generic, TypeVar

from moorage.hosting.errors import HostingError, Invalid, Unavailable, Unknown
from moorage.runtime.clock import Clock
from moorage.runtime.workers import outlive_turn

R = TypeVar("R")

FIRST: Final = 0.005
WINDOW: Final = 0.04
RECENT: Final = 1.0
"""Seconds in which questions are collected before a call: a single one now and then should not wait for company, while
soon after another call more are likely to come. While a call is under way the next ones are collected, too."""


class Batcher(Generic[R]):
    """Collects ids and makes calls of at most `size` of them, one at a time.

    Each caller has its own answer or error, and may be cancelled without the others noticing. A call that fails fails
    for each of its callers in the same way; only where the service refuses it as it stands (one id may be to blame) are
    its halves tried by themselves.
    """

    def __init__(
        self,
        call: Callable[[Sequence[str]], Awaitable[Mapping[str, R]]],
        size: int,
        clock: Clock,
    ) -> None:
        self._call = call
        self._size = max(1, size)
        self._clock = clock
        self._ended = float("-inf")
        self._waiting: dict[str, list[asyncio.Future[R]]] = {}
        self._task: asyncio.Task[None] | None = None

    async def ask(self, id_: str) -> R:
        """The answer about one id. Raises what the call raised, and Unknown where it left this id out."""
        future: asyncio.Future[R] = asyncio.get_running_loop().create_future()
        self._waiting.setdefault(id_, []).append(future)
        if self._task is None:
            self._task = asyncio.get_running_loop().create_task(self._run(), name="batch")
        return await future

    async def close(self) -> None:
        """Make no more calls; whoever waits gets Unavailable."""
        if self._task is not None:
            self._task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._task
        waiting, self._waiting = self._waiting, {}
        _fail(waiting, Unavailable("the connection is closed"))

    async def _run(self) -> None:
        outlive_turn()
        try:
            while self._waiting:
                if len(self._waiting) < self._size:
                    recent = self._clock.monotonic() - self._ended < RECENT
                    await self._clock.sleep(WINDOW if recent else FIRST)
                ids = list(self._waiting)[: self._size]
                taken = {id_: self._waiting.pop(id_) for id_ in ids}
                try:
                    # Whoever was cancelled meanwhile needs no answer.
                    await self._ask({id_: f for id_, f in taken.items() if not all(one.done() for one in f)})
                finally:
                    self._ended = self._clock.monotonic()
                    # Those that were not reached: this was cancelled, at the end of the connection.
                    _fail(taken, Unavailable("the connection was closed during the call"))
        finally:
            self._task = None

    async def _ask(self, batch: dict[str, list[asyncio.Future[R]]]) -> None:
        if not batch:
            return
        try:
            answers = await self._call(tuple(batch))
        except (Invalid, Unknown) as error:
            if len(batch) == 1:
                _fail(batch, error)
                return
            half = len(batch) // 2
            ids = list(batch)
            await self._ask({id_: batch[id_] for id_ in ids[:half]})
            await self._ask({id_: batch[id_] for id_ in ids[half:]})
        except Exception as error:  # noqa: BLE001 - handed on to each caller
            # Also what is no answer of the service's, such as a lease that is not held.
            _fail(batch, error)
        else:
            _answer(batch, answers)


def _answer(batch: Mapping[str, list[asyncio.Future[R]]], answers: Mapping[str, R]) -> None:
    for id_, futures in batch.items():
        if id_ not in answers:
            _fail({id_: futures}, Unknown(f"the answer about several servers leaves out {id_}"))
            continue
        for future in futures:
            if not future.done():
                future.set_result(answers[id_])


def _fail(batch: Mapping[str, list[asyncio.Future[R]]], error: Exception) -> None:
    for futures in batch.values():
        for future in futures:
            if not future.done():
                # One of its own for each: a traceback grows with each task that an exception is raised in.
                future.set_exception(copy.copy(error) if isinstance(error, HostingError) else error)
