"""Questions in one call: each caller has its own answer, and no caller's end is another's."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence

import pytest

from moorage.hosting.errors import HostingError, Invalid, Throttled, Unavailable, Unknown
from moorage.runtime.batch import FIRST, RECENT, WINDOW, Batcher
from moorage.runtime.clock import ManualClock


class Service:
    """Answers with the id in capitals; `bad` ids spoil the call that they are in."""

    def __init__(self) -> None:
        self.calls: list[tuple[str, ...]] = []
        self.bad: set[str] = set()
        self.error: Exception | None = None
        self.gate: asyncio.Event | None = None
        self.silent: set[str] = set()

    async def __call__(self, ids: Sequence[str]) -> Mapping[str, str]:
        self.calls.append(tuple(ids))
        if self.gate is not None:
            await self.gate.wait()
        if self.error is not None:
            raise self.error
        if self.bad & set(ids):
            raise Invalid("one of these is wrong", field="id")
        return {id_: id_.upper() for id_ in ids if id_ not in self.silent}


async def turns(count: int = 20) -> None:
    for _ in range(count):
        await asyncio.sleep(0)


class Scene:
    def __init__(self, size: int = 3) -> None:
        self.service, self.clock = Service(), ManualClock()
        self.batcher: Batcher[str] = Batcher(self.service, size, self.clock)

    async def ask(self, *ids: str) -> list[asyncio.Task[str]]:
        tasks = [asyncio.create_task(self.batcher.ask(id_)) for id_ in ids]
        await turns()
        return tasks

    async def window(self) -> None:
        self.clock.advance(WINDOW)
        await turns()


async def test_what_is_asked_within_the_window_goes_out_in_one_call() -> None:
    scene = Scene()
    tasks = await scene.ask("a", "b", "a")
    assert scene.service.calls == []
    await scene.window()
    assert scene.service.calls == [("a", "b")]
    assert [task.result() for task in tasks] == ["A", "B", "A"]


async def test_a_single_question_waits_for_next_to_nothing_and_the_next_ones_for_company() -> None:
    scene = Scene()
    (first,) = await scene.ask("a")
    scene.clock.advance(FIRST)
    await turns()
    assert first.result() == "A"
    (second,) = await scene.ask("b")
    scene.clock.advance(FIRST)
    await turns()
    assert not second.done()
    await scene.window()
    assert second.result() == "B"
    scene.clock.advance(RECENT)
    (third,) = await scene.ask("c")
    scene.clock.advance(FIRST)
    await turns()
    assert third.result() == "C"


async def test_a_full_batch_waits_for_nothing_and_no_call_is_larger() -> None:
    scene = Scene()
    tasks = await scene.ask("a", "b", "c", "d")
    assert scene.service.calls == [("a", "b", "c")]
    await scene.window()
    assert scene.service.calls[1:] == [("d",)]
    assert [task.result() for task in tasks] == ["A", "B", "C", "D"]


async def test_what_comes_during_a_call_waits_for_the_next() -> None:
    scene = Scene()
    scene.service.gate = asyncio.Event()
    first = await scene.ask("a")
    await scene.window()
    second = await scene.ask("b", "c")
    await scene.window()
    assert scene.service.calls == [("a",)]
    scene.service.gate.set()
    await turns()
    await scene.window()
    assert scene.service.calls == [("a",), ("b", "c")]
    assert [task.result() for task in (*first, *second)] == ["A", "B", "C"]


async def test_a_caller_that_is_cancelled_takes_nobody_along_and_is_not_asked_for() -> None:
    scene = Scene()
    a, b = await scene.ask("a", "b")
    a.cancel()
    await turns()
    await scene.window()
    assert scene.service.calls == [("b",)]
    assert b.result() == "B"
    scene.service.gate = asyncio.Event()
    c, d = await scene.ask("c", "d")
    await scene.window()
    c.cancel()
    await turns()
    scene.service.gate.set()
    await turns()
    assert (c.cancelled(), d.result()) == (True, "D")


async def test_a_failed_call_fails_each_of_its_callers_with_the_same_typed_error() -> None:
    scene = Scene()
    scene.service.error = Throttled("slow down", retry_after=7)
    tasks = await scene.ask("a", "b")
    await scene.window()
    errors = [task.exception() for task in tasks]
    assert [(type(e), str(e), e.retry_after) for e in errors if isinstance(e, Throttled)] == [
        (Throttled, "slow down", 7)
    ] * 2
    assert errors[0] is not errors[1]
    scene.service.error = None
    (again,) = await scene.ask("a")
    await scene.window()
    assert again.result() == "A", "the next call is another one"


async def test_one_bad_id_does_not_spoil_the_others_for_ever() -> None:
    scene = Scene(8)
    scene.service.bad = {"c"}
    tasks = await scene.ask("a", "b", "c", "d", "e")
    await scene.window()
    answers = [task.exception() or task.result() for task in tasks]
    assert [answers[n] for n in (0, 1, 3, 4)] == ["A", "B", "D", "E"]
    assert isinstance(answers[2], Invalid)
    assert len(scene.service.calls) <= 2 * 5 - 1


async def test_an_answer_that_leaves_an_id_out_is_no_answer_about_it() -> None:
    scene = Scene()
    scene.service.silent = {"b"}
    a, b = await scene.ask("a", "b")
    await scene.window()
    assert a.result() == "A"
    assert isinstance(b.exception(), Unknown)


async def test_what_is_no_error_of_the_service_reaches_each_caller_too() -> None:
    scene = Scene()
    scene.service.error = PermissionError("not the leader")
    tasks = await scene.ask("a", "b")
    await scene.window()
    assert [type(task.exception()) for task in tasks] == [PermissionError] * 2


@pytest.mark.parametrize("under_way", [True, False])
async def test_closing_leaves_nobody_waiting(under_way: bool) -> None:
    scene = Scene()
    scene.service.gate = asyncio.Event()
    tasks = await scene.ask("a", "b")
    if under_way:
        await scene.window()
    await scene.batcher.close()
    for task in tasks:
        with pytest.raises(HostingError) as error:
            await task
        assert isinstance(error.value, Unavailable)
