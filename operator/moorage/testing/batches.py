"""Abilities that save calls or tell more: Images, Events, BatchGet, BatchDelete, Spot."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import aclosing, contextmanager, suppress
from importlib import import_module
from typing import Any

import pytest

from moorage.hosting.abilities import Ability
from moorage.hosting.contract import Backend
from moorage.hosting.errors import HostingError
from moorage.testing.base import Contract, finish, in_state, is_gone, needs_ability, needs_fault, needs_hanging
from moorage.testing.promises import keeps
from moorage.testing.proxy import FaultProxy
from moorage.testing.service import ServiceUnderTest

NOTICED = 60.0
"""Seconds within which a backend notices that no more events come."""


class BatchesContract(Contract):
    """Many at once, and hints."""

    @keeps("MUST NOT leave out one that `create` would take")
    async def test_the_image_that_is_booted_is_listed(self, service: ServiceUnderTest, backend: Backend) -> None:
        images = await needs_ability(backend, Ability.IMAGES).images()
        assert service.image in images
        assert len(set(images)) == len(images)

    async def test_spot_prices_are_of_offerings(self, service: ServiceUnderTest, backend: Backend) -> None:
        prices = await needs_ability(backend, Ability.SPOT).spot_prices()
        assert all(price > 0 for price in prices.values())
        known = {offering.name for offering in await backend.offerings()}
        assert not known or set(prices) <= known

    @keeps("One id that is gone MUST NOT make the others fail")
    async def test_many_are_read_at_once_also_where_one_is_gone(
        self, service: ServiceUnderTest, backend: Backend
    ) -> None:
        batch = needs_ability(backend, Ability.BATCH_GET)
        assert batch.BATCH >= 2
        requests = [service.request() for _ in range(service.few)]
        ids = [(await backend.create(request)).provider_id for request in requests]
        gone = ids.pop(0)
        await backend.delete(gone)
        await is_gone(service, backend, gone)
        found = await batch.get_many([gone, *ids])
        assert set(found) == {gone, *ids}
        assert found[gone] is None
        assert [found[i].key for i in ids] == [request.key for request in requests[1:]]
        assert await batch.get_many([gone]) == {gone: None}

    @keeps("ids that are gone are no error, and MUST NOT keep the others")
    async def test_many_are_deleted_at_once_also_where_one_is_gone(
        self, service: ServiceUnderTest, backend: Backend
    ) -> None:
        batch = needs_ability(backend, Ability.BATCH_DELETE)
        assert batch.BATCH >= 2
        gone, *others, stays = [
            (await backend.create(service.request())).provider_id for _ in range(max(3, service.few))
        ]
        await backend.delete(gone)
        await is_gone(service, backend, gone)
        for _ in range(2):
            await batch.delete_many([gone, *others])
        for provider_id in others:
            await is_gone(service, backend, provider_id)
        assert (await backend.get(stays)).provider_id == stays

    @keeps("an empty string MUST come once it is listening")
    async def test_events_tell_of_what_appears_and_goes(self, service: ServiceUnderTest, backend: Backend) -> None:
        needs_ability(backend, Ability.EVENTS)
        async with _Listener(service.open()) as heard:
            await heard.has("", service.patience)
            request = service.request()
            made = await finish(service, backend, request)
            await heard.has(made.provider_id, service.patience)
            await in_state(service, backend, made.provider_id)
            heard.ids.clear()
            await backend.delete(made.provider_id)
            await heard.has(made.provider_id, service.patience)
            await is_gone(service, backend, made.provider_id)

    async def test_events_tell_of_what_others_did(self, service: ServiceUnderTest, backend: Backend) -> None:
        needs_ability(backend, Ability.EVENTS)
        needs_fault(service, "vanish")
        made = await backend.create(service.request())
        await in_state(service, backend, made.provider_id)
        async with _Listener(backend) as heard:
            await heard.has("", service.patience)
            # Nothing is asked of the service here that could tell of them otherwise.
            foreign = await service.foreign()
            await heard.has(foreign, service.patience)
            heard.ids.clear()
            await service.faults.vanish(made.provider_id)
            await heard.has(made.provider_id, service.patience)

    @keeps("MUST notice within 60 s that the service is gone")
    async def test_the_end_of_the_service_ends_its_events(self, service: ServiceUnderTest, proxy: FaultProxy) -> None:
        backend = service.open_through(proxy)
        needs_ability(backend, Ability.EVENTS)
        async with _Listener(backend) as heard:
            await heard.has("", service.patience)
            await proxy.stop()
            done, _ = await asyncio.wait({heard.task}, timeout=NOTICED)
            assert done, "the backend goes on listening to nothing"
            assert isinstance(heard.task.exception(), HostingError)

    @keeps("MUST notice within 60 s that the service is gone")
    async def test_events_that_fall_silent_are_given_up(self, service: ServiceUnderTest, proxy: FaultProxy) -> None:
        backend = service.open_through(proxy)
        needs_ability(backend, Ability.EVENTS)
        with _soon_uneasy(service) as allowed:
            async with _Listener(backend) as heard:
                await heard.has("", service.patience)
                proxy.freeze()
                done, _ = await asyncio.wait({heard.task}, timeout=allowed)
                assert done, (
                    f"the backend still listens {allowed:g} s after the last byte: let it take silence for the end, "
                    "with a heartbeat where the service has nothing to say for long"
                )
                assert isinstance(heard.task.exception(), HostingError)

    @keeps("an empty string MUST come once it is listening")
    async def test_after_the_service_came_back_events_may_have_been_missed(self, service: ServiceUnderTest) -> None:
        backend = service.open()
        needs_ability(backend, Ability.EVENTS)
        needs_fault(service, "restart")
        async with _Listener(backend) as heard:
            await heard.has("", service.patience)
            heard.ids.clear()
            await service.faults.restart()
            with suppress(HostingError):
                await heard.has("", NOTICED)

    @keeps("MUST notice within 60 s that the service is gone")
    async def test_a_service_that_hangs_ends_its_events(self, service: ServiceUnderTest) -> None:
        backend = service.open()
        needs_ability(backend, Ability.EVENTS)
        needs_hanging(service)
        async with _Listener(backend) as heard:
            await heard.has("", service.patience)
            await service.faults.hang()
            done, _ = await asyncio.wait({heard.task}, timeout=NOTICED)
            await service.faults.clear()
            assert done, "the backend goes on listening to nothing"
            assert isinstance(heard.task.exception(), HostingError)


@contextmanager
def _soon_uneasy(service: ServiceUnderTest) -> Iterator[float]:
    """How many seconds of silence a backend may bear: few, where the harness says how to make them few."""
    if not service.silence:
        yield NOTICED
        return
    module, _, name = service.silence.partition(":")
    kept = getattr(import_module(module), name)
    assert kept < NOTICED, f"{service.silence} lets the backend listen to nothing for {kept:g} s"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(import_module(module), name, service.calm)
        yield service.calm + service.soon


class _Listener:
    """Reads events beside the test."""

    def __init__(self, backend: Any) -> None:
        self._backend = backend
        self.ids: list[str] = []
        self._news = asyncio.Event()
        self.task: asyncio.Task[None] = asyncio.create_task(self._listen())

    async def _listen(self) -> None:
        events: AsyncIterator[str] = self._backend.events()
        async with aclosing(events) as stream:  # type: ignore[type-var]
            async for provider_id in stream:
                self.ids.append(provider_id)
                self._news.set()

    async def has(self, provider_id: str, patience: float) -> None:
        """Wait until the id was told. Raises the error with which the events ended."""
        async with asyncio.timeout(patience):
            while provider_id not in self.ids:
                self._news.clear()
                news = asyncio.create_task(self._news.wait())
                await asyncio.wait({news, self.task}, return_when=asyncio.FIRST_COMPLETED)
                news.cancel()
                if self.task.done():
                    self.task.result()

    async def __aenter__(self) -> _Listener:
        return self

    async def __aexit__(self, *_: object) -> None:
        self.task.cancel()
        with suppress(asyncio.CancelledError, HostingError):
            await self.task
