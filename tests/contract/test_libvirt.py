"""The contract's suite over a real libvirtd with QEMU, and what only libvirt can do wrong."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
from tests.support import beds

from moorage.testing.batches import BatchesContract
from moorage.testing.changes import ChangesContract
from moorage.testing.identity import IdentityContract
from moorage.testing.interruption import InterruptionContract
from moorage.testing.inventory import InventoryContract
from moorage.testing.lag import LagContract
from moorage.testing.lies import LiesContract
from moorage.testing.life import LifeContract
from moorage.testing.promises import not_applicable
from moorage.testing.refusals import RefusalsContract

pytestmark = pytest.mark.bed("libvirt")


class TestLibvirt(
    BatchesContract,
    ChangesContract,
    IdentityContract,
    InterruptionContract,
    InventoryContract,
    LagContract,
    LiesContract,
    LifeContract,
    RefusalsContract,
):
    """All of it that needs no HTTP."""

    @pytest.fixture(autouse=True)
    def _before_the_service(self, request: pytest.FixtureRequest) -> None:
        """Most tests break HTTP: the daemon need not be cleared before each of them is skipped."""
        if "proxy" in request.fixturenames:
            not_applicable("the service is not reached over HTTP")

    @pytest.fixture
    async def service(self) -> AsyncIterator[object]:
        """The bed's daemon, without domains and faults."""
        running = beds.running("libvirt")
        # The binding is there once the bed is.
        from tests.support.services.libvirt import LibvirtService

        async with LibvirtService(running) as service:
            yield service
