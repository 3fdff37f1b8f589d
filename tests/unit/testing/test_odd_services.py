"""The suite over services that differ from most: late lists are no fault, and one page is not taken for several."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from tests.support.services.local import LocalService

from moorage.hostd.machine import Machine
from moorage.hostd.simulate.driver import SimulateDriver
from moorage.testing import BackendContract, FaultProxy
from moorage.testing.changes import ChangesContract
from moorage.testing.inventory import InventoryContract
from moorage.testing.life import LifeContract

LAG = 0.5
ENDING = 0.1
"""Seconds in which a server is being deleted, and can be looked at."""


def _tests(part: type, *arguments: str) -> list[str]:
    """The tests of a part of the suite that take these arguments."""
    wanted = ["self", *arguments]
    return [
        name
        for name, test in inspect.getmembers(part, inspect.isfunction)
        if name.startswith("test_") and list(inspect.signature(test).parameters) == wanted
    ]


LISTING = [
    name for part in (LifeContract, ChangesContract, InventoryContract) for name in _tests(part, "service", "backend")
]


@pytest.fixture
async def service(tmp_path: Path) -> AsyncIterator[LocalService]:
    """A hostd that simulates."""
    async with LocalService(tmp_path, simulate=True) as service:
        service.patience = 10.0
        yield service


@pytest.mark.parametrize("name", LISTING)
async def test_late_lists_are_no_bug(service: LocalService, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    halt = SimulateDriver.halt

    async def slow(self: SimulateDriver, machine: Machine, *, graceful: bool) -> None:
        await asyncio.sleep(ENDING)
        await halt(self, machine, graceful=graceful)

    monkeypatch.setattr(SimulateDriver, "halt", slow)
    await service.faults.lag(LAG)
    service.settings = service.lagging(LAG)
    await getattr(BackendContract(), name)(service, service.open())


class OnePageService(LocalService):
    """Its harness knows no settings for small pages, and says otherwise."""

    def small_pages(self, size: int) -> dict[str, Any]:
        return {}


@pytest.mark.parametrize("name", _tests(InventoryContract, "service", "proxy"))
async def test_one_page_is_not_taken_for_several(tmp_path: Path, name: str) -> None:
    async with OnePageService(tmp_path, simulate=True) as service, FaultProxy(service.addresses()) as proxy:
        with pytest.raises(AssertionError, match="small_pages gave one page: nothing is tried"):
            await getattr(BackendContract(), name)(service, proxy)
