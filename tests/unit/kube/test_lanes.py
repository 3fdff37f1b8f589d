"""Slots for writes: hot first, cold never starved, nothing lost by cancellation."""

from __future__ import annotations

import asyncio

import pytest

from moorage.kube.lanes import Lane, Turns, WriteSlots, current_lane


async def _settle() -> None:
    for _ in range(10):
        await asyncio.sleep(0)


async def _hold(slots: WriteSlots, lane: Lane | None, name: str, order: list[str], gate: asyncio.Event) -> None:
    async with slots.slot(lane):
        order.append(name)
        await gate.wait()


async def test_hot_goes_first_and_cold_after_the_share() -> None:
    slots, order, gate = WriteSlots(1, share=2), list[str](), asyncio.Event()
    tasks = [asyncio.create_task(_hold(slots, Lane.COLD, "first", order, gate))]
    await _settle()
    tasks += [asyncio.create_task(_hold(slots, Lane.COLD, name, order, gate)) for name in ("c1", "c2")]
    tasks += [asyncio.create_task(_hold(slots, Lane.HOT, name, order, gate)) for name in ("h1", "h2", "h3")]
    await _settle()
    assert order == ["first"]
    gate.set()
    await asyncio.gather(*tasks)
    assert order == ["first", "h1", "h2", "c1", "h3", "c2"]
    assert slots.free == 1


async def test_the_lane_comes_from_the_context() -> None:
    slots, order, gate = WriteSlots(1), list[str](), asyncio.Event()
    first = asyncio.create_task(_hold(slots, None, "first", order, gate))
    await _settle()
    cold = asyncio.create_task(_hold(slots, None, "cold", order, gate))
    await _settle()
    token = current_lane.set(Lane.HOT)
    hot = asyncio.create_task(_hold(slots, None, "hot", order, gate))
    current_lane.reset(token)
    await _settle()
    gate.set()
    await asyncio.gather(first, cold, hot)
    assert order == ["first", "hot", "cold"]


async def test_a_cancelled_waiter_loses_no_slot() -> None:
    slots, order, gate = WriteSlots(1), list[str](), asyncio.Event()
    async with slots.slot(Lane.COLD):
        waiting = asyncio.create_task(_hold(slots, Lane.COLD, "waiting", order, gate))
        await _settle()
    waiting.cancel()  # the slot was handed over to it, but it has not run since
    with pytest.raises(asyncio.CancelledError):
        await waiting
    assert slots.free == 1
    async with slots.slot(Lane.COLD):
        assert slots.free == 0


def test_limits_are_checked() -> None:
    with pytest.raises(ValueError, match="at least 1"):
        WriteSlots(0)


def turns(share: int, **waiting: int) -> str:
    """Who is served, by initials, until nobody waits."""
    found, left = "", {lane: ["x"] * waiting.get(lane.name.lower(), 0) for lane in Lane}
    order = Turns(share)
    while (lane := order.next(left)) is not None:
        left[lane].pop()
        found += lane.name[0]
    return found


def test_each_lane_goes_before_the_later_ones_and_starves_none() -> None:
    assert turns(2, urgent=3, hot=3, cold=2) == "UUHUHCHC"
    assert turns(8, cold=20) == "C" * 20
    assert turns(2, urgent=5, cold=1) == "UUCUUU"
    assert turns(2) == ""
