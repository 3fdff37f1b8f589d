"""What every backend does when the service is slow, wrong, silent or lying."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Any

import pytest
from tests.support.hostd import Hostd, in_state, is_gone, until

from moorage.hosting.contract import ServerState
from moorage.hosting.errors import (
    AuthenticationError,
    CapacityError,
    HostingError,
    QuotaError,
    Retryable,
    Throttled,
    TimedOut,
    Unavailable,
)
from moorage.hosting.local import LocalBackend

ID = "i-0123456789abcdef"
Call = Callable[[LocalBackend, Hostd], Awaitable[Any]]
CALLS: dict[str, Call] = {
    "account": lambda backend, _: backend.account(),
    "offerings": lambda backend, _: backend.offerings(),
    "images": lambda backend, _: backend.images(),
    "capacity": lambda backend, _: backend.capacity(),
    "inventory": lambda backend, _: backend.inventory(),
    "get": lambda backend, _: backend.get(ID),
    "find": lambda backend, _: backend.find("m-key"),
    "create": lambda backend, hostd: backend.create(hostd.request()),
    "delete": lambda backend, _: backend.delete(ID),
    "retag": lambda backend, _: backend.retag(ID, {"a": "b"}),
}
WRONG: dict[str, type[HostingError]] = {
    "Internal": Unavailable,
    "Unavailable": Unavailable,
    "BareNotFound": Unavailable,
    "Garbage": Unavailable,
    "Huge": Unavailable,
    "Cut": Unavailable,
    "Throttled": Throttled,
    "Unauthorized": AuthenticationError,
}


@pytest.mark.parametrize("kind", WRONG)
async def test_a_wrong_answer_is_a_typed_error(service: Hostd, kind: str) -> None:
    backend = service.open(requestTimeout="10s")
    await service.faults(nextErrors=[{"kind": kind, "count": 100}])
    for name, call in CALLS.items():
        if kind in {"Garbage", "Huge"} and name == "delete":
            continue  # the body of that answer is of no interest
        with pytest.raises(WRONG[kind]) as caught:
            await call(backend, service)
        assert caught.value.definite is (WRONG[kind] is not Unavailable)
        assert "\n" not in str(caught.value)
        assert len(str(caught.value)) <= 512
        if kind == "Throttled":
            assert isinstance(caught.value, Retryable)
            assert caught.value.retry_after == 1.0


async def test_a_service_that_never_answers_is_given_up(service: Hostd) -> None:
    backend = service.open(requestTimeout="200ms", createTimeout="200ms", inventoryTimeout="200ms")
    await service.faults(nextErrors=[{"kind": "Hang", "count": 100}])
    for call in CALLS.values():
        with pytest.raises(TimedOut) as caught:
            await call(backend, service)
        assert not caught.value.definite
    await service.faults()
    await service.open().account()


async def test_a_service_that_is_not_there_is_unavailable(service: Hostd) -> None:
    backend = service.open()
    assert service.running is not None
    await service.running.stop()
    for call in CALLS.values():
        with pytest.raises(Unavailable):
            await call(backend, service)


async def test_an_answer_that_was_lost_is_found_by_repeating(service: Hostd, backend: LocalBackend) -> None:
    request = service.request()
    await service.faults(loseAnswers=1)
    with pytest.raises(Unavailable) as caught:
        await backend.create(request)
    assert not caught.value.definite
    made = await backend.create(request)
    assert await service.ledger() == [made.provider_id]

    await service.faults(loseAnswers=1)
    with pytest.raises(Unavailable):
        await backend.retag(made.provider_id, {"a": "b"})
    await backend.retag(made.provider_id, {"a": "b"})
    assert (await backend.get(made.provider_id)).tags["a"] == "b"

    await service.faults(loseAnswers=1)
    # The client of a repeatable call may have sent it twice by itself: both outcomes are the same to the caller.
    with suppress(Unavailable):
        await backend.delete(made.provider_id)
    await backend.delete(made.provider_id)
    await is_gone(backend, made.provider_id)


async def test_a_creation_is_sent_once_even_when_its_answer_is_lost(service: Hostd, backend: LocalBackend) -> None:
    await service.faults(loseAnswers=1, ignoreKeys=True)
    with pytest.raises(Unavailable):
        await backend.create(service.request())
    assert len(await service.ledger()) == 1


async def test_a_cancelled_creation_is_found_by_repeating(service: Hostd, backend: LocalBackend) -> None:
    await backend.account()
    for pause in (0.0, 0.001, 0.003, 0.01, 0.03):
        request = service.request()
        creating = asyncio.create_task(backend.create(request))
        await asyncio.sleep(pause)
        creating.cancel()
        with suppress(asyncio.CancelledError):
            await creating
        made = await backend.create(request)
        assert [s.provider_id for s in await backend.find(request.key)] == [made.provider_id]
    assert len(await service.ledger()) == 5


async def test_a_late_answer_times_out_and_is_found_by_repeating(service: Hostd) -> None:
    hasty, patient = service.open(createTimeout="100ms"), service.open()
    request = service.request()
    await service.faults(latency="500ms")
    with pytest.raises(TimedOut):
        await hasty.create(request)
    await service.faults()
    made = await patient.create(request)
    assert [s.provider_id for s in (await patient.inventory()).servers] == [made.provider_id]
    assert len(await service.ledger()) == 1


async def test_one_page_that_fails_fails_the_inventory(service: Hostd) -> None:
    backend = service.open(pageSize=2, requestTimeout="300ms")
    for _ in range(7):
        await service.open().create(service.request())
    for skip in range(4):
        for kind in ("Internal", "Garbage", "Cut", "Throttled", "BareNotFound", "Hang"):
            # A cut connection is asked again by the HTTP client itself: it fails twice.
            errors = [{"kind": kind, "skip": skip, "count": 2, "operations": ["list"]}]
            await service.faults(nextErrors=errors)
            with pytest.raises(Retryable):
                await backend.inventory()
    await service.faults()
    assert len((await backend.inventory()).servers) == 7


async def test_listings_may_lag_but_get_does_not(service: Hostd, backend: LocalBackend) -> None:
    await service.faults(listingLag="300ms")
    request = service.request()
    made = await backend.create(request)
    assert (await backend.inventory()).servers == ()
    assert await backend.find(request.key) == ()
    assert (await backend.get(made.provider_id)).key == request.key

    async def listed() -> bool:
        return bool(await backend.find(request.key))

    await until(listed, "the listing")
    await service.faults(listingLag="1h")
    await backend.delete(made.provider_id)
    await is_gone(backend, made.provider_id)
    assert len((await backend.inventory()).servers) == 1


async def test_throttling_is_told_with_the_time_to_wait(service: Hostd, backend: LocalBackend) -> None:
    await service.faults(throttle={"requestsPerSecond": 0.001, "burst": 2, "retryAfter": "7s"})
    await backend.account()
    await backend.account()
    with pytest.raises(Throttled) as caught:
        await backend.create(service.request())
    assert caught.value.retry_after == 7.0
    assert await service.ledger() == []


@pytest.mark.parametrize(("kind", "error"), [("InsufficientCapacity", CapacityError), ("QuotaExceeded", QuotaError)])
async def test_a_typed_refusal_creates_nothing(
    service: Hostd, backend: LocalBackend, kind: str, error: type[HostingError]
) -> None:
    await service.faults(nextErrors=[{"kind": kind, "operations": ["create"]}])
    with pytest.raises(error) as caught:
        await backend.create(service.request())
    assert caught.value.definite
    assert await service.ledger() == []


async def test_a_server_whose_boot_never_ends_stays_pending_and_can_be_deleted(
    service: Hostd, backend: LocalBackend
) -> None:
    await service.faults(bootNever=True)
    made = await backend.create(service.request())
    await asyncio.sleep(0.1)
    assert (await backend.get(made.provider_id)).state is ServerState.PENDING
    await backend.delete(made.provider_id)
    await is_gone(backend, made.provider_id)


async def test_a_boot_that_fails_is_told(service: Hostd, backend: LocalBackend) -> None:
    await service.faults(bootFail=True)
    made = await backend.create(service.request())
    assert (await in_state(backend, made.provider_id, ServerState.FAILED)).message


async def test_a_server_may_vanish(service: Hostd, backend: LocalBackend) -> None:
    made = await backend.create(service.request())
    await in_state(backend, made.provider_id, ServerState.RUNNING)
    await service.faults(vanish=[made.provider_id, "i-unknown"])
    await is_gone(backend, made.provider_id)
    assert (await backend.inventory()).servers == ()

    async def told() -> bool:
        return await service.ledger("Vanished") == [made.provider_id]

    await until(told, "the ledger's entry")
    assert await service.ledger("Deleted") == []


async def test_a_service_without_idempotency_makes_two(service: Hostd) -> None:
    backend = service.open(idempotentCreate=False)
    assert not backend.capabilities.idempotent_create
    await service.faults(ignoreKeys=True)
    request = service.request()
    first, second = await backend.create(request), await backend.create(request)
    assert first.provider_id != second.provider_id
    assert {s.provider_id for s in await backend.find(request.key)} == {first.provider_id, second.provider_id}
    assert len((await backend.inventory()).with_key(request.key)) == 2


async def test_a_closed_backend_is_unavailable(service: Hostd, backend: LocalBackend) -> None:
    await backend.account()
    await backend.close()
    await backend.close()
    with pytest.raises(Unavailable):
        await backend.account()


async def test_faults_do_not_touch_the_ledger_or_the_faults_themselves(service: Hostd) -> None:
    await service.faults(nextErrors=[{"kind": "Internal", "count": 1000}], errorRate=1.0)
    assert await service.ledger() == []
    await service.faults()
    await service.open().account()
