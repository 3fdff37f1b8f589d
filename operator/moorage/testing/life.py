"""The life of a server when all goes well, and what the service tells about itself."""

from __future__ import annotations

import asyncio

import pytest

from moorage.hosting.contract import MAX_CONSOLE, Backend, ServerState
from moorage.hosting.errors import HostingError, NotFound
from moorage.testing.base import Contract, in_state, is_gone, listed, needs_fault, outcome, until
from moorage.testing.promises import keeps, not_applicable
from moorage.testing.service import ServiceUnderTest


class LifeContract(Contract):
    """From creation to deletion."""

    async def test_a_server_lives_from_creation_to_deletion(self, service: ServiceUnderTest, backend: Backend) -> None:
        request = service.request()
        made = await backend.create(request)
        assert made.provider_id
        assert made.key == request.key
        assert made.tags == request.tags
        assert made.state in {ServerState.PENDING, ServerState.RUNNING}
        running = await in_state(service, backend, made.provider_id)
        assert running.provider_id == made.provider_id
        assert running.key == request.key
        assert running.tags == request.tags
        if service.shows_addresses:

            async def addressed() -> bool:
                # Some services tell it a moment after the server runs, once its guest has asked for it.
                return bool((await backend.get(made.provider_id)).addresses)

            await until(service, addressed, "the running server has an address")
        assert running.created is None or running.created.tzinfo is not None
        await listed(service, backend, {made.provider_id}, set())
        found = [server.provider_id for server in await backend.find(request.key)]
        assert found == [made.provider_id]
        await backend.delete(made.provider_id)
        await is_gone(service, backend, made.provider_id)
        await listed(service, backend, set(), {made.provider_id})

        async def forgotten() -> bool:
            return not await backend.find(request.key)

        await until(service, forgotten, "nothing is found by the key")

    async def test_the_service_tells_its_sizes(self, service: ServiceUnderTest, backend: Backend) -> None:
        offerings = await backend.offerings()
        names = [offering.name for offering in offerings]
        assert len(set(names)) == len(names)
        assert all(o.cpu > 0 and o.memory > 0 for o in offerings)
        if names:
            assert service.offering in names

    async def test_the_service_tells_how_much_fits(self, service: ServiceUnderTest, backend: Backend) -> None:
        capacity = await backend.capacity()
        assert capacity.used >= 0
        assert capacity.limit is None or capacity.limit > 0
        assert capacity.available is None or capacity.available > 0

    @keeps("the same for as long as the same servers are visible")
    async def test_the_account_is_the_same_for_everyone(self, service: ServiceUnderTest, backend: Backend) -> None:
        account = await backend.account()
        assert account
        assert await backend.account() == account
        assert await service.open().account() == account
        assert (await backend.inventory()).account == account

    @keeps("the same for as long as the same servers are visible")
    async def test_another_service_is_another_account(self, service: ServiceUnderTest, backend: Backend) -> None:
        elsewhere = await service.elsewhere()
        if elsewhere is None:
            not_applicable("there is no second service or account to compare with")
        assert await elsewhere.account() != await backend.account()
        made = await backend.create(service.request())
        assert made.provider_id not in {s.provider_id for s in (await elsewhere.inventory()).servers}

    @keeps("raise NotFound where the server is gone (as `get` does)")
    async def test_the_console_is_shown_until_the_server_is_gone(
        self, service: ServiceUnderTest, backend: Backend
    ) -> None:
        made = await backend.create(service.request())
        await in_state(service, backend, made.provider_id)
        said = ""

        async def says() -> bool:
            nonlocal said
            shown = await backend.console(made.provider_id)
            if shown is None:
                assert service.console_says is None, "there is no console, and the harness knows what it says"
                not_applicable("the service keeps no console")
            assert len(shown) <= MAX_CONSOLE
            assert all(c == "\n" or c.isprintable() for c in shown)
            said += shown
            return service.console_says is None or service.console_says in said

        await until(service, says, f"the console says {service.console_says}")
        await backend.delete(made.provider_id)
        await is_gone(service, backend, made.provider_id)
        with pytest.raises(NotFound):
            await backend.console(made.provider_id)

    @keeps("leave out a server because it is foreign, failed or being deleted")
    async def test_a_server_that_fails_to_boot_says_so_and_is_listed(self, service: ServiceUnderTest) -> None:
        needs_fault(service, "boot_fails")
        await service.faults.boot_fails()
        backend = service.open()
        answer = await outcome(backend.create(service.request()))
        if isinstance(answer, HostingError):
            assert not answer.definite or not await service.ledger()
            return
        failed = await in_state(service, backend, answer.provider_id, ServerState.FAILED)
        assert failed.message
        await listed(service, backend, {answer.provider_id}, set())
        await backend.delete(answer.provider_id)
        await is_gone(service, backend, answer.provider_id)

    @keeps("leave out a server because it is foreign, failed or being deleted")
    async def test_a_server_that_is_being_deleted_is_listed(self, service: ServiceUnderTest, backend: Backend) -> None:
        made = await backend.create(service.request())
        await in_state(service, backend, made.provider_id)
        await listed(service, backend, {made.provider_id}, set())
        await backend.delete(made.provider_id)
        gone = False
        while not gone:
            shown = {server.provider_id for server in (await backend.inventory()).servers}
            answer = await outcome(backend.get(made.provider_id))
            gone = isinstance(answer, NotFound)
            # It was there after the inventory was taken, so it was there before.
            assert gone or made.provider_id in shown
            await asyncio.sleep(0)

    @keeps("raise NotFound only on the service's own typed answer")
    async def test_a_server_that_vanished_is_not_found(self, service: ServiceUnderTest, backend: Backend) -> None:
        needs_fault(service, "vanish")
        made = await backend.create(service.request())
        stays = await backend.create(service.request())
        await in_state(service, backend, made.provider_id)
        await service.faults.vanish(made.provider_id)
        await is_gone(service, backend, made.provider_id)
        await listed(service, backend, {stays.provider_id}, {made.provider_id})

    async def test_closing_twice_is_harmless(self, service: ServiceUnderTest, backend: Backend) -> None:
        flying = asyncio.create_task(outcome(backend.inventory()))
        await asyncio.sleep(0)
        await backend.close()
        await backend.close()
        await flying
        assert await service.open().account()
