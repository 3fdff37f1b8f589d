"""Inventories: complete or failed, over all pages, with the servers of others in them."""

from __future__ import annotations

import asyncio

from moorage.hosting.contract import TAG_INSTALLATION, Backend
from moorage.hosting.errors import HostingError
from moorage.testing.base import Contract, is_gone, listed, outcome, until
from moorage.testing.promises import keeps, not_applicable
from moorage.testing.proxy import Fault, FaultProxy
from moorage.testing.service import ServiceUnderTest


class InventoryContract(Contract):
    """What `inventory` and `find` show."""

    @keeps("be complete or raise")
    async def test_the_inventory_goes_over_all_pages_each_server_once(self, service: ServiceUnderTest) -> None:
        made = await _servers(service)
        for size in (1, 2):
            settings = service.small_pages(size)
            if settings is None:
                not_applicable("the service has no pages")
            backend = service.open(**settings)
            found = [server.provider_id for server in (await backend.inventory()).servers]
            assert sorted(found) == sorted(made)

    @keeps("be complete or raise")
    async def test_a_page_that_comes_again_fails_the_inventory(
        self, service: ServiceUnderTest, proxy: FaultProxy
    ) -> None:
        made = await _servers(service)
        settings = service.small_pages(1)
        if settings is None:
            not_applicable("the service has no pages")
        backend = service.open_through(proxy, **settings)
        await backend.inventory()
        calls = len(proxy.calls)
        for first in range(1, calls):
            proxy.arm(Fault.REPLAY, first=first)
            answer = await outcome(service.open_through(proxy, **settings).inventory())
            if not isinstance(answer, HostingError):
                assert sorted(server.provider_id for server in answer.servers) == sorted(made)

    @keeps("be complete or raise")
    async def test_a_server_deleted_between_pages_shifts_no_other_out(
        self, service: ServiceUnderTest, proxy: FaultProxy
    ) -> None:
        made = await _servers(service)
        settings = service.small_pages(1)
        if settings is None:
            not_applicable("the service has no pages")
        remover, reader = service.open(), service.open_through(proxy, **settings)
        order = [server.provider_id for server in (await reader.inventory()).servers]
        pages = len(proxy.calls)
        reached = proxy.hold(pages - 1, after=False)
        reading = asyncio.create_task(outcome(reader.inventory()))
        waiting = asyncio.create_task(reached.wait())
        await asyncio.wait({reading, waiting}, return_when=asyncio.FIRST_COMPLETED, timeout=service.patience)
        waiting.cancel()
        await remover.delete(order[0])
        await is_gone(service, remover, order[0])
        proxy.open()
        answer = await reading
        if not isinstance(answer, HostingError):
            assert set(made) - {order[0]} <= {server.provider_id for server in answer.servers}

    async def test_servers_are_found_by_their_key_alone(self, service: ServiceUnderTest, backend: Backend) -> None:
        requests = [service.request() for _ in range(2)]
        made = [await backend.create(request) for request in requests]
        await listed(service, backend, {record.provider_id for record in made}, set())
        for request, record in zip(requests, made, strict=True):

            async def found(key: str = request.key) -> bool:
                return bool(await backend.find(key))

            await until(service, found, "the server is found by its key")
            assert [server.provider_id for server in await backend.find(request.key)] == [record.provider_id]
        assert await backend.find(service.request().key) == ()

    @keeps("leave out a server because it is foreign, failed or being deleted")
    async def test_servers_of_others_are_listed_and_left_alone(
        self, service: ServiceUnderTest, backend: Backend
    ) -> None:
        foreign = await service.foreign()
        mine = await backend.create(service.request())
        theirs = await service.open().create(service.request(installation="another"))
        ids = {foreign, mine.provider_id, theirs.provider_id}
        await listed(service, backend, ids, set())
        records = {server.provider_id: server for server in (await backend.inventory()).servers}
        owners = {provider_id: records[provider_id].tags.get(TAG_INSTALLATION) for provider_id in ids}
        assert owners == {foreign: None, mine.provider_id: "suite", theirs.provider_id: "another"}
        # Where the service has keys of its own, strangers may have given theirs.
        assert records[foreign].key not in {mine.key, theirs.key}
        assert (await backend.get(foreign)).key == records[foreign].key
        await backend.delete(mine.provider_id)
        await is_gone(service, backend, mine.provider_id)
        await listed(service, backend, {foreign, theirs.provider_id}, {mine.provider_id})

    @keeps("be safe to call concurrently")
    async def test_reads_at_the_same_time_do_not_disturb_each_other(
        self, service: ServiceUnderTest, backend: Backend
    ) -> None:
        made = await _servers(service)
        reads = [backend.inventory() for _ in range(4)]
        gets = [backend.get(provider_id) for provider_id in made for _ in range(3)]
        inventories, records = await asyncio.gather(asyncio.gather(*reads), asyncio.gather(*gets))
        assert all({s.provider_id for s in found.servers} == set(made) for found in inventories)
        assert [record.provider_id for record in records] == [i for i in made for _ in range(3)]


async def _servers(service: ServiceUnderTest) -> list[str]:
    """A few servers that the inventory shows."""
    backend = service.observer
    made = [(await backend.create(service.request())).provider_id for _ in range(service.few)]
    await listed(service, backend, set(made), set())
    return made
