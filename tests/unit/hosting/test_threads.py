"""The pool of threads in which blocking SDKs run."""

from __future__ import annotations

import asyncio
import subprocess
import sys
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


async def test_creations_that_hang_leave_threads_for_other_calls() -> None:
    threads, release, begun = Threads("t", 4), threading.Event(), []

    def hang(number: int) -> int:
        begun.append(number)
        release.wait()
        return number

    creations = [asyncio.create_task(threads.run(30, "create", hang, number, slow=True)) for number in range(6)]
    await asyncio.sleep(0)
    for number in range(20):
        assert await threads.run(5, "get", str, number) == f"{number}"
    assert len(begun) <= 3
    release.set()
    assert await asyncio.gather(*creations) == list(range(6))
    threads.close()


async def test_a_creation_that_was_given_up_still_counts_until_its_thread_is_free() -> None:
    threads, release = Threads("t", 2), threading.Event()
    with pytest.raises(TimedOut):
        await threads.run(0.05, "create", release.wait, slow=True)
    with pytest.raises(TimedOut):
        await threads.run(0.05, "create", str, 1, slow=True)
    assert await threads.run(5, "get", str, 2) == "2"
    release.set()
    assert await threads.run(5, "create", str, 3, slow=True) == "3"
    threads.close()


async def test_a_closed_pool_takes_nothing() -> None:
    threads = Threads("t")
    threads.close()
    threads.close()
    with pytest.raises(Unavailable):
        await threads.run(1, "late", str, 1)


async def test_what_waits_when_the_pool_is_closed_is_told_so_and_not_cancelled() -> None:
    threads, release, begun = Threads("t", 1), threading.Event(), asyncio.Event()
    loop = asyncio.get_running_loop()

    def hang() -> None:
        loop.call_soon_threadsafe(begun.set)
        release.wait()

    hanging = asyncio.create_task(threads.run(30, "hang", hang))
    await begun.wait()
    waiting = asyncio.create_task(threads.run(30, "wait", str, 1))
    await asyncio.sleep(0)
    threads.close()
    with pytest.raises(Unavailable, match="closed"):
        await waiting
    release.set()
    await hanging


async def test_threads_are_started_as_needed_and_used_again() -> None:
    threads, meet = Threads("t", 3), threading.Barrier(3)
    await asyncio.gather(*(threads.run(30, "meet", meet.wait) for _ in range(3)))
    names = {await threads.run(30, "name", lambda: threading.current_thread().name) for _ in range(5)}
    assert names <= {"t_0", "t_1", "t_2"}
    threads.close()


HANGS = """
import asyncio, threading
from moorage.hosting.errors import TimedOut
from moorage.hosting.threads import Threads

async def main():
    try:
        await Threads("t", 1).run(0.01, "hang", threading.Event().wait)
    except TimedOut:
        print("given up")

asyncio.run(main())
"""


def test_a_call_that_hangs_for_ever_does_not_keep_the_process_from_ending() -> None:
    ended = subprocess.run([sys.executable, "-c", HANGS], capture_output=True, text=True, timeout=60, check=False)
    assert (ended.returncode, ended.stdout) == (0, "given up\n"), ended.stderr
