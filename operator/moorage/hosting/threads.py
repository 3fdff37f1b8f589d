"""Blocking SDKs behind an asynchronous contract: a bounded pool of threads for each backend."""

from __future__ import annotations

import asyncio
import threading
from collections import deque
from collections.abc import Callable
from concurrent.futures import Executor, Future
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
        self._pool = _Pool(name, size)
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
        """Begin no more calls: those that wait raise Unavailable, those under way end by their own time-outs, and keep
        no process from ending. Repetition: harmless."""
        self._closed = True
        self._pool.shutdown()


class _Pool(Executor):
    """The standard library's pool waits for its threads when the interpreter ends, however long one hangs, and a
    replica that was told to stop would be killed in the midst of handing over its lease. These threads are daemons."""

    def __init__(self, name: str, size: int) -> None:
        self._name, self._size = name, size
        self._changed = threading.Condition()
        self._waiting: deque[tuple[Future[Any], Callable[[], Any]]] = deque()
        self._threads = self._idle = 0
        self._closed = False

    def submit(self, fn: Callable[..., T], /, *args: Any, **kwargs: Any) -> Future[T]:
        """See `Executor.submit`. Raises RuntimeError once shut down."""
        future: Future[T] = Future()
        with self._changed:
            if self._closed:
                raise RuntimeError("the pool is shut down")
            self._waiting.append((future, partial(fn, *args, **kwargs)))
            if self._idle >= len(self._waiting):
                self._changed.notify()
            elif self._threads < self._size:
                threading.Thread(target=self._work, name=f"{self._name}_{self._threads}", daemon=True).start()
                self._threads += 1
        return future

    def shutdown(self, wait: bool = False, *, cancel_futures: bool = True) -> None:
        """Begin nothing more, and wait for nothing. A cancelled future would look like a cancelled caller."""
        with self._changed:
            self._closed = True
            dropped = list(self._waiting)
            self._waiting.clear()
            self._changed.notify_all()
        for future, _ in dropped:
            if future.set_running_or_notify_cancel():
                future.set_exception(Unavailable("the backend is closed"))

    def _work(self) -> None:
        while self._next():
            pass

    def _next(self) -> bool:
        """Run what has waited longest; False where nothing will come any more."""
        with self._changed:
            while not self._waiting:
                if self._closed:
                    return False
                self._idle += 1
                self._changed.wait()
                self._idle -= 1
            future, call = self._waiting.popleft()
        if future.set_running_or_notify_cancel():
            try:
                answer = call()
            except BaseException as error:  # noqa: BLE001 - handed on to whoever waits for it
                future.set_exception(error)
            else:
                future.set_result(answer)
        return True


def _unless(given_up: threading.Event, call: Callable[[], T]) -> Callable[[], T]:
    def begin() -> T:
        if given_up.is_set():
            raise Unavailable("given up before it began")
        return call()

    return begin


def _forget(future: asyncio.Future[Any]) -> None:
    if not future.cancelled():
        future.exception()
