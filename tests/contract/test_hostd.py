"""What is hostd's own, beside the contract: its ledger, its faults, its keys that mean one server for ever."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from tests.support.hostd import Hostd, in_state, is_gone, until

from moorage.hosting.contract import ServerState
from moorage.hosting.errors import (
    AuthenticationError,
    CapacityError,
    HostingError,
    Invalid,
    KeyConflict,
    QuotaError,
    Retryable,
    Throttled,
    TimedOut,
    Unavailable,
)
from moorage.hosting.local import FACTORY, LocalBackend

ID = "i-0123456789abcdef"
Call = Callable[[LocalBackend, Hostd], Awaitable[Any]]
CALLS: dict[str, Call] = {
    "account": lambda backend, _: backend.account(),
    "inventory": lambda backend, _: backend.inventory(),
    "get": lambda backend, _: backend.get(ID),
    "create": lambda backend, hostd: backend.create(hostd.request()),
    "volumes": lambda backend, _: backend.volumes(),
    "get_many": lambda backend, _: backend.get_many([ID]),
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
    "InsufficientCapacity": CapacityError,
    "QuotaExceeded": QuotaError,
    "Invalid": Invalid,
}


async def test_it_sells_three_sizes_also_at_a_spot_price(backend: LocalBackend) -> None:
    offerings = await backend.offerings()
    assert {o.name for o in offerings} == {"small", "medium", "large"}
    assert (await backend.spot_prices())["small"] == Decimal("0.01")
    assert "process/shell" in (await backend.images() or ())
    capacity = await backend.capacity()
    assert (capacity.limit, capacity.used, capacity.available) == (100, 0, 100)


async def test_where_there_is_no_room_at_the_spot_price_there_may_be_at_the_full_one(
    service: Hostd, backend: LocalBackend
) -> None:
    await service.faults(spotCapacity=1)
    await backend.create(service.request(settings={"spot": True}))
    wanted = {"spot": True, "bootDelay": 0.5}
    with pytest.raises(CapacityError):
        await backend.create(service.request(settings=wanted))
    instead = FACTORY.fallback(wanted)
    assert instead == {"spot": False, "bootDelay": 0.5}
    await backend.create(service.request(settings=instead))
    assert FACTORY.fallback(instead) is None


async def test_the_key_of_a_server_that_is_gone_makes_no_second_one(service: Hostd, backend: LocalBackend) -> None:
    request = service.request()
    made = await backend.create(request)
    await asyncio.gather(*(backend.delete(made.provider_id) for _ in range(5)))
    await is_gone(backend, made.provider_id)
    with pytest.raises(KeyConflict):
        await backend.create(request)
    assert await service.ledger("Created") == await service.ledger("Deleted") == [made.provider_id]


async def test_creations_that_are_given_up_at_any_moment_leave_one_server_each(
    service: Hostd, backend: LocalBackend
) -> None:
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


async def test_a_server_deleted_between_pages_shifts_no_other_out(service: Hostd, backend: LocalBackend) -> None:
    made = [await backend.create(service.request()) for _ in range(6)]
    _, page = await service.call("GET", "servers?limit=2")
    await backend.delete(made[0].provider_id)
    await is_gone(backend, made[0].provider_id)
    _, rest = await service.call("GET", f"servers?limit=10&continue={page['continue']}")
    assert [s["id"] for s in page["items"] + rest["items"]] == [s.provider_id for s in made]


@pytest.mark.parametrize("kind", WRONG)
async def test_a_wrong_answer_that_was_ordered_is_given(service: Hostd, backend: LocalBackend, kind: str) -> None:
    await service.faults(nextErrors=[{"kind": kind, "count": 100}])
    for call in CALLS.values():
        with pytest.raises(WRONG[kind]) as caught:
            await call(backend, service)
        if isinstance(caught.value, Throttled):
            assert caught.value.retry_after == 1.0
    assert await service.ledger() == []


async def test_a_service_that_hangs_is_given_up(service: Hostd) -> None:
    backend = service.open(requestTimeout="200ms", createTimeout="200ms", inventoryTimeout="200ms")
    await service.faults(nextErrors=[{"kind": "Hang", "count": 100}])
    for call in CALLS.values():
        with pytest.raises(TimedOut):
            await call(backend, service)
    await service.faults(latency="500ms")
    with pytest.raises(TimedOut):
        await backend.create(service.request())


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


async def test_answers_are_lost_as_ordered(service: Hostd, backend: LocalBackend) -> None:
    request = service.request()
    await service.faults(loseAnswers=1)
    with pytest.raises(Unavailable) as caught:
        await backend.create(request)
    assert not caught.value.definite
    made = await backend.create(request)
    assert await service.ledger() == [made.provider_id]


async def test_a_call_that_did_its_work_is_answered_with_an_error_as_ordered(
    service: Hostd, backend: LocalBackend
) -> None:
    request = service.request()
    await service.faults(nextErrors=[{"kind": "Internal", "after": True, "operations": ["create"]}])
    with pytest.raises(Unavailable) as caught:
        await backend.create(request)
    assert not caught.value.definite
    made = await backend.create(request)
    assert await service.ledger() == [made.provider_id]


async def test_a_refusal_names_the_field_and_says_what_it_was_told_to(service: Hostd, backend: LocalBackend) -> None:
    await service.faults(nextErrors=[{"kind": "Invalid", "field": "image", "message": "it is gone; write another"}])
    with pytest.raises(Invalid, match="it is gone; write another") as caught:
        await backend.create(service.request())
    assert caught.value.field == "image"
    assert await service.ledger() == []


async def test_a_bucket_of_tokens_is_emptied(service: Hostd, backend: LocalBackend) -> None:
    await service.faults(throttle={"requestsPerSecond": 0.001, "burst": 2, "retryAfter": "7s"})
    await backend.account()
    await backend.account()
    with pytest.raises(Throttled) as caught:
        await backend.create(service.request())
    assert caught.value.retry_after == 7.0
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


async def test_a_server_that_vanished_is_in_the_ledger_as_such(service: Hostd, backend: LocalBackend) -> None:
    made = await backend.create(service.request())
    await in_state(backend, made.provider_id, ServerState.RUNNING)
    await service.faults(vanish=[made.provider_id, "i-unknown"])
    await is_gone(backend, made.provider_id)

    async def told() -> bool:
        return await service.ledger("Vanished") == [made.provider_id]

    await until(told, "the ledger's entry")
    assert await service.ledger("Deleted") == []


async def test_a_service_told_to_ignore_keys_makes_two(service: Hostd) -> None:
    backend = service.open(idempotentCreate=False)
    assert not backend.capabilities.idempotent_create
    await service.faults(ignoreKeys=True)
    request = service.request()
    first, second = await backend.create(request), await backend.create(request)
    assert {s.provider_id for s in await backend.find(request.key)} == {first.provider_id, second.provider_id}
    assert len((await backend.inventory()).with_key(request.key)) == 2


async def test_a_closed_backend_is_unavailable(service: Hostd, backend: LocalBackend) -> None:
    await backend.account()
    await backend.close()
    with pytest.raises(Unavailable):
        await backend.account()


async def test_faults_do_not_touch_the_ledger_or_the_faults_themselves(service: Hostd) -> None:
    await service.faults(nextErrors=[{"kind": "Internal", "count": 1000}], errorRate=1.0, revoked=True)
    assert await service.ledger() == []
    await service.faults()
    await service.open().account()


async def test_the_account_outlives_a_restart(service: Hostd, backend: LocalBackend) -> None:
    account = await backend.account()
    await service.stop()
    await service.start()
    assert await service.open().account() == account


async def test_volumes_and_sizes_outlive_a_restart(tmp_path: Path) -> None:
    service = Hostd(tmp_path / "hostd", ephemeral=False, addresses=("192.0.2.1",))
    await service.start()
    backend = service.open()
    request = service.request()
    made = (await backend.create(request)).provider_id
    await in_state(backend, made, ServerState.RUNNING)
    volume = (await backend.create_volume("v-key", 3, {"a": "b"}, None)).volume_id
    await backend.attach_volume(volume, made)
    await backend.resize(made, "large")
    await backend.attach_address("192.0.2.1", made)
    place = tmp_path / "hostd" / "servers" / made / "root" / "volumes" / "v-key"
    (place / "precious").write_text("data")
    await service.stop()
    await service.start()
    backend = service.open()
    record = await backend.get(made)
    assert (record.offering, [a.address for a in record.addresses][1:]) == ("large", ["192.0.2.1"])
    assert (await backend.create(request)).provider_id == made
    (found,) = await backend.volumes()
    assert (found.volume_id, found.key, found.size_gib, found.attached_to) == (volume, "v-key", 3, made)
    await backend.delete(made)
    await is_gone(backend, made)
    (found,) = await backend.volumes()
    assert found.attached_to is None
    assert (tmp_path / "hostd" / "volumes" / volume / "data" / "precious").read_text() == "data"
    with pytest.raises(KeyConflict):
        await backend.create_volume("v-key", 4, {"a": "b"}, None)
    await service.stop()


async def test_a_batch_is_bounded(backend: LocalBackend) -> None:
    with pytest.raises(Invalid):
        await backend.get_many([f"i-{number}" for number in range(backend.BATCH + 1)])
    assert await backend.get_many([]) == {}


async def test_a_session_is_begun_once_for_all_calls_that_need_one(tmp_path: Path) -> None:
    service = Hostd(tmp_path, simulate=True, token="t", session_length=900.0)
    await service.start()
    try:
        backend = service.open()
        await asyncio.gather(*(backend.account() for _ in range(10)))
        await service.faults(expireSessions=True)
        await asyncio.gather(*(backend.account() for _ in range(10)), backend.create(service.request()))
        assert len(await service.ledger()) == 1
        _, stats = await service.call("GET", "stats")
        assert stats["calls"]["session"] == 2
    finally:
        await service.stop()


async def test_where_a_session_is_wanted_neither_the_token_nor_a_made_up_one_will_do(tmp_path: Path) -> None:
    service = Hostd(tmp_path, simulate=True, token="t", session_length=900.0)
    await service.start()
    try:
        for token, reason in (("t", "SessionRequired"), ("session-x", "SessionRequired"), ("u", "Unauthorized")):
            status, answer = await service._call("GET", "account", None, token)
            assert (status, answer["reason"]) == (401, reason)
        for token in ("session-x", "u", ""):
            status, answer = await service._call("POST", "session", None, token)
            assert (status, answer["reason"]) == (401, "Unauthorized")
        _, session = await service._call("POST", "session", None, "t")
        assert session["expiresIn"] == 900.0
        status, answer = await service._call("POST", "session", None, session["token"])
        assert status == 401, "a session begins no other"
    finally:
        await service.stop()


@pytest.mark.parametrize("kind", ["Internal", "Garbage", "Cut", "Hang"])
async def test_a_login_that_goes_wrong_is_retryable_and_nothing_was_made(tmp_path: Path, kind: str) -> None:
    service = Hostd(tmp_path, simulate=True, token="t", session_length=900.0)
    await service.start()
    try:
        await service.faults(nextErrors=[{"kind": kind, "operations": ["session"]}])
        request = service.request()
        with pytest.raises(Retryable):
            await service.open(createTimeout="2s").create(request)
        assert await service.ledger() == []
        await service.faults()
        await service.open().create(request)
    finally:
        await service.stop()
