"""Workers: what a reconcile's end means for its key."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable
from typing import Any

import pytest

from moorage.hosting.errors import Throttled
from moorage.kube.errors import Conflict, InvalidObject, NotLeader, Unavailable
from moorage.kube.lanes import Lane, current_lane
from moorage.runtime.clock import ManualClock
from moorage.runtime.queue import WorkQueue
from moorage.runtime.workers import AGAIN, DONE, Result, Retry, Workers, aside, outlive_turn


class Turns:
    def __init__(self) -> None:
        self.active = 0
        self.results: list[str] = []

    def started(self) -> None:
        self.active += 1

    def finished(self, result: str, seconds: float) -> None:
        self.active -= 1
        self.results.append(result)


class Rig:
    def __init__(self, steps: list[Any], **options: Any) -> None:
        self.clock = ManualClock()
        self.queue: WorkQueue[str] = WorkQueue("test", clock=self.clock, rng=random.Random(1))
        self.steps = steps
        self.seen: list[str] = []
        self.lanes: list[Lane] = []
        self.turns = Turns()
        self.workers = Workers(
            self.queue, self.reconcile, clock=self.clock, metrics=self.turns, count=options.pop("count", 1), **options
        )

    async def reconcile(self, key: str) -> Result:
        self.seen.append(key)
        self.lanes.append(current_lane.get())
        step = self.steps.pop(0) if self.steps else DONE
        if isinstance(step, BaseException):
            raise step
        result: Result = await step() if callable(step) else step
        return result

    async def idle(self) -> None:
        async with asyncio.timeout(5):
            while not self.queue.idle:  # noqa: ASYNC110 - the queue has no event for it
                await asyncio.sleep(0)


async def run(rig: Rig, *keys: str, lane: Lane = Lane.COLD) -> None:
    rig.workers.start()
    for key in keys:
        rig.queue.add(key, lane)
    await rig.idle()


async def test_a_reconcile_runs_in_the_lane_of_its_key() -> None:
    rig = Rig([])
    await run(rig, "a", lane=Lane.HOT)
    await run_more(rig, "b")
    assert rig.lanes == [Lane.HOT, Lane.COLD]
    assert rig.turns.results == ["success", "success"]
    assert await rig.workers.stop(5)


async def run_more(rig: Rig, key: str) -> None:
    rig.queue.add(key)
    await rig.idle()


async def test_again_runs_on_in_the_same_turn_within_bounds() -> None:
    rig = Rig([AGAIN] * 7, turns=3)
    await run(rig, "a", "b")
    assert rig.seen == ["a", "a", "a", "b", "b", "b", "a", "a", "b"]
    assert rig.turns.results == ["requeue", "requeue", "success", "success"]
    await rig.workers.stop(5)


async def test_after_comes_back_later() -> None:
    rig = Rig([Result(after=30)])
    await run(rig, "a")
    rig.clock.advance(29)
    assert len(rig.queue) == 0
    rig.clock.advance(1)
    await rig.idle()
    assert rig.seen == ["a", "a"]
    assert rig.turns.results == ["requeue_after", "success"]
    await rig.workers.stop(5)


@pytest.mark.parametrize(
    ("error", "result", "level", "least"),
    [
        (Conflict(409, "Conflict", "other version"), "requeue", None, 0.0),
        (NotLeader("not held"), "requeue", None, 1.0),
        (Retry("not yet", at_least=3), "requeue", None, 3.0),
        (Unavailable(503, "ServiceUnavailable", "no", retry_after=2), "error", "WARNING", 2.0),
        (Throttled("slower", retry_after=4), "error", "WARNING", 4.0),
        (InvalidObject("spec: wrong"), "error", "WARNING", 0.0),
        (RuntimeError("a fault"), "error", "ERROR", 0.0),
    ],
)
async def test_failures_come_back_with_a_back_off(
    error: Exception, result: str, level: str | None, least: float, caplog: pytest.LogCaptureFixture
) -> None:
    rig = Rig([error])
    await run(rig, "a")
    assert rig.turns.results == [result]
    assert [r.levelname for r in caplog.records] == ([level] if level else [])
    assert rig.queue.failures("a") == 1
    due = rig.clock.next_timer()
    assert due is not None
    assert due >= least
    rig.clock.advance(due)
    await rig.idle()
    assert rig.seen == ["a", "a"]
    assert rig.queue.failures("a") == 0, "it went well"
    await rig.workers.stop(5)


async def test_keys_are_worked_on_side_by_side_and_never_one_key_twice() -> None:
    running: set[str] = set()
    most = 0
    gate = asyncio.Event()

    def step(key: str) -> Callable[[], Any]:
        async def reconcile() -> Result:
            nonlocal most
            assert key not in running
            running.add(key)
            most = max(most, len(running))
            await gate.wait()
            running.discard(key)
            return DONE

        return reconcile

    rig = Rig([step("a"), step("b"), step("a")], count=4)
    rig.workers.start()
    rig.queue.add("a")
    rig.queue.add("b")
    async with asyncio.timeout(5):
        while len(running) < 2:  # noqa: ASYNC110 - no event for it
            await asyncio.sleep(0)
    rig.queue.add("a")
    for _ in range(10):
        await asyncio.sleep(0)
    gate.set()
    await rig.idle()
    assert rig.seen == ["a", "b", "a"]
    assert most == 2
    await rig.workers.stop(5)


async def test_stop_lets_the_present_turn_end() -> None:
    gate, entered = asyncio.Event(), asyncio.Event()

    async def slow() -> Result:
        entered.set()
        await gate.wait()
        return AGAIN

    rig = Rig([slow])
    rig.workers.start()
    rig.queue.add("a")
    rig.queue.add("b")
    await asyncio.wait_for(entered.wait(), 5)
    stopping = asyncio.create_task(rig.workers.stop(5))
    await asyncio.sleep(0)
    gate.set()
    assert await stopping
    assert rig.seen == ["a"], "no second turn, no other key"


async def test_stop_cancels_what_does_not_end(caplog: pytest.LogCaptureFixture) -> None:
    entered = asyncio.Event()

    async def stuck() -> Result:
        entered.set()
        await asyncio.Event().wait()
        return DONE

    rig = Rig([stuck])
    rig.workers.start()
    rig.queue.add("a")
    await asyncio.wait_for(entered.wait(), 5)
    assert not await rig.workers.stop(0.01)
    assert "1 workers of test did not end" in caplog.text
    assert rig.turns.active == 0


async def test_a_turn_that_steps_aside_leaves_its_place_to_another_and_takes_no_second_one_later() -> None:
    gate = asyncio.Event()

    async def hang() -> Result:
        with aside():
            await gate.wait()
        return DONE

    rig = Rig([hang, hang, hang, DONE])
    rig.workers.start()
    for key in ("a", "b", "c", "d"):
        rig.queue.add(key)
    async with asyncio.timeout(5):
        while len(rig.seen) < 4:  # noqa: ASYNC110 - the queue has no event for it
            await asyncio.sleep(0)
    gate.set()
    await rig.idle()
    for _ in range(5):
        await asyncio.sleep(0)
    assert len(rig.workers._tasks) == 1, "one place, one worker"
    assert await rig.workers.stop(1.0)


async def test_without_stepping_aside_a_turn_keeps_its_place() -> None:
    gate = asyncio.Event()

    async def hang() -> Result:
        await gate.wait()
        return DONE

    rig = Rig([hang, DONE])
    rig.workers.start()
    rig.queue.add("a")
    rig.queue.add("b")
    for _ in range(20):
        await asyncio.sleep(0)
    assert rig.seen == ["a"]
    gate.set()
    await rig.idle()
    assert rig.seen == ["a", "b"]
    assert await rig.workers.stop(1.0)


async def test_a_turn_that_is_aside_when_the_queue_closes_ends_with_the_others() -> None:
    gate = asyncio.Event()

    async def hang() -> Result:
        with aside():
            await gate.wait()
        return DONE

    rig = Rig([hang])
    rig.workers.start()
    rig.queue.add("a")
    for _ in range(20):
        await asyncio.sleep(0)
    rig.queue.close()
    gate.set()
    assert await rig.workers.stop(1.0)
    assert not rig.workers._tasks


async def test_what_outlives_a_turn_takes_nobodys_place() -> None:
    made: list[asyncio.Task[None]] = []

    async def background() -> None:
        outlive_turn()
        with aside():
            await asyncio.sleep(0)

    async def start() -> Result:
        made.append(asyncio.create_task(background()))
        return DONE

    rig = Rig([start])
    rig.workers.start()
    rig.queue.add("a")
    await rig.idle()
    await asyncio.gather(*made)
    for _ in range(5):
        await asyncio.sleep(0)
    assert len(rig.workers._tasks) == 1
    assert rig.workers._surplus == 0
    assert await rig.workers.stop(1.0)
