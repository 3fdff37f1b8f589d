"""What only libvirt can do wrong: the backend dies between its steps, the daemon hangs, guests outlive it."""

from __future__ import annotations

import asyncio
import threading
from base64 import b64encode
from collections.abc import AsyncIterator, Callable
from functools import partial
from typing import Any

import pytest
from tests.support import beds

from moorage.hosting.contract import CreateRequest, ServerRecord, ServerState
from moorage.hosting.errors import CapacityError, HostingError, NotFound, Retryable, TimedOut, Unavailable
from moorage.hosting.libvirt import definition
from moorage.testing.base import made_only, repeat, until
from moorage.testing.discretion import MARKER, SECRET_DATA, kept_secret, overhear
from moorage.testing.service import Spec

pytestmark = pytest.mark.bed("libvirt")
STEPS = ("_overlay", "_seed", "start", "tell")


class Died(Exception):
    """As if the process had been killed: nothing that the backend would still do is done."""


@pytest.fixture
async def service() -> AsyncIterator[Any]:
    """The bed's daemon, without domains."""
    running = beds.running("libvirt")
    # The binding is there once the bed is.
    from tests.support.services.libvirt import LibvirtService

    async with LibvirtService(running) as found:
        yield found


async def died_before(service: Any, step: str, monkeypatch: pytest.MonkeyPatch) -> CreateRequest:
    """A request whose creation ended before this step."""
    from moorage.hosting.libvirt import making

    def die(*_: object) -> None:
        raise Died

    request: CreateRequest = service.request(user_data=SECRET_DATA)
    with monkeypatch.context() as patch:
        patch.setattr(making, step, die)
        with pytest.raises(Died):
            await service.open().create(request)
    return request


def before(step: str, patch: pytest.MonkeyPatch, act: Callable[[], object]) -> None:
    """Let the backend's thread do this each time before it takes the step."""
    from moorage.hosting.libvirt import making

    take = getattr(making, step)

    def take_after(*arguments: Any) -> Any:
        act()
        return take(*arguments)

    patch.setattr(making, step, take_after)


async def whole(service: Any, request: CreateRequest, record: ServerRecord) -> None:
    """Nothing is missing of the server, and its definition keeps no secret."""
    assert record.state is ServerState.RUNNING
    assert service.volumes() == [f"{record.key}.{suffix}" for suffix in ("iso", "log", "qcow2")]
    seed = (service.state / "pools/servers" / f"{record.key}.iso").read_bytes()
    assert MARKER.encode() in seed
    kept = await service.do(service.definition, record.provider_id)
    assert definition.parse(kept).task is None
    assert b64encode(request.user_data.encode()).decode() not in kept


@pytest.mark.parametrize("step", STEPS)
async def test_a_creation_that_died_is_finished_by_its_repetition(
    service: Any, step: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    request = await died_before(service, step, monkeypatch)
    backend = service.open()
    (half,) = await backend.find(request.key)
    made = await backend.create(request)
    assert made.provider_id == half.provider_id
    assert half.tags == request.tags
    await whole(service, request, made)


@pytest.mark.parametrize("step", STEPS)
async def test_a_creation_that_died_is_finished_by_an_inventory(
    service: Any, step: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    request = await died_before(service, step, monkeypatch)
    (found,) = (await service.open().inventory()).with_key(request.key)
    await whole(service, request, found)


@pytest.mark.parametrize("step", STEPS)
async def test_a_server_whose_creation_died_is_deleted_whole(
    service: Any, step: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    request = await died_before(service, step, monkeypatch)
    backend = service.open()
    (found,) = await backend.find(request.key)
    await backend.delete(found.provider_id)
    assert service.volumes() == []
    with pytest.raises(NotFound):
        await backend.get(found.provider_id)


@pytest.mark.parametrize("step", STEPS)
async def test_a_cancelled_creation_is_finished_by_its_repetition(
    service: Any, step: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    there, go_on = threading.Event(), threading.Event()

    def pause() -> None:
        there.set()
        assert go_on.wait(60)

    before(step, monkeypatch, pause)
    backend, request = service.open(), service.request(user_data=SECRET_DATA)
    creating = asyncio.create_task(backend.create(request))
    assert await asyncio.to_thread(there.wait, 60)
    creating.cancel()
    await asyncio.wait({creating}, timeout=30)
    assert creating.cancelled()
    # What was cancelled goes on in its thread, beside its repetition.
    again = asyncio.create_task(backend.create(request))
    await backend.account()
    go_on.set()
    made = await again
    await whole(service, request, made)
    await made_only(service, request.key, made.provider_id)


@pytest.mark.parametrize("step", STEPS)
async def test_a_creation_in_which_the_daemon_hangs_is_given_up_and_finished_by_its_repetition(
    service: Any, step: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    overhear(caplog)
    backend, request = service.open(**service.short_timeouts(5)), service.request(user_data=SECRET_DATA)
    await repeat(backend.account)
    with monkeypatch.context() as patch:
        before(step, patch, partial(service.stopped, True))
        with pytest.raises((TimedOut, Unavailable)) as caught:
            async with asyncio.timeout(30):
                await backend.create(request)
    await service.faults.clear()
    made = await repeat(lambda: backend.create(request))
    await whole(service, request, made)
    await made_only(service, request.key, made.provider_id)
    kept_secret([service.credentials], [repr(caught.value), repr(made), caplog.text])


async def test_a_creation_in_which_the_daemon_dies_is_not_sent_again(
    service: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    backend, request = service.open(), service.request(user_data=SECRET_DATA)
    sent: list[str] = []
    with monkeypatch.context() as patch:
        before("create", patch, partial(sent.append, request.key))
        before("_overlay", patch, service.restart)
        with pytest.raises(Unavailable):
            await backend.create(request)
    assert sent == [request.key]
    made = await repeat(lambda: backend.create(request))
    await whole(service, request, made)
    await made_only(service, request.key, made.provider_id)


async def test_a_deletion_that_died_is_shown_and_finished_by_its_repetition(
    service: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    from moorage.hosting.libvirt import host

    def die(*_: object) -> None:
        raise Died

    backend = service.open()
    made = await backend.create(service.request())
    with monkeypatch.context() as patch:
        patch.setattr(host, "remove_volumes", die)
        with pytest.raises(Died):
            await backend.delete(made.provider_id)
    (left,) = (await backend.inventory()).with_key(made.key)
    assert left.state is ServerState.TERMINATING
    await backend.delete(made.provider_id)
    assert service.volumes() == []
    assert (await backend.inventory()).servers == ()


async def test_a_start_that_fails_leaves_nothing(service: Any) -> None:
    await service.faults.boot_fails()
    backend = service.open()
    with pytest.raises(HostingError) as caught:
        await backend.create(service.request())
    assert not isinstance(caught.value, Retryable)
    assert service.volumes() == []
    assert (await backend.inventory()).servers == ()


async def test_guests_outlive_the_daemon_and_are_known_again(service: Any) -> None:
    backend = service.open()
    made = await backend.create(service.request())
    before = await service.do(service.guest_pids)
    account = await backend.account()
    await service.faults.restart()
    found = await backend.get(made.provider_id)
    assert (found.state, found.key, found.tags) == (ServerState.RUNNING, made.key, made.tags)
    assert await service.do(service.guest_pids) == before
    assert await backend.account() == account


async def test_a_daemon_that_hangs_is_given_up_and_used_again(service: Any) -> None:
    made = await service.open().create(service.request())
    backend, fresh = (service.open(**service.short_timeouts(2)) for _ in range(2))
    await backend.get(made.provider_id)
    with service.hanging():
        for waiting in (backend, fresh):
            with pytest.raises((TimedOut, Unavailable)):
                async with asyncio.timeout(30):
                    await waiting.get(made.provider_id)
    for again in (backend, fresh):

        async def answers(again: Any = again) -> bool:
            try:
                return bool((await again.get(made.provider_id)).provider_id == made.provider_id)
            except Retryable:
                return False

        await until(service, answers, "an answer")


async def test_events_tell_of_lives_and_of_the_end_of_the_daemon(service: Any) -> None:
    backend = service.open()
    told = backend.events()
    assert await anext(told) == ""
    made = await backend.create(service.request())
    assert await anext(told) == made.provider_id
    await backend.delete(made.provider_id)
    await service.faults.restart()
    with pytest.raises(Unavailable):
        _ = [one async for one in told]
    again = backend.events()
    assert await anext(again) == ""
    await again.aclose()


async def test_a_guest_of_a_network_has_an_address(service: Any) -> None:
    name = await service.do(service.network)
    card = {"type": "network", "name": name}
    backend = service.open(nics=[card])
    made = await backend.create(service.request(settings={"nic": card}))
    shown: list[str] = []

    async def has() -> bool:
        shown[:] = [address.address for address in (await backend.get(made.provider_id)).addresses]
        return bool(shown)

    await until(service, has, "an address")
    assert shown[0].startswith("10.213.0.")


async def test_a_guest_that_does_not_heed_its_power_button_is_cut_off(service: Any) -> None:
    backend = service.open(stopTimeout="1s")
    made = await backend.create(service.request())
    # The boot loader, which runs now, has no ears.
    await backend.stop(made.provider_id)
    assert (await backend.get(made.provider_id)).state is ServerState.STOPPED
    await backend.stop(made.provider_id)
    await backend.start(made.provider_id)
    await backend.start(made.provider_id)
    assert (await backend.get(made.provider_id)).state is ServerState.RUNNING


async def test_a_guest_that_heeds_its_power_button_shuts_down(service: Any) -> None:
    backend = service.open(stopTimeout="120s")
    made = await backend.create(service.request())

    async def booted() -> bool:
        return "booted" in (await backend.console(made.provider_id) or "")

    await until(service, booted, "a guest that booted")
    await backend.stop(made.provider_id)
    assert "reboot: Power down" in (await backend.console(made.provider_id) or "")


async def test_a_limit_of_memory_is_kept(service: Any) -> None:
    backend = service.open(memory="160Mi")
    assert (await backend.capacity()).available == 1
    made = await backend.create(service.request())
    assert (await backend.capacity()).available == 0
    with pytest.raises(CapacityError):
        await backend.create(service.request())
    await backend.resize(made.provider_id, "small")
    assert (await backend.get(made.provider_id)).offering == "small"


async def test_the_socket_is_the_same_service_as_the_port(service: Any) -> None:
    from moorage.hosting.registry import backend

    socket = backend("libvirt").open(Spec(service.running.extra["socket"], settings=service.settings), {})
    try:
        assert await socket.account() == await service.open().account()
    finally:
        await socket.close()


async def test_a_silent_daemon_ends_the_events(service: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    from moorage.hosting.libvirt import events

    monkeypatch.setattr(events, "SILENCE", 0.2)
    told = service.open(**service.short_timeouts(2)).events()
    assert await anext(told) == ""
    with service.hanging(), pytest.raises((TimedOut, Unavailable)):
        async with asyncio.timeout(30):
            await anext(told)
