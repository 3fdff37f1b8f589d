"""The request budget: rate, burst, priorities, penalties."""

from __future__ import annotations

import asyncio

import pytest

from moorage.runtime.budget import MAX_PENALTY, Budget, Budgets, Priority
from moorage.runtime.clock import ManualClock


async def settle() -> None:
    for _ in range(10):
        await asyncio.sleep(0)


class Rig:
    def __init__(self, rate: float, burst: int, **options: int) -> None:
        self.clock = ManualClock()
        self.budget = Budget(rate, burst, clock=self.clock, **options)
        self.served: list[str] = []
        self.tasks: list[asyncio.Task[None]] = []

    async def ask(self, name: str, priority: Priority = Priority.READ) -> asyncio.Task[None]:
        async def call() -> None:
            await self.budget.acquire(priority)
            self.served.append(name)

        task = asyncio.create_task(call())
        self.tasks.append(task)
        await settle()
        return task

    async def advance(self, seconds: float) -> None:
        self.clock.advance(seconds)
        await settle()


async def test_a_burst_and_then_the_rate() -> None:
    rig = Rig(2, 3)
    for number in range(6):
        await rig.ask(str(number))
    assert rig.served == ["0", "1", "2"]
    await rig.advance(0.51)
    assert rig.served[3:] == ["3"]
    await rig.advance(1.01)
    assert rig.served[3:] == ["3", "4", "5"]
    assert rig.budget.waiting == 0
    await rig.advance(100)
    assert rig.budget.available() == 3, "no more than a burst is saved up"


async def test_writes_before_reads_but_reads_do_not_starve() -> None:
    rig = Rig(1, 1, share=2)
    await rig.ask("first")
    for name in ("r1", "r2"):
        await rig.ask(name)
    for name in ("w1", "w2", "w3", "w4"):
        await rig.ask(name, Priority.WRITE)
    for _ in range(6):
        await rig.advance(1.001)
    assert rig.served == ["first", "w1", "w2", "r1", "w3", "w4", "r2"]


async def test_a_penalty_stops_all_and_spends_the_savings() -> None:
    rig = Rig(1, 10)
    rig.budget.penalise(5)
    assert not rig.budget.try_acquire()
    for name in ("a", "b"):
        await rig.ask(name, Priority.WRITE)
    await rig.advance(4.9)
    assert rig.served == []
    await rig.advance(0.2)
    assert rig.served == ["a"]
    await rig.advance(1)
    assert rig.served == ["a", "b"]
    rig.budget.penalise(5)
    rig.budget.penalise(1)
    await rig.advance(4)
    assert not rig.budget.try_acquire(), "a shorter penalty does not shorten a longer one"


async def test_a_cancelled_request_takes_nothing() -> None:
    rig = Rig(1, 1)
    await rig.ask("first")
    gone = await rig.ask("gone")
    await rig.ask("next")
    gone.cancel()
    await settle()
    assert rig.budget.waiting == 1
    await rig.advance(1.001)
    assert rig.served == ["first", "next"]


async def test_a_cancelled_read_behind_many_writes_holds_nobody_up() -> None:
    rig = Rig(1, 1, share=2)
    await rig.ask("first")
    gone = await rig.ask("gone")
    for number in range(6):
        await rig.ask(f"w{number}", Priority.WRITE)
    gone.cancel()
    await settle()
    for _ in range(6):
        await rig.advance(1.001)
    assert rig.served == ["first", *(f"w{number}" for number in range(6))]


async def test_a_token_granted_to_a_cancelled_request_comes_back() -> None:
    rig = Rig(1, 1)
    await rig.ask("first")
    gone = await rig.ask("gone")
    rig.clock.advance(1.001)
    gone.cancel()  # granted, but it has not run since
    await settle()
    assert rig.budget.try_acquire()


async def test_new_limits_take_effect() -> None:
    rig = Rig(1, 10)
    rig.budget.reconfigure(100, 2)
    assert rig.budget.available() == 2
    with pytest.raises(ValueError, match="rate above 0"):
        rig.budget.reconfigure(0, 1)
    with pytest.raises(ValueError, match="rate above 0"):
        Budget(1, 0)


async def test_real_time() -> None:
    budget = Budget(200, 1)
    async with asyncio.timeout(5):
        for _ in range(3):
            await budget.acquire()


async def test_one_account_has_one_budget_with_the_lowest_limits_declared_for_it() -> None:
    clock = ManualClock()
    budgets = Budgets(clock)
    first = budgets.join("one", ("local", "http://h", "account"), 10, 5)
    other = budgets.join("three", ("local", "http://h", "another"), 10, 5)
    assert budgets.join("two", ("local", "http://h", "account"), 1, 2) is first
    assert other is not first
    assert [first.try_acquire() for _ in range(3)] == [True, True, False]
    clock.advance(1)
    assert [first.try_acquire() for _ in range(2)] == [True, False]
    budgets.leave("two")
    clock.advance(1)
    assert [first.try_acquire() for _ in range(6)] == [True] * 5 + [False]


async def test_whoever_goes_to_another_account_leaves_the_one_before() -> None:
    budgets = Budgets(ManualClock())
    first = budgets.join("one", "a", 10, 5)
    assert budgets.join("one", "b", 10, 5) is not first
    assert budgets.join("two", "a", 10, 5) is not first, "nobody was left on it"
    assert budgets.join("two", "a", 20, 9) is budgets.join("two", "a", 20, 9)


async def test_a_service_cannot_ask_to_be_left_alone_for_ever() -> None:
    clock = ManualClock()
    budget = Budget(1, 1, clock=clock)
    budget.penalise(1e9)
    clock.advance(MAX_PENALTY + 1)
    assert budget.try_acquire()
