"""The work queue: client-go's semantics, two lanes, one timer."""

from __future__ import annotations

import asyncio
import random
from typing import Any

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from moorage.kube.lanes import Lane
from moorage.runtime.clock import ManualClock
from moorage.runtime.queue import Item, QueueClosed, WorkQueue

HOT, COLD = Lane.HOT, Lane.COLD


class Tally:
    def __init__(self) -> None:
        self.seen: list[Any] = []

    def depth(self, keys: int) -> None:
        self.seen.append(("depth", keys))

    def added(self) -> None:
        self.seen.append("added")

    def retried(self) -> None:
        self.seen.append("retried")

    def started(self, seconds: float) -> None:
        self.seen.append(("started", seconds))

    def finished(self, seconds: float) -> None:
        self.seen.append(("finished", seconds))


def queue(clock: ManualClock | None = None, **options: Any) -> WorkQueue[str]:
    return WorkQueue("test", clock=clock or ManualClock(), rng=random.Random(1), **options)


def drain(q: WorkQueue[str]) -> list[str]:
    order = []
    while (item := q.try_get()) is not None:
        order.append(item.key)
        q.done(item.key)
    return order


def test_duplicates_merge_and_order_is_kept() -> None:
    q = queue()
    for key in ("a", "b", "a", "c", "b"):
        q.add(key)
    assert len(q) == 3
    assert drain(q) == ["a", "b", "c"]


def test_a_key_added_while_worked_on_waits_until_done() -> None:
    q = queue()
    q.add("a")
    assert q.try_get() == Item("a", COLD)
    q.add("a")
    q.add("a", HOT)
    q.add("b")
    assert q.added_meanwhile("a")
    assert q.try_get() == Item("b", COLD)
    assert q.try_get() is None
    q.done("a")
    assert q.try_get() == Item("a", HOT), "in the hottest lane that it was added by"
    q.done("a")
    q.done("b")
    assert q.idle


def test_hot_before_cold_but_cold_does_not_starve() -> None:
    q = queue(share=2)
    for key in ("c1", "c2"):
        q.add(key)
    for key in ("h1", "h2", "h3", "h4", "h5"):
        q.add(key, HOT)
    assert drain(q) == ["h1", "h2", "c1", "h3", "h4", "c2", "h5"]


def test_a_waiting_key_moves_to_the_hot_lane_and_never_back() -> None:
    q = queue()
    q.add("a")
    q.add("b")
    q.add("b", HOT)
    q.add("b", COLD)
    assert len(q) == 2
    assert q.try_get() == Item("b", HOT)


def test_the_earliest_of_several_delays_counts() -> None:
    clock = ManualClock()
    q = queue(clock)
    q.add_after("a", 10)
    q.add_after("a", 5)
    q.add_after("a", 7, HOT)
    q.add_after("b", 3)
    assert q.delayed == 2
    assert clock.next_timer() == 3
    clock.advance(4.9)
    assert drain(q) == ["b"]
    clock.advance(0.1)
    assert q.try_get() == Item("a", HOT)
    q.done("a")
    clock.advance(100)
    assert drain(q) == []
    assert clock.next_timer() is None


def test_no_delay_is_now() -> None:
    q = queue()
    q.add_after("a", 0)
    q.add_after("b", -1)
    assert drain(q) == ["a", "b"]


def test_back_off_grows_per_key_with_jitter_until_forgotten() -> None:
    clock = ManualClock()
    q = queue(clock, base=1.0, limit=8.0)
    delays = [q.add_rate_limited("a") for _ in range(6)]
    for delay, full in zip(delays, (1, 2, 4, 8, 8, 8), strict=True):
        assert full / 2 <= delay <= full
    assert q.failures("a") == 6
    assert q.add_rate_limited("b") <= 1
    assert q.add_rate_limited("c", at_least=30) == 30
    q.forget("a")
    assert q.add_rate_limited("a") <= 1


async def test_workers_wait_for_keys_one_each() -> None:
    q = queue()
    getters = [asyncio.create_task(q.get()) for _ in range(3)]
    await asyncio.sleep(0)
    q.add("a")
    q.add("b")
    done, waiting = await asyncio.wait(getters, timeout=5, return_when=asyncio.FIRST_COMPLETED)
    while len(done) < 2:
        more, waiting = await asyncio.wait(waiting, timeout=5, return_when=asyncio.FIRST_COMPLETED)
        done |= more
    assert {task.result().key for task in done} == {"a", "b"}
    q.close()
    with pytest.raises(QueueClosed):
        await waiting.pop()


async def test_a_cancelled_worker_hands_its_key_on() -> None:
    q = queue()
    first, second = asyncio.create_task(q.get()), asyncio.create_task(q.get())
    await asyncio.sleep(0)
    q.add("a")  # wakes the first
    first.cancel()
    assert (await asyncio.wait_for(second, 5)).key == "a"


async def test_a_closed_queue_takes_and_gives_nothing() -> None:
    clock = ManualClock()
    q = queue(clock)
    q.add("a")
    q.add("b")
    q.add_after("c", 1)
    assert q.try_get() is not None
    q.add("a")
    q.close()
    q.add("d")
    q.add_after("e", 1)
    q.done("a")
    clock.advance(10)
    assert len(q) == 0
    assert q.closed
    with pytest.raises(QueueClosed):
        await q.get()


def test_what_is_reported() -> None:
    clock, tally = ManualClock(), Tally()
    q = queue(clock, metrics=tally)
    q.add("a")
    q.add("a")
    clock.advance(2)
    q.try_get()
    clock.advance(3)
    assert q.longest_running_seconds() == 3
    assert q.unfinished_seconds() == 3
    assert q.working == 1
    q.done("a")
    q.add_rate_limited("a")
    assert tally.seen == ["added", ("depth", 1), ("started", 2), ("depth", 0), ("finished", 3), "retried"]


KEYS = st.sampled_from("abcde")
LANES = st.sampled_from(Lane)


class QueueMachine(RuleBasedStateMachine):
    """Against a model: no key is given out twice at once, and each add is followed by a later `get` of its key."""

    def __init__(self) -> None:
        super().__init__()
        self.clock = ManualClock()
        self.queue: WorkQueue[str] = queue(self.clock, share=2)
        self.owed: set[str] = set()
        self.working: set[str] = set()
        self.later: dict[str, float] = {}
        self.passed_over = 0

    @rule(key=KEYS, lane=LANES)
    def add(self, key: str, lane: Lane) -> None:
        self.queue.add(key, lane)
        self.owed.add(key)

    @rule(key=KEYS, lane=LANES, seconds=st.integers(1, 20))
    def add_after(self, key: str, lane: Lane, seconds: int) -> None:
        self.queue.add_after(key, seconds, lane)
        due = self.clock.monotonic() + seconds
        self.later[key] = min(due, self.later.get(key, due))

    @rule(seconds=st.integers(1, 15))
    def advance(self, seconds: int) -> None:
        self.clock.advance(seconds)
        due = {key for key, when in self.later.items() if when <= self.clock.monotonic()}
        self.owed |= due
        for key in due:
            del self.later[key]

    @rule()
    def get(self) -> None:
        item = self.queue.try_get()
        if item is None:
            assert self.owed <= self.working
            return
        assert item.key not in self.working
        assert item.key in self.owed
        self.owed.remove(item.key)
        self.working.add(item.key)

    @precondition(lambda self: self.working)
    @rule(data=st.data())
    def done(self, data: st.DataObject) -> None:
        key = data.draw(st.sampled_from(sorted(self.working)))
        self.working.remove(key)
        self.queue.done(key)

    @invariant()
    def counts(self) -> None:
        assert len(self.queue) == len(self.owed - self.working)
        assert self.queue.working == len(self.working)
        assert self.queue.delayed == len(self.later)
        timer = self.clock.next_timer()
        expected = min(self.later.values(), default=None)
        assert timer == (None if expected is None else expected - self.clock.monotonic())


TestQueueMachine = QueueMachine.TestCase
TestQueueMachine.settings = settings(max_examples=100, stateful_step_count=40, deadline=None)
