"""Blocking SDKs behind an asynchronous contract: a bounded pool of threads for each backend."""

from __future__ import annotations

import asyncio
import threading
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future
from functools import partial
from typing import Any, TypeVar

from moorage.hosting.errors import TimedOut, Unavailable

T = TypeVar("T")


class Threads:
    """Runs blocking calls of one service, at most `size` at a time; further ones wait.

    A thread cannot be killed: the SDK itself has to be told time-outs below the one given here, so that a call that
    was given up ends soon and has no effect after its deadline. What waits and was not begun when its time is up, or
    when its caller is cancelled, is never begun.

    What is `slow`, as creations are, may take minutes: it gets no more than three quarters of the threads, so that a
    service on which creations hang is still looked at, and what is there can still be deleted.
    """

    def __init__(self, name: str, size: int = 16) -> None:
        self._pool = _Pool(name, size)
        self._closed = False

    async def run(
        self, seconds: float, what: str, call: Callable[..., T], *args: Any, slow: bool = False, **kwargs: Any
    ) -> T:
        """The call's answer or its exception. Raises TimedOut after `seconds`, the wait for a thread included, and
        Unavailable once closed."""
        if self._closed:
            raise Unavailable("the backend is closed")
        given_up = threading.Event()
        begun = self._pool.submit(_unless(given_up, partial(call, *args, **kwargs)), slow=slow)
        future = asyncio.wrap_future(begun)
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
        """Begin no more calls: those that wait raise Unavailable, those under way end by their own time-outs, and keep
        no process from ending. Repetition: harmless."""
        self._closed = True
        self._pool.shutdown()


_Work = tuple[Future[Any], Callable[[], Any]]


class _Pool:
    """The standard library's pool waits for its threads when the interpreter ends, however long one hangs, and a
    replica that was told to stop would be killed in the midst of handing over its lease. These threads are daemons."""

    def __init__(self, name: str, size: int) -> None:
        self._name, self._size = name, size
        self._changed = threading.Condition()
        self._most_slow = max(1, 3 * size // 4)
        self._quick: deque[_Work] = deque()
        self._slow: deque[_Work] = deque()
        self._threads = self._idle = self._slow_running = 0
        self._closed = False

    def submit(self, call: Callable[[], T], *, slow: bool) -> Future[T]:
        """Have it called by a thread, after what waits already. Raises RuntimeError once shut down."""
        future: Future[T] = Future()
        with self._changed:
            if self._closed:
                raise RuntimeError("the pool is shut down")
            (self._slow if slow else self._quick).append((future, call))
            self._changed.notify()
            if self._idle < len(self._quick) + len(self._slow) and self._threads < self._size:
                threading.Thread(target=self._work, name=f"{self._name}_{self._threads}", daemon=True).start()
                self._threads += 1
        return future

    def shutdown(self) -> None:
        """Begin nothing more, and wait for nothing. A cancelled future would look like a cancelled caller."""
        with self._changed:
            self._closed = True
            dropped = [*self._quick, *self._slow]
            self._quick.clear()
            self._slow.clear()
            self._changed.notify_all()
        for future, _ in dropped:
            if future.set_running_or_notify_cancel():
                future.set_exception(Unavailable("the backend is closed"))

    def _work(self) -> None:
        while self._next():
            pass

    def _next(self) -> bool:
        """Run what has waited longest, quick calls first; False where nothing will come any more."""
        with self._changed:
            while not self._quick and not self._may_be_slow():
                if self._closed:
                    return False
                self._idle += 1
                self._changed.wait()
                self._idle -= 1
            slow = not self._quick
            future, call = (self._slow if slow else self._quick).popleft()
            self._slow_running += slow
        try:
            self._finish(future, call)
        finally:
            with self._changed:
                self._slow_running -= slow
                self._changed.notify()
        return True

    def _may_be_slow(self) -> bool:
        return bool(self._slow) and self._slow_running < self._most_slow

    @staticmethod
    def _finish(future: Future[Any], call: Callable[[], Any]) -> None:
        if future.set_running_or_notify_cancel():
            try:
                answer = call()
            except BaseException as error:  # noqa: BLE001 - handed on to whoever waits for it
                future.set_exception(error)
            else:
                future.set_result(answer)


def _unless(given_up: threading.Event, call: Callable[[], T]) -> Callable[[], T]:
    def begin() -> T:
        if given_up.is_set():
            raise Unavailable("given up before it began")
        return call()

    return begin


def _forget(future: asyncio.Future[Any]) -> None:
    if not future.cancelled():
        future.exception()
