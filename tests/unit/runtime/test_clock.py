"""Clocks: the manual one obeys, the system's moves."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta

from moorage.runtime.clock import ManualClock, SystemClock


async def test_a_manual_clock_calls_in_order_and_at_their_times() -> None:
    clock, seen = ManualClock(), list[tuple[str, float]]()
    clock.call_at(5, lambda: seen.append(("five", clock.monotonic())))
    cancelled = clock.call_at(4, lambda: seen.append(("never", 0)))

    def nest() -> None:
        clock.call_at(3, lambda: seen.append(("nested", clock.monotonic())))

    clock.call_at(2, nest)
    cancelled.cancel()
    start = clock.now()
    sleeper = asyncio.create_task(clock.sleep(6))
    await asyncio.sleep(0)
    clock.advance(5.5)
    assert seen == [("nested", 3), ("five", 5)]
    assert clock.now() - start == timedelta(seconds=5.5)
    assert not sleeper.done()
    clock.advance(0.5)
    await asyncio.wait_for(sleeper, 5)
    clock.jump(datetime(1999, 1, 1, tzinfo=UTC))
    assert clock.monotonic() == 6


async def test_the_system_clock_moves() -> None:
    clock, called = SystemClock(), asyncio.Event()
    before = clock.monotonic()
    clock.call_at(before + 0.001, called.set)
    await asyncio.wait_for(called.wait(), 5)
    await clock.sleep(0)
    assert clock.monotonic() > before
    assert clock.now().tzinfo is UTC
