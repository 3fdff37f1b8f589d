"""The services that the contract's tests run against."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from tests.support.hostd import Hostd

from moorage.hosting.local import LocalBackend

SERVICES = ("local-processes", "local-simulated")


@pytest.fixture(params=SERVICES)
async def service(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Hostd]:
    """A hosting service of each kind, empty and without faults."""
    hostd = Hostd(tmp_path / "hostd", simulate=request.param == "local-simulated")
    await hostd.start()
    try:
        yield hostd
    finally:
        await hostd.stop()


@pytest.fixture
async def backend(service: Hostd) -> LocalBackend:
    """A backend on the service."""
    return service.open(requestTimeout="5s", createTimeout="10s")
