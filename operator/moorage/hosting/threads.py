"""Blocking SDKs behind an asynchronous contract: a bounded pool of threads for each backend."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any, TypeVar

from moorage.hosting.errors import TimedOut, Unavailable

T = TypeVar("T")


class Threads:
    """Runs blocking calls of one service, at most `size` at a time; further ones wait.

    A thread cannot be killed: the SDK itself has to be told time-outs below the one given here, so that a call that
    was given up ends soon and has no effect after its deadline. What waits and was not begun when its time is up, or
    when its caller is cancelled, is never begun.
    """

    def __init__(self, name: str, size: int = 16) -> None:
        self._pool = ThreadPoolExecutor(size, thread_name_prefix=name)
        self._closed = False

    async def run(self, seconds: float, what: str, call: Callable[..., T], *args: Any, **kwargs: Any) -> T:
        """The call's answer or its exception. Raises TimedOut after `seconds`, the wait for a thread included, and
        Unavailable once closed."""
        if self._closed:
            raise Unavailable("the backend is closed")
        given_up = threading.Event()
        future = asyncio.get_running_loop().run_in_executor(
            self._pool, _unless(given_up, partial(call, *args, **kwargs))
        )
        try:
            async with asyncio.timeout(seconds):
                # Shielded: a cancelled executor future would hide whether the call was begun.
                return await asyncio.shield(future)
        except TimeoutError:
            given_up.set()
            future.add_done_callback(_forget)
            raise TimedOut(f"{what}: no answer within {seconds:g} s") from None
        except asyncio.CancelledError:
            given_up.set()
            future.add_done_callback(_forget)
            raise

    def close(self) -> None:
        """Begin no more calls; those under way end by their own time-outs. Repetition: harmless."""
        self._closed = True
        self._pool.shutdown(wait=False, cancel_futures=True)


def _unless(given_up: threading.Event, call: Callable[[], T]) -> Callable[[], T]:
    def begin() -> T:
        if given_up.is_set():
            raise Unavailable("given up before it began")
        return call()

    return begin


def _forget(future: asyncio.Future[Any]) -> None:
    if not future.cancelled():
        future.exception()
