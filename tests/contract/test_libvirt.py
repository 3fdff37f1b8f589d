"""The contract's suite over a real libvirtd with QEMU, and what only libvirt can do wrong."""

from __future__ import annotations

from collections.abc import AsyncIterator
from uuid import uuid4

import pytest
from tests.support import beds

from moorage.testing import BackendContract
from moorage.testing.base import repeat
from moorage.testing.promises import not_applicable

pytestmark = pytest.mark.bed("libvirt")


class TestLibvirt(BackendContract):
    """All of it that needs no HTTP."""

    @pytest.fixture(autouse=True)
    def _before_the_service(self, request: pytest.FixtureRequest) -> None:
        """Most tests break HTTP: the daemon need not be cleared before each of them is skipped."""
        if "over_http" in request.fixturenames:
            not_applicable("the service is not reached over HTTP")

    @pytest.fixture
    async def service(self) -> AsyncIterator[object]:
        """The bed's daemon, without domains and faults."""
        running = beds.running("libvirt")
        # The binding is there once the bed is.
        from tests.support.services.libvirt import LibvirtService

        async with LibvirtService(running) as service:
            yield service


async def test_another_host_at_the_address_is_another_account() -> None:
    running = beds.running("libvirt")
    from tests.support.services.libvirt import LibvirtService

    async with LibvirtService(running) as service:
        backend = service.open()
        account = await backend.account()
        before = await service.do(service.become, str(uuid4()))
        try:
            other = await repeat(backend.account)
            assert other != account
            assert (await backend.inventory()).account == await service.open().account() == other
        finally:
            await service.do(service.become, before)
        assert await repeat(backend.account) == account
