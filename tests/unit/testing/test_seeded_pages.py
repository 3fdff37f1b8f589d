"""Backends that take some pages for all: the suite finds each of them (and see `test_seeded_bugs`)."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest
from tests.support.services.local import LocalService

from moorage.api import hostd
from moorage.hosting.contract import ServerRecord
from moorage.hosting.errors import Unavailable
from moorage.hosting.local.backend import LocalBackend
from moorage.hosting.local.client import Client
from moorage.hosting.local.records import record
from moorage.testing import BackendContract, FaultProxy

ask, find = Client.ask, LocalBackend.find


async def ends_the_list(self: Client, method: str, path: str, model: Any, **options: Any) -> Any:
    try:
        return await ask(self, method, path, model, **options)
    except Unavailable:
        if "continue" not in options.get("query", {}):
            raise
        return model(items=[])


async def searches_the_first_page(self: LocalBackend, key: str) -> tuple[ServerRecord, ...]:
    query = {"limit": str(self._settings.page_size)}
    page = await self._client.ask("GET", "servers", hostd.ServerList, query=query)
    return tuple(record(server) for server in page.items if server.key == key)


async def finds_nothing_where_the_search_fails(self: LocalBackend, key: str) -> tuple[ServerRecord, ...]:
    try:
        return await find(self, key)
    except Unavailable:
        return ()


async def inventory_pages(service: LocalService, proxy: FaultProxy) -> None:
    await BackendContract().test_a_page_that_fails_fails_the_inventory(service, proxy)


async def search_pages(service: LocalService, proxy: FaultProxy) -> None:
    await BackendContract().test_a_page_that_fails_fails_the_search(service, proxy)


async def last_page(service: LocalService, _: FaultProxy) -> None:
    await BackendContract().test_servers_are_found_on_whatever_page_they_are(service)


BUGS: tuple[tuple[type, str, Callable[..., Any], Callable[..., Any], str], ...] = (
    (Client, "ask", ends_the_list, inventory_pages, r"failed \(500\), and the inventory returned [12] of 3 servers"),
    (LocalBackend, "find", finds_nothing_where_the_search_fails, search_pages, r"failed \(500\), and the search for"),
    (LocalBackend, "find", searches_the_first_page, last_page, "is found by its key"),
)


@pytest.fixture
async def service(tmp_path: Path) -> AsyncIterator[LocalService]:
    """A hostd that simulates."""
    async with LocalService(tmp_path, simulate=True) as service:
        yield service


@pytest.fixture
async def proxy(service: LocalService) -> AsyncIterator[FaultProxy]:
    """A proxy before it."""
    async with FaultProxy(service.addresses()) as proxy:
        yield proxy


@pytest.mark.parametrize(("part", "name", "bug", "test", "said"), BUGS, ids=[bug.__name__ for _, _, bug, _, _ in BUGS])
async def test_a_bug_is_found(
    service: LocalService,
    proxy: FaultProxy,
    monkeypatch: pytest.MonkeyPatch,
    part: type,
    name: str,
    bug: Callable[..., Any],
    test: Callable[..., Any],
    said: str,
) -> None:
    monkeypatch.setattr(part, name, bug)
    service.patience = 5.0
    with pytest.raises(AssertionError, match=said):
        await test(service, proxy)


@pytest.mark.parametrize("test", [inventory_pages, search_pages, last_page])
async def test_nothing_is_found_where_nothing_is_wrong(
    service: LocalService, proxy: FaultProxy, test: Callable[..., Any]
) -> None:
    await test(service, proxy)
