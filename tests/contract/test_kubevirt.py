"""The contract's suite over KubeVirt's API on a real API server."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
from tests.support import beds
from tests.support.services.kubevirt import KubevirtService

from moorage.testing import BackendContract

pytestmark = pytest.mark.bed("kubevirt")


class TestKubevirt(BackendContract):
    """All of it."""

    under_test = KubevirtService

    @pytest.fixture
    async def service(self) -> AsyncIterator[KubevirtService]:
        async with KubevirtService(beds.running("kubevirt")) as service:
            yield service
