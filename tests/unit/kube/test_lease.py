"""The lease: one holder at a time, by clocks that nobody sets."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from tests.support.memory_api import MemoryApi

from moorage.kube.errors import NotLeader, Unavailable
from moorage.kube.kinds import LEASE
from moorage.kube.lease import LeaderLease


class Steady:
    def __init__(self) -> None:
        self.seconds = 1000.0

    def __call__(self) -> float:
        return self.seconds


@pytest.fixture
def api() -> MemoryApi:
    return MemoryApi()


def lease(api: MemoryApi, clock: Steady, identity: str, **options: Any) -> LeaderLease:
    return LeaderLease(api.client, "ns", identity=identity, steady=clock, **options)


def holder(api: MemoryApi) -> Any:
    return api.stored(LEASE, "ns", "moorage-controller")["spec"].get("holderIdentity")


async def test_the_first_creates_and_renews_by_one_write(api: MemoryApi) -> None:
    clock, told = Steady(), list[bool]()
    first = lease(api, clock, "first", on_change=told.append)
    with pytest.raises(NotLeader):
        first.guard()
    assert await first.step() == 5.0
    first.guard()
    api.calls.clear()
    for _ in range(3):
        clock.seconds += 5
        await first.step()
        first.guard()
    assert api.calls == ["update Lease moorage-controller"] * 3
    assert told == [True]
    assert first.terms == 1


async def test_a_leader_that_sleeps_past_its_deadline_cannot_act(api: MemoryApi) -> None:
    clock = Steady()
    first = lease(api, clock, "first")
    await first.step()
    clock.seconds += 11.9
    first.guard()
    clock.seconds += 0.2
    with pytest.raises(NotLeader, match="first does not hold the lease ns/moorage-controller"):
        first.guard()
    assert first.remaining() == 0


async def test_another_waits_for_the_whole_duration_as_it_sees_it(api: MemoryApi) -> None:
    clock = Steady()
    first, second = lease(api, clock, "first"), lease(api, clock, "second")
    await first.step()
    await second.step()  # sees the record now
    clock.seconds += 14.9
    await second.step()
    assert not second.held()
    clock.seconds += 0.2
    await second.step()
    assert second.held()
    assert holder(api) == "second"
    assert api.stored(LEASE, "ns", "moorage-controller")["spec"]["leaseTransitions"] == 1
    await first.step()
    assert not first.held()


async def test_a_renewal_meanwhile_starts_the_wait_anew(api: MemoryApi) -> None:
    clock = Steady()
    first, second = lease(api, clock, "first"), lease(api, clock, "second")
    await first.step()
    for _ in range(10):
        await second.step()
        clock.seconds += 5
        await first.step()
        assert first.held()
        assert not second.held()


async def test_of_two_who_see_it_expired_one_gets_it(api: MemoryApi) -> None:
    clock = Steady()
    await lease(api, clock, "dead").step()
    others = [lease(api, clock, name) for name in ("a", "b")]
    for other in others:
        await other.step()
    clock.seconds += 15
    await asyncio.gather(*(other.step() for other in others))
    assert [other.held() for other in others].count(True) == 1


async def test_a_stale_leader_that_wakes_up_does_not_take_over_again(api: MemoryApi) -> None:
    clock = Steady()
    first, second = lease(api, clock, "first"), lease(api, clock, "second")
    await first.step()
    await second.step()
    clock.seconds += 15
    await second.step()
    await first.step()  # tries with the version it knows: refused
    await first.step()
    assert not first.held()
    assert second.held()


async def test_release_lets_the_next_in_at_once(api: MemoryApi) -> None:
    clock = Steady()
    first, second = lease(api, clock, "first"), lease(api, clock, "second")
    await first.step()
    await second.step()
    await first.release()
    assert not first.held()
    assert holder(api) is None
    await second.step()
    assert second.held()
    api.calls.clear()
    await first.release()
    assert api.calls == [], "nothing to release"


async def test_a_restart_with_the_same_identity_need_not_wait(api: MemoryApi) -> None:
    clock = Steady()
    await lease(api, clock, "same").step()
    again = lease(api, clock, "same")
    await again.step()
    assert again.held()


async def test_failures_are_retried_sooner_as_the_deadline_nears(api: MemoryApi) -> None:
    clock, told = Steady(), list[bool]()
    first = lease(api, clock, "first", on_change=told.append)
    await first.step()
    clock.seconds += 5
    api.failures.append(Unavailable(503, "ServiceUnavailable", "no"))
    assert await first.step() <= 2.4
    assert first.held(), "until its deadline"
    clock.seconds += 6
    api.failures.append(Unavailable(503, "ServiceUnavailable", "no"))
    assert await first.step() <= 0.25
    clock.seconds += 2
    api.failures.append(Unavailable(503, "ServiceUnavailable", "no"))
    await first.step()
    assert told == [True, False]
    await first.step()
    assert first.held()
    assert first.terms == 2


async def test_an_unknown_outcome_is_found_by_reading(api: MemoryApi) -> None:
    clock = Steady()
    first = lease(api, clock, "first")
    await first.step()
    api.change(LEASE, "ns", "moorage-controller")  # as our own renewal whose answer was lost
    await first.step()
    await first.step()
    assert first.held()


async def test_waiting(api: MemoryApi) -> None:
    clock = Steady()
    first = lease(api, clock, "first")
    waiting = asyncio.create_task(first.wait_held())
    await asyncio.sleep(0)
    await first.step()
    await asyncio.wait_for(waiting, 5)
    lost = asyncio.create_task(first.wait_lost())
    await asyncio.sleep(0)
    await first.release()
    await asyncio.wait_for(lost, 5)


def test_senseless_times_are_refused(api: MemoryApi) -> None:
    with pytest.raises(ValueError, match="retry <= renew"):
        lease(api, Steady(), "x", duration=5.0, renew=5.0)
