"""The contract's suite over a real Incus, with containers."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
from tests.support import beds
from tests.support.services.incus import IncusService

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
