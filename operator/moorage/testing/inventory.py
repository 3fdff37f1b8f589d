"""Inventories: complete or failed, over all pages, with the servers of others in them."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Iterator
from typing import Any

from moorage.hosting.contract import TAG_INSTALLATION, Backend, ServerRecord
from moorage.hosting.errors import HostingError
from moorage.testing.base import Contract, is_gone, listed, outcome, until
from moorage.testing.interruption import tries_all
from moorage.testing.promises import keeps, not_applicable
from moorage.testing.proxy import Call, Fault, FaultProxy
from moorage.testing.service import ServiceUnderTest

FAILURES = (Fault.ERROR, Fault.HALF, Fault.CUT, Fault.GARBAGE, Fault.NOT_FOUND, Fault.THROTTLED)
"""How a page can fail. Where a service is slow, the first two are tried."""


class InventoryContract(Contract):
    """What `inventory` and `find` show."""

    @keeps("be complete or raise")
    async def test_the_inventory_goes_over_all_pages_each_server_once(self, service: ServiceUnderTest) -> None:
        made = await _servers(service)
        for size in (1, 2):
            backend = service.open(**_small_pages(service, size))
            found = [server.provider_id for server in (await backend.inventory()).servers]
            assert sorted(found) == sorted(made)

    @keeps("be complete or raise")
    async def test_a_page_that_fails_fails_the_inventory(self, service: ServiceUnderTest, proxy: FaultProxy) -> None:
        settings = _small_pages(service)
        made = await _servers(service)
        await service.open_through(proxy, **settings).inventory()
        for fault, first in _failures(service, _paged(proxy)):
            proxy.arm(fault, first=first, count=1)
            answer = await outcome(service.open_through(proxy, **settings).inventory())
            if not isinstance(answer, HostingError):
                shown = [server.provider_id for server in answer.servers]
                returned = f"the inventory returned {len(shown)} of {len(made)} servers"
                assert sorted(shown) == sorted(made), f"call {first} failed ({fault}), and {returned}"

    @keeps("on whatever page it is")
    async def test_a_page_that_fails_fails_the_search(self, service: ServiceUnderTest, proxy: FaultProxy) -> None:
        settings = _small_pages(service)
        await _servers(service)
        last = (await service.open_through(proxy, **settings).inventory()).servers[-1]
        _paged(proxy)
        await _found(service, service.observer, last)
        proxy.calm()
        await service.open_through(proxy, **settings).find(last.key or "")
        for fault, first in _failures(service, list(proxy.calls)):
            proxy.arm(fault, first=first, count=1)
            answer = await outcome(service.open_through(proxy, **settings).find(last.key or ""))
            if not isinstance(answer, HostingError):
                shown = [server.provider_id for server in answer]
                returned = f"the search for {last.provider_id} returned {shown}"
                assert shown == [last.provider_id], f"call {first} failed ({fault}), and {returned}"

    @keeps("be complete or raise")
    async def test_a_page_that_comes_again_fails_the_inventory(
        self, service: ServiceUnderTest, proxy: FaultProxy
    ) -> None:
        settings = _small_pages(service)
        made = await _servers(service)
        await service.open_through(proxy, **settings).inventory()
        for first in range(1, len(_paged(proxy))):
            proxy.arm(Fault.REPLAY, first=first)
            answer = await outcome(service.open_through(proxy, **settings).inventory())
            if not isinstance(answer, HostingError):
                assert sorted(server.provider_id for server in answer.servers) == sorted(made)

    @keeps("be complete or raise")
    async def test_a_server_deleted_between_pages_shifts_no_other_out(
        self, service: ServiceUnderTest, proxy: FaultProxy
    ) -> None:
        settings = _small_pages(service)
        made = await _servers(service)
        remover, reader = service.open(), service.open_through(proxy, **settings)
        order = [server.provider_id for server in (await reader.inventory()).servers]
        reached = proxy.hold(_paged(proxy)[-1].number, after=False)
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
        for record in made:
            await _found(service, backend, record)
        assert await backend.find(service.request().key) == ()

    @keeps("on whatever page it is")
    async def test_servers_are_found_on_whatever_page_they_are(self, service: ServiceUnderTest) -> None:
        backend = service.open(**_small_pages(service))
        await _servers(service)
        for record in (await backend.inventory()).servers:
            await _found(service, backend, record)

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


def _small_pages(service: ServiceUnderTest, size: int = 1) -> dict[str, Any]:
    """The settings for small pages. Skips the test where there are none."""
    settings = service.small_pages(size)
    if settings is None:
        not_applicable("the service has no pages")
    return settings


def _paged(proxy: FaultProxy) -> list[Call]:
    """The calls of an inventory. Raises AssertionError where it had but one page."""
    paths = Counter(_path(call) for call in proxy.calls)
    assert max(paths.values()) > 1, "small_pages gave one page: nothing is tried"
    return list(proxy.calls)


def _failures(service: ServiceUnderTest, calls: list[Call]) -> Iterator[tuple[Fault, int]]:
    """Each failure with the number of each call; where the service is slow, some with the last page of each list."""
    if tries_all(service):
        return ((fault, call.number) for fault in FAILURES for call in calls)
    last = {_path(call): call.number for call in calls}
    paged = [path for path, times in Counter(map(_path, calls)).items() if times > 1] or list(last)[-1:]
    return ((fault, last[path]) for fault in FAILURES[:2] for path in paged)


def _path(call: Call) -> str:
    return call.path.partition("?")[0]


async def _found(service: ServiceUnderTest, backend: Backend, server: ServerRecord) -> None:
    """Wait until the server, and no other, is found by its key."""
    found: list[str] = []

    async def probe() -> bool:
        nonlocal found
        found = [each.provider_id for each in await backend.find(server.key or "")]
        return bool(found)

    await until(service, probe, f"{server.provider_id} is found by its key")
    assert found == [server.provider_id]
