"""The contract's suite over hostd, with real processes and simulated."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from tests.support.services.local import LocalService

from moorage.testing import BackendContract


class TestProcesses(BackendContract):
    """Servers are processes of this machine."""

    @pytest.fixture
    async def service(self, tmp_path: Path) -> AsyncIterator[LocalService]:
        """A hostd of the test's own."""
        async with LocalService(tmp_path, simulate=False) as service:
            yield service


class TestSimulated(BackendContract):
    """Servers are simulated."""

    @pytest.fixture
    async def service(self, tmp_path: Path) -> AsyncIterator[LocalService]:
        """A hostd of the test's own."""
        async with LocalService(tmp_path, simulate=True) as service:
            yield service
