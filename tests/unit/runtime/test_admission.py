"""What goes out to a service that hangs, fails or refuses: little, in order, and again by itself when it is well."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field, replace
from typing import cast

import pytest
from tests.unit.runtime.test_service import REQUEST, FakeBackend, Watcher, record

from moorage.hosting.contract import TAG_NAMESPACE, Backend
from moorage.hosting.errors import (
    AuthenticationError,
    CapacityError,
    HostingError,
    Invalid,
    Retryable,
    Throttled,
    TimedOut,
    Unavailable,
)
from moorage.runtime.admission import THROTTLED_PAUSE, TRIAL_TIMEOUT, Traffic
from moorage.runtime.budget import Budget
from moorage.runtime.circuit import PAUSE_MAX, THRESHOLD
from moorage.runtime.clock import ManualClock
from moorage.runtime.service import Hooks, ServiceConnection

HOUR = 3600


@dataclass
class Moody(FakeBackend):
    """Answers each operation as `moods` say: an error, or an event that it waits for."""

    moods: dict[str, Callable[[], HostingError] | asyncio.Event] = field(default_factory=dict)

    async def _called(self, name: str) -> None:
        self.calls.append(name)
        mood = self.moods.get(name)
        if isinstance(mood, asyncio.Event):
            await mood.wait()
        elif mood is not None:
            raise mood()


class Scene:
    """A connection on a clock of its own, for three creations and the like at a time."""

    def __init__(self) -> None:
        self.backend, self.watcher, self.clock = Moody(servers=[record()]), Watcher(), ManualClock()
        hooks = Hooks(self.watcher.guard, list, self.watcher.on_inventory, self.watcher.on_trouble)
        self.connection = ServiceConnection(
            "anchor",
            "svc",
            "inst",
            cast(Backend, self.backend),
            hooks,
            self.clock,
            Budget(1000, 1000, clock=self.clock),
            30.0,
            concurrency=3,
        )
        self.connection.expected_account = "account"

    async def turns(self, count: int = 50) -> None:
        for _ in range(count):
            await asyncio.sleep(0)

    async def passes(self, seconds: float, step: float = 1.0) -> None:
        for _ in range(int(seconds / step)):
            self.clock.advance(step)
            await self.turns(12)

    async def create(self, name: str = "m-u1", namespace: str = "ns") -> None:
        request = replace(REQUEST, key=name, tags={TAG_NAMESPACE: namespace})
        await self.connection.create(request, self.clock.monotonic() + 60)


@pytest.fixture
async def scene() -> AsyncIterator[Scene]:
    made = Scene()
    yield made
    await made.connection.close()


async def test_creations_that_hang_starve_neither_deletions_nor_questions(scene: Scene) -> None:
    hangs = asyncio.Event()
    scene.backend.moods["create"] = hangs
    creations = [asyncio.create_task(scene.create()) for _ in range(5)]
    await scene.turns()
    assert scene.backend.calls == ["create"] * 3, "bounded"
    await scene.connection.delete("s1")
    await scene.connection.ask("s1")
    hangs.set()
    await asyncio.gather(*creations)
    assert scene.backend.calls.count("create") == 5


async def test_changes_that_take_long_starve_no_deletions(scene: Scene) -> None:
    hangs = asyncio.Event()
    scene.backend.moods["retag"] = hangs
    changes = [asyncio.create_task(scene.connection.retag("s1", {})) for _ in range(5)]
    await scene.turns()
    assert scene.backend.calls == ["retag"] * 3, "bounded"
    await scene.connection.delete("s1")
    hangs.set()
    await asyncio.gather(*changes)


async def test_a_call_on_trial_is_given_up_before_its_own_time_is_over(scene: Scene) -> None:
    """Everybody waits for what becomes of it."""
    admission, call = scene.connection.admission, asyncio.get_running_loop().create_future()
    async with admission._admitted(call, Traffic.DELETE, None, None, 3600.0) as seconds:
        assert seconds == 3600.0
    for _ in range(THRESHOLD):
        scene.connection.circuit.failed(scene.clock.monotonic())
    scene.clock.advance(HOUR)
    async with admission._admitted(call, Traffic.DELETE, None, None, 3600.0) as seconds:
        assert seconds == TRIAL_TIMEOUT


@pytest.mark.parametrize("status", [Unavailable, AuthenticationError])
async def test_creations_that_fail_for_an_hour_are_not_tried_by_every_server_in_turn(
    scene: Scene, status: type[HostingError]
) -> None:
    """Fifty servers that try whenever they may, on a service that answers questions all the time."""
    scene.backend.moods["create"] = lambda: status("told to fail")
    for _ in range(HOUR // 10):
        for number in range(50):
            with pytest.raises(status):
                await scene.create(f"m-{number}")
            await scene.connection.ask("s1")
        scene.clock.advance(10)
    assert scene.backend.calls.count("create") <= HOUR / PAUSE_MAX + 2 * THRESHOLD
    assert scene.connection.circuit.state == "Closed", "the service itself is well"
    refusal = scene.connection.admission.refusal("ns")
    assert refusal is None or "told to fail" in refusal.message
    del scene.backend.moods["create"]
    scene.clock.advance(PAUSE_MAX)
    await scene.create()
    await scene.create()
    assert scene.connection.admission.refusal("ns") is None


async def test_refusals_with_an_answer_hold_nobody_up(scene: Scene) -> None:
    scene.backend.moods["create"] = lambda: CapacityError("full")
    for number in range(3 * THRESHOLD):
        with pytest.raises(CapacityError):
            await scene.create(f"m-{number}")
    assert scene.connection.admission.refusal("ns") is None


async def test_what_waits_for_a_slot_does_not_go_out_once_the_circuit_is_open(scene: Scene) -> None:
    scene.backend.moods["get"] = asyncio.Event()
    asked = [asyncio.create_task(scene.connection.ask("s1")) for _ in range(10)]
    await scene.turns()
    scene.backend.moods["delete"] = lambda: Unavailable("down")
    for _ in range(THRESHOLD):
        with pytest.raises(Unavailable):
            await scene.connection.delete("s1")
    for task in asked[:3]:
        task.cancel()
    results = await asyncio.gather(*asked, return_exceptions=True)
    assert [type(r) for r in results] == [asyncio.CancelledError] * 3 + [Unavailable] * 7
    assert scene.backend.calls.count("get") == 3


async def test_a_service_down_for_an_hour_is_asked_rarely_and_comes_back_by_itself(scene: Scene) -> None:
    """All kinds of calls at once, by fifty servers, beside the inventories."""
    down = lambda: Unavailable("500 Internal Server Error")  # noqa: E731
    scene.backend.moods = dict.fromkeys(("inventory", "get", "create", "delete"), down)
    scene.connection.start()

    async def all_of_them() -> None:
        for number in range(50):
            for call in (scene.connection.ask("s1"), scene.create(f"m-{number}"), scene.connection.delete("s1")):
                with pytest.raises(Unavailable):
                    await call

    for _ in range(HOUR // 60):
        if not scene.connection.is_shut:
            await all_of_them()
        await scene.passes(60, step=5)
    assert THRESHOLD <= len(scene.backend.calls) <= 2 * HOUR / PAUSE_MAX + 5 * THRESHOLD
    assert scene.connection.problem == "500 Internal Server Error"
    scene.backend.moods.clear()
    await scene.passes(PAUSE_MAX + 31, step=5)
    assert scene.connection.facts().connected
    assert scene.connection.problem == ""
    await scene.connection.ask("s1")


@pytest.mark.parametrize("error", [AuthenticationError("revoked"), Invalid("no such project", field="project")])
async def test_a_service_that_refuses_us_altogether_is_asked_by_inventories_alone(
    scene: Scene, error: HostingError
) -> None:
    scene.connection.start()
    await scene.turns()
    assert scene.connection.facts().connected
    scene.backend.moods = dict.fromkeys(("inventory", "get"), lambda: error)
    with pytest.raises(type(error)):
        await scene.connection.ask("s1")
    await scene.passes(60)
    facts = scene.connection.facts()
    assert (facts.connected, facts.problem) == (False, error.message)
    assert scene.connection.is_refused
    before = len(scene.backend.calls)
    await scene.passes(HOUR, step=10)
    assert len(scene.backend.calls) - before <= HOUR / 30 * 1.2
    scene.backend.moods.clear()
    await scene.passes(40)
    assert scene.connection.facts().connected


async def test_credentials_refused_in_one_call_are_looked_at_at_once(scene: Scene) -> None:
    scene.connection.start()
    await scene.turns()
    before, troubles = scene.backend.calls.count("inventory"), scene.watcher.troubles
    scene.backend.moods["delete"] = lambda: AuthenticationError("may not delete")
    with pytest.raises(AuthenticationError):
        await scene.connection.delete("s1")
    assert scene.watcher.troubles > troubles, "they are read again"
    await scene.passes(1, step=0.1)
    assert scene.backend.calls.count("inventory") == before + 1
    assert scene.connection.facts().connected, "what only one call may not do closes nothing"


@pytest.mark.parametrize(
    ("error", "asked", "pause"),
    [
        (Throttled, 20.0, 20.0),
        (Throttled, None, THROTTLED_PAUSE),
        (Unavailable, 20.0, 20.0),
        (TimedOut, 20.0, 20.0),
    ],
)
async def test_a_service_is_left_alone_for_as_long_as_it_says(
    scene: Scene, error: type[Retryable], asked: float | None, pause: float
) -> None:
    scene.backend.moods["get"] = lambda: error("not now", retry_after=asked)
    with pytest.raises(error):
        await scene.connection.ask("s1")
    scene.backend.moods.clear()
    again = asyncio.create_task(scene.connection.ask("s1"))
    await scene.turns()
    scene.clock.advance(pause - 0.1)
    await scene.turns()
    assert not again.done()
    scene.clock.advance(0.2)
    await again


async def test_what_creates_and_deletes_goes_before_what_only_looks(scene: Scene) -> None:
    scene.connection.admission.budget = Budget(1, 1, clock=scene.clock)
    await scene.connection.ask("s1")
    scene.backend.calls.clear()
    calls: list[Awaitable[object]] = [
        scene.connection.ask("s1"),
        scene.connection.ask("s1"),
        scene.create(),
        scene.connection.delete("s1"),
    ]
    waiting = [asyncio.ensure_future(call) for call in calls]
    await scene.turns()
    assert scene.backend.calls == []
    await scene.passes(5)
    await asyncio.gather(*waiting)
    assert scene.backend.calls == ["create", "delete", "get", "get"]


CREATIONS = [AuthenticationError("may not pass the role"), Unavailable("500"), TimedOut("no answer")]


@pytest.mark.parametrize("error", CREATIONS)
async def test_what_one_namespace_asks_for_holds_back_that_namespace_alone(scene: Scene, error: HostingError) -> None:
    """For an hour, twenty servers of one namespace: refused, or choked on. Another namespace is served all the time."""
    for minute in range(60):
        scene.backend.moods["create"] = lambda: error
        for number in range(20):
            with pytest.raises(AuthenticationError if isinstance(error, AuthenticationError) else Retryable):
                await scene.create(f"m-{number}", "greedy")
        scene.backend.moods.clear()
        await scene.create(f"m-{minute}", "modest")
        assert scene.connection.admission.refusal("modest") is None
        scene.clock.advance(60)
    assert scene.connection.circuit.state == "Closed"
    assert scene.backend.calls.count("create") <= 60 + 60 + 2 * THRESHOLD


@pytest.mark.parametrize("error", CREATIONS)
async def test_a_namespace_that_is_held_back_is_told_so_and_comes_back_by_itself(
    scene: Scene, error: HostingError
) -> None:
    scene.backend.moods["create"] = lambda: error
    for number in range(THRESHOLD):
        assert scene.connection.admission.refusal("greedy") is None
        with pytest.raises(type(error)):
            await scene.create(f"m-{number}", "greedy")
    refusal = scene.connection.admission.refusal("greedy")
    assert refusal is not None
    assert refusal.reason == "NamespaceHeldBack"
    assert "greedy" in refusal.message
    assert error.message in refusal.message
    scene.backend.moods.clear()
    scene.clock.advance(refusal.seconds)
    await scene.create("m-0", "greedy")
    assert scene.connection.admission.refusal("greedy") is None


@pytest.mark.parametrize("error", CREATIONS)
async def test_one_request_that_fails_for_ever_is_nobody_elses(scene: Scene, error: HostingError) -> None:
    scene.backend.moods["create"] = lambda: error
    for _ in range(5 * THRESHOLD):
        with pytest.raises(type(error)):
            await scene.create("m-cursed", "ns")
    assert scene.connection.admission.refusal("ns") is None, "other requests of its namespace go out"
    assert scene.connection.circuit.state == "Closed"


@pytest.mark.parametrize("error", CREATIONS[1:])
async def test_several_namespaces_without_an_answer_are_the_services_failure(scene: Scene, error: HostingError) -> None:
    scene.backend.moods["create"] = lambda: error
    for number in range(THRESHOLD - 1):
        with pytest.raises(type(error)):
            await scene.create(f"m-{number}", "one")
    assert scene.connection.admission.refusal("third") is None
    with pytest.raises(type(error)):
        await scene.create("m-x", "two")
    refusal = scene.connection.admission.refusal("third")
    assert refusal is not None
    assert refusal.reason == "ServiceUnavailable"
    scene.backend.moods.clear()
    scene.clock.advance(refusal.seconds)
    await scene.create("m-y", "third")
    assert scene.connection.admission.refusal("third") is None


async def test_refusals_of_every_namespace_are_still_each_ones_own(scene: Scene) -> None:
    """That the credentials are no good at all, inventories tell."""
    scene.backend.moods["create"] = lambda: AuthenticationError("may not")
    for namespace in "abcdefgh":
        with pytest.raises(AuthenticationError):
            await scene.create("m-1", namespace)
    assert all(scene.connection.admission.refusal(namespace) is None for namespace in "abcdefghi")


async def test_a_creation_that_was_cancelled_on_trial_leaves_the_trial_to_the_next(scene: Scene) -> None:
    scene.backend.moods["create"] = lambda: Unavailable("500")
    for number in range(THRESHOLD):
        with pytest.raises(Unavailable):
            await scene.create(f"m-{number}")
    scene.clock.advance(PAUSE_MAX)
    scene.backend.moods["create"] = asyncio.Event()
    trial = asyncio.create_task(scene.create("m-0"))
    await scene.turns()
    with pytest.raises(Unavailable):
        await scene.create("m-1")
    trial.cancel()
    await asyncio.gather(trial, return_exceptions=True)
    scene.backend.moods.clear()
    await scene.create("m-1")
