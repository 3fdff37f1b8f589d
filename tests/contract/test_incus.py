"""The contract's suite over a real Incus, with containers."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
from tests.support import beds
from tests.support.services.incus import IncusService

from moorage.hosting.errors import Invalid
from moorage.testing import BackendContract

pytestmark = pytest.mark.bed("incus")


class TestIncus(BackendContract):
    """All of it; each fault at one call of each operation."""

    under_test = IncusService

    @pytest.fixture
    async def service(self) -> AsyncIterator[IncusService]:
        """The bed's project, empty and without faults."""
        async with IncusService(beds.running("incus")) as service:
            yield service


async def test_a_project_that_is_deleted_is_no_empty_one() -> None:
    async with IncusService(beds.running("incus")) as service:
        async with service.passing_project() as backend:
            account = await backend.account()
            assert (await backend.inventory()).servers == ()
            request = service.request()
        nobodys = f"{request.key}/00000000-0000-0000-0000-000000000000"
        for doing in (
            backend.account(),
            backend.inventory(),
            backend.get(nobodys),
            backend.find(request.key),
            backend.create(request),
            backend.delete(nobodys),
        ):
            with pytest.raises(Invalid, match="there is no project passing: create it") as caught:
                await doing
            assert caught.value.field == "project"
        async with service.passing_project() as again:
            assert await again.account() == account
            assert await backend.account() == account
            assert (await backend.inventory()).servers == ()
