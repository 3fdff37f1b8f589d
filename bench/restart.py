"""A controller that starts among thousands of Ready servers: when does it know that there is nothing to do?"""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass

from bench.harness import Installation, Requests, cpu_seconds, rss_mb

QUIET = 0.5


@dataclass(frozen=True, slots=True)
class Restarted:
    """Seconds and CPU seconds from the start of the process until every queue was empty; MB of memory then."""

    seconds: float
    cpu: float
    memory: float
    writes: Requests
    lists: Requests
    announced: float


async def restart(installed: Installation) -> Restarted:
    """Stop the controller, and start it again."""
    old = installed.stack.controller
    assert old is not None
    await asyncio.to_thread(old.stop)
    before = await installed.usage(controller=False)
    started = time.monotonic()
    announced = await asyncio.to_thread(installed.start_controller)
    process = installed.stack.controller
    assert process is not None
    done: tuple[float, float] | None = None
    while True:
        now = time.monotonic()
        if await asyncio.to_thread(busy, installed):
            done = None
        elif done is None:
            done = (now - started, cpu_seconds(process.popen.pid))
        elif now - started - done[0] > QUIET:
            break
        await asyncio.sleep(0.05)
    await asyncio.sleep(5)  # what is held, and what is looked at late, shows in the counts
    used = await installed.usage() - before
    lists = {key: n for key, n in used.requests.items() if key[0] == "LIST"}
    return Restarted(done[0], done[1], rss_mb(process.popen.pid), used.writes(), lists, announced)


def busy(installed: Installation) -> bool:
    """Whether any key waits or is worked on."""
    names = {"workqueue_depth", "controller_runtime_active_workers"}
    return any(value for name, _, value in installed.metrics() if name in names)
