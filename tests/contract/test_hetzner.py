"""The contract's suite over the Hetzner Cloud API, simulated from its reference."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
from tests.support import beds
from tests.support.services.hetzner import HetznerService

from moorage.testing import BackendContract

pytestmark = pytest.mark.bed("hetzner")


class TestHetzner(BackendContract):
    """The Hetzner Cloud."""

    @pytest.fixture
    async def service(self) -> AsyncIterator[HetznerService]:
        """The bed, empty and without faults."""
        async with HetznerService(beds.running("hetzner")) as service:
            yield service
