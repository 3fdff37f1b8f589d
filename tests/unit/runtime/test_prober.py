"""The prober's economics: one timer, no work before it is due, and nobody waits for somebody else's dead target."""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from collections.abc import AsyncIterator
from typing import Any

import pytest
from tests.unit.runtime.test_onetimer import CountingClock

from moorage.api.probes import MetricQuery
from moorage.core.policy.answers import Answer, unknown
from moorage.runtime.metrics import Metrics
from moorage.runtime.onetimer import OneTimer
from moorage.runtime.prober import Prober
from moorage.runtime.probing import Question
from moorage.runtime.queue import WorkQueue
from moorage.runtime.turns import COMMON, PER_NAMESPACE, PER_TARGET

YES = Answer(True, "ComparisonTrue", "yes", 1.0)
NO = Answer(False, "ComparisonFalse", "no", 0.0)


def question(
    policy: str = "p", host: str = "prom", condition: str = "c", namespace: str = "ns", **fields: Any
) -> Question:
    given = {
        "url": f"http://{host}",
        "query": "up",
        "comparison": "Equal",
        "threshold": 1,
        "interval": "100s",
        **fields,
    }
    return Question(namespace, policy, f"uid-{policy}", condition, MetricQuery.from_dict(given))


class World:
    """A prober whose targets answer as told; ``hang`` names hosts whose requests wait until ``release``."""

    def __init__(self, **options: Any) -> None:
        self.clock = CountingClock()
        self.timers = OneTimer(self.clock)
        self.changed: list[tuple[str, str]] = []
        self.asked: Counter[str] = Counter()
        self.running: Counter[str] = Counter()
        self.most: Counter[str] = Counter()
        self.answers: dict[str, Answer | BaseException] = {}
        self.hang: set[str] = set()
        self.release = asyncio.Event()
        self.metrics = Metrics(process=False)
        self.prober = Prober(
            self.ask, self.changed.append, self.timers, metrics=self.metrics, rng=random.Random(7), **options
        )

    async def ask(self, asked: Question) -> Answer:
        host = asked.probe.url.partition("://")[2]
        self.asked[asked.policy] += 1
        self.running[host] += 1
        self.most[host] = max(self.most[host], self.running[host])
        try:
            if host in self.hang:
                await self.release.wait()
            answer = self.answers.get(asked.policy, self.answers.get(host, YES))
            if isinstance(answer, BaseException):
                raise answer
            return answer
        finally:
            self.running[host] -= 1

    def watch(self, *questions: Question) -> None:
        for key in {(q.namespace, q.policy) for q in questions}:
            asked = {q.condition: q for q in questions if (q.namespace, q.policy) == key}
            self.prober.watch(key, asked)

    def holds(self, policy: str = "p", condition: str = "c", namespace: str = "ns") -> Any:
        sample = self.prober.samples((namespace, policy)).get(condition)
        return None if sample is None else (sample.holds, sample.reason)

    async def answer(self) -> None:
        """What hangs now is answered, and what begins after that hangs."""
        now, self.release = self.release, asyncio.Event()
        now.set()
        await settle()

    async def pass_(self, seconds: float) -> None:
        self.clock.advance(seconds)
        await settle()


async def settle() -> None:
    """Let everything that can go on go on: tasks of this loop, none of which waits for anything real."""
    for _ in range(50):
        await asyncio.sleep(0)


@pytest.fixture
async def world() -> AsyncIterator[World]:
    world = World()
    yield world
    world.release.set()
    await world.prober.close()
    assert not world.clock.live


async def test_ten_thousand_policies_wait_with_one_timer_and_cost_nothing_until_they_are_due(world: World) -> None:
    queue: WorkQueue[int] = WorkQueue("policies", clock=world.timers)
    for number in range(10_000):
        world.watch(question(f"p{number}", host=f"h{number % 100}"))
        queue.add_after(number, 1_000_000 + number)
    while len(world.changed) < 10_000:
        await settle()
    assert set(world.asked.values()) == {1}
    assert len(world.clock.live) == 1
    before = world.clock.fired
    await world.pass_(89.9)
    assert world.clock.fired == before, "woken although nothing was due"
    assert sum(world.asked.values()) == 10_000
    while world.clock.next_timer() is not None and world.clock.monotonic() < 100.5:
        await world.pass_(min(0.5, 100.5 - world.clock.monotonic()) or 0.5)
    while sum(world.asked.values()) < 20_000:
        await settle()
    assert set(world.asked.values()) == {2}
    assert world.clock.most == 1, "no more than one timer at any time"
    assert len(world.changed) == 10_000, "nothing changed, so no policy was looked at again"
    assert max(world.most.values()) <= COMMON
    queue.close()


async def test_only_another_truth_or_reason_has_the_policy_looked_at(world: World) -> None:
    world.watch(question())
    await settle()
    assert (world.holds(), world.changed) == ((True, "ComparisonTrue"), [("ns", "p")])
    first = world.prober.samples(("ns", "p"))["c"]
    for answer, changes in ((Answer(True, "ComparisonTrue", "yes, 2", 2.0), 1), (NO, 2), (NO, 2), (YES, 3)):
        world.answers["p"] = answer
        await world.pass_(100)
        assert len(world.changed) == changes
        value = world.metrics.registry.get_sample_value(
            "moorage_policy_condition_value", {"namespace": "ns", "policy": "p", "condition": "c"}
        )
        assert value == answer.value, "the metric is fresher than the sample"
        if changes == 1:
            assert world.prober.samples(("ns", "p"))["c"] is first
    assert world.prober.samples(("ns", "p"))["c"].at == world.clock.now()


async def test_a_target_that_hangs_keeps_nobody_else_waiting_and_its_own_are_told(world: World) -> None:
    world.hang.add("dead")
    world.watch(*(question(f"dead{n}", "dead") for n in range(500)), *(question(f"live{n}", "live") for n in range(50)))
    await settle()
    assert all(world.holds(f"live{n}") == (True, "ComparisonTrue") for n in range(50))
    assert world.running["dead"] == COMMON
    await world.pass_(100)
    assert all(world.asked[f"live{n}"] == 2 for n in range(50)), "asked again in their time"
    told = Counter(world.holds(f"dead{n}") for n in range(500))
    assert told == {(None, "TargetBusy"): 500 - COMMON, None: COMMON}


async def test_a_namespace_that_asks_much_and_slowly_keeps_no_other_waiting_at_a_shared_target(world: World) -> None:
    world.hang.add("prom/slow")
    greedy = [question(f"p{n}", "prom/slow", namespace="greedy") for n in range(500)]
    world.watch(*greedy)
    modest = [question("q", "prom/quick", namespace=f"n{n}") for n in range(40)]
    world.watch(*modest)
    await settle()
    assert all(world.holds("q", namespace=f"n{n}") == (True, "ComparisonTrue") for n in range(40))
    assert world.running["prom/slow"] == COMMON
    world.watch(*(question(f"m{n}", "prom/slow", namespace=f"n{n}") for n in range(40)))
    await settle()
    assert world.running["prom/slow"] == PER_TARGET
    world.release.set()
    while any(world.holds(f"m{n}", namespace=f"n{n}") is None for n in range(40)):  # noqa: ASYNC110 - no event tells
        await asyncio.sleep(0)
    answered = sum(world.holds(f"p{n}", namespace="greedy") is not None for n in range(500))
    assert answered <= 40, "one of each in turn, not first come, first served"


async def test_who_is_alone_at_a_target_leaves_none_of_it_idle(world: World) -> None:
    world.hang.add("own")
    world.watch(*(question(f"p{n}", "own", interval="30s") for n in range(40)))
    for _ in range(7):
        await world.pass_(2)
        await world.answer()
    assert all(world.holds(f"p{n}") == (True, "ComparisonTrue") for n in range(40)), "2 s each, and nobody was refused"


async def test_what_a_namespace_has_beyond_its_share_goes_round_once_others_wait(world: World) -> None:
    world.hang.update(("prom/greedy", "prom/modest"))
    world.watch(*(question(f"p{n}", "prom/greedy", namespace="greedy") for n in range(50)))
    await settle()
    assert world.running["prom/greedy"] == COMMON
    world.watch(*(question(f"q{n}", "prom/modest", namespace=f"n{n % 5}") for n in range(20)))
    await settle()
    assert world.running["prom/modest"] == PER_TARGET - COMMON, "some were kept for whoever comes"
    await world.answer()
    assert world.running["prom/greedy"] <= PER_NAMESPACE
    assert sum(world.running.values()) == PER_TARGET


async def test_what_is_slow_for_one_namespace_is_so_for_it_alone(world: World) -> None:
    world.answers["s0"] = unknown("TargetTimeout", "no answer in time")
    world.watch(question("s0", "prom", namespace="slow"))
    await settle()
    world.hang.add("prom")
    world.watch(*(question(f"s{n}", namespace="slow") for n in range(1, 5)))
    world.watch(*(question(f"q{n}", namespace="quick") for n in range(5)))
    await settle()
    assert world.asked["s1"] + world.asked["s2"] + world.asked["s3"] + world.asked["s4"] == 1
    assert sum(world.asked[f"q{n}"] for n in range(5)) == COMMON - 1


@pytest.mark.parametrize(
    "hosts",
    [
        ("https://h", "https://h:443", "https://h:0443", "https://H/", "https://h:00443/x"),
        ("https://[::1]", "https://[0:0:0:0:0:0:0:1]:443"),
    ],
)
async def test_however_a_target_is_spelled_it_is_one_target(world: World, hosts: tuple[str, ...]) -> None:
    world.hang.update(url.partition("://")[2] for url in hosts)
    for n, url in enumerate(hosts * 10):
        world.watch(question(f"p{n}", url=url))
    await settle()
    assert sum(world.asked.values()) == COMMON


async def test_after_a_time_out_one_at_a_time_is_tried_and_all_again_once_it_answers(world: World) -> None:
    world.answers["slow"] = unknown("TargetTimeout", "no answer in time")
    world.watch(*(question(f"p{n}", "slow") for n in range(20)))
    await settle()
    assert all(world.holds(f"p{n}") == (None, "TargetTimeout") for n in range(20))
    world.hang.add("slow")
    await world.pass_(100)
    assert world.running["slow"] == 1
    world.answers["slow"] = YES
    world.release.set()
    await settle()
    assert all(world.holds(f"p{n}") == (True, "ComparisonTrue") for n in range(20))


async def test_what_a_target_owes_to_all_is_told_to_all_who_wait_there(world: World) -> None:
    world.answers["gone"] = unknown("TargetUnreachable", "cannot be connected to", by_target=True)
    world.hang.add("gone")
    world.watch(*(question(f"p{n}", "gone") for n in range(100)))
    await settle()
    world.release.set()
    await settle()
    assert all(world.holds(f"p{n}") == (None, "TargetUnreachable") for n in range(100))
    assert sum(world.asked.values()) == COMMON


async def test_requests_are_bounded_over_all_targets_and_those_of_a_namespace_among_them() -> None:
    world = World(at_once=10)
    hosts = [f"h{n}" for n in range(30)]
    world.hang.update(hosts)
    world.watch(*(question(f"p{n}", host) for n, host in enumerate(hosts)))
    await settle()
    assert sum(world.running.values()) == 2
    world.watch(*(question("q", host, namespace=f"n{n}") for n, host in enumerate(hosts)))
    await settle()
    assert sum(world.running.values()) == 10
    world.release.set()
    await settle()
    assert all(world.holds(f"p{n}") for n in range(30))
    await world.prober.close()


@pytest.mark.parametrize("seed", range(20))
async def test_whatever_waits_gets_its_turn_whichever_bound_it_waited_for(seed: int) -> None:
    rng = random.Random(seed)
    world = World(at_once=rng.choice([1, 4, 8, 16]))
    ask = world.ask

    async def slowly(asked: Question) -> Answer:
        for _ in range(rng.randrange(6)):
            await asyncio.sleep(0)
        return await ask(asked)

    world.prober._ask = slowly
    for n in range(300):
        host, namespace = f"h{rng.randrange(5)}", f"n{min(rng.randrange(9), rng.randrange(9))}"
        world.watch(question(f"p{n}", host, namespace=namespace))
        if rng.random() < 0.3:
            world.prober.forget((namespace, f"p{n}"))
        if rng.random() < 0.1:
            await asyncio.sleep(0)
    for _ in range(100):
        await settle()
    keys = list(world.prober._probes)
    assert keys
    assert all(world.prober.samples(key) for key in keys)
    assert not world.prober._busy
    assert not world.prober._running
    await world.prober.close()


async def test_a_policy_that_goes_is_asked_about_no_more_also_while_it_is(world: World) -> None:
    world.hang.add("prom")
    world.watch(question("a"), question("b", "other"))
    await settle()
    world.prober.forget(("ns", "a"))
    world.prober.forget(("ns", "b"))
    await settle()
    assert (len(world.prober), world.running["prom"], world.clock.next_timer()) == (0, 0, None)
    assert b'policy="' not in world.metrics.render()
    await world.pass_(1000)
    assert world.asked == {"a": 1, "b": 1}


async def test_who_goes_before_the_request_has_begun_gives_the_turn_back(world: World) -> None:
    """A policy that is made and deleted, or edited twice, in one breath."""
    world.watch(question("stays"))
    await settle()
    for n in range(3 * PER_TARGET):
        world.watch(question(f"p{n}"))
        world.prober.forget(("ns", f"p{n}"))
    await settle()
    assert world.asked == {"stays": 1}
    world.hang.add("prom")
    world.watch(*(question(f"q{n}", namespace=f"n{n}") for n in range(2 * PER_TARGET)))
    await settle()
    assert world.running["prom"] == PER_TARGET


async def test_who_goes_at_once_leaves_room_among_all_requests() -> None:
    world = World(at_once=4)
    for n in range(8):
        world.watch(question(f"p{n}", f"h{n}"))
        world.prober.forget(("ns", f"p{n}"))
    world.watch(question("last"))
    await settle()
    assert world.holds("last") == (True, "ComparisonTrue")
    await world.prober.close()


async def test_an_edit_asks_the_new_question_at_once_and_forgets_the_old_answer(world: World) -> None:
    world.watch(question("p", condition="kept"), question("p", condition="edited"))
    await settle()
    world.hang.add("prom")
    world.watch(question("p", condition="kept"), question("p", condition="edited", query="down"))
    await settle()
    assert world.holds("p", "kept") == (True, "ComparisonTrue")
    assert world.holds("p", "edited") is None
    assert world.asked["p"] == 3
    world.release.set()
    await settle()
    assert world.holds("p", "edited") == (True, "ComparisonTrue")


async def test_a_policy_of_the_same_name_is_another_one(world: World) -> None:
    asked = question()
    world.watch(asked)
    await settle()
    world.hang.add("prom")
    world.prober.watch(("ns", "p"), {"c": Question("ns", "p", "another", "c", asked.probe)})
    assert world.holds() is None


async def test_a_secret_that_changes_is_tried_at_once(world: World) -> None:
    secret: dict[str, Any] = {"credentialsSecretRef": {"name": "token"}, "url": "https://prom"}
    world.answers["p"] = unknown("SecretNotFound", "there is no Secret")
    world.watch(question(**secret), question("other"))
    await settle()
    world.answers["p"] = YES
    world.prober.secret_changed("elsewhere", "token")
    world.prober.secret_changed("ns", "token")
    await settle()
    assert (world.holds(), world.asked) == ((True, "ComparisonTrue"), {"p": 2, "other": 1})
    world.hang.add("prom")
    await world.pass_(100)
    world.prober.secret_changed("ns", "token")
    world.release.set()
    await settle()
    assert world.asked["p"] == 4, "asked with the old one, and then with the new one"


async def test_an_error_of_ours_is_an_unknown_reading_and_the_next_is_asked(
    world: World, caplog: pytest.LogCaptureFixture
) -> None:
    world.answers["p"] = RuntimeError("a bug")
    world.watch(question())
    await settle()
    assert world.holds() == (None, "AskingFailed")
    assert "a bug" in caplog.text
    world.answers["p"] = YES
    await world.pass_(100)
    assert world.holds() == (True, "ComparisonTrue")


async def test_intervals_do_not_stay_together(world: World) -> None:
    world.watch(*(question(f"p{n}", f"h{n}") for n in range(50)))
    await settle()
    moments = set[float]()
    while len(moments) < 50 and world.clock.monotonic() < 101:
        before = sum(world.asked.values())
        wait = world.clock.next_timer()
        assert wait is not None
        await world.pass_(wait)
        moments |= {world.clock.monotonic()} if sum(world.asked.values()) > before else set()
    assert len(moments) == 50
    assert 90 <= min(moments) < max(moments) <= 100
