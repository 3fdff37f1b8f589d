"""The pool of threads in which blocking SDKs run."""

from __future__ import annotations

import asyncio
import threading

import pytest

from moorage.hosting.errors import TimedOut, Unavailable
from moorage.hosting.threads import Threads


async def test_an_answer_and_an_exception_come_back() -> None:
    threads = Threads("t", 2)
    assert await threads.run(5, "add", int.__add__, 1, 2) == 3
    with pytest.raises(ZeroDivisionError):
        await threads.run(5, "divide", int.__floordiv__, 1, 0)
    threads.close()


async def test_a_call_that_hangs_is_given_up_and_one_that_waits_is_never_begun() -> None:
    threads, release, begun = Threads("t", 1), threading.Event(), threading.Event()
    with pytest.raises(TimedOut) as caught:
        await threads.run(0.05, "hang", release.wait)
    assert not caught.value.definite
    with pytest.raises(TimedOut):
        await threads.run(0.05, "second", begun.set)
    waiting = asyncio.create_task(threads.run(5, "third", begun.set))
    await asyncio.sleep(0.01)
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    release.set()
    assert await threads.run(5, "after", str, 7) == "7"
    assert not begun.is_set()
    threads.close()


async def test_a_closed_pool_takes_nothing() -> None:
    threads = Threads("t")
    threads.close()
    threads.close()
    with pytest.raises(Unavailable):
        await threads.run(1, "late", str, 1)
