"""The contract's suite over hostd: with real processes, simulated, and killed."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from tests.support.forgetful import ForgetfulContract
from tests.support.services.local import ForgetfulService, KillableService, LocalService, SessionService

from moorage.testing import BackendContract
from moorage.testing.base import Contract
from moorage.testing.batches import BatchesContract
from moorage.testing.hanging import HangingContract
from moorage.testing.identity import IdentityContract
from moorage.testing.interruption import InterruptionContract


class TestProcesses(BackendContract):
    """Servers are processes of this machine."""

    @pytest.fixture
    async def service(self, tmp_path: Path) -> AsyncIterator[LocalService]:
        """A hostd of the test's own."""
        async with LocalService(tmp_path, simulate=False) as service:
            yield service


class TestSimulated(BackendContract):
    """Servers are simulated, and the token is good for a session only."""

    @pytest.fixture
    async def service(self, tmp_path: Path) -> AsyncIterator[SessionService]:
        """A hostd of the test's own."""
        async with SessionService(tmp_path) as service:
            yield service


class TestForgetful(ForgetfulContract):
    """A hostd that knows no request again."""

    @pytest.fixture
    async def service(self, tmp_path: Path) -> AsyncIterator[ForgetfulService]:
        """A hostd of the test's own."""
        async with ForgetfulService(tmp_path, simulate=True) as service:
            yield service


class TestKilled(Contract):
    """A hostd of a process of its own, whose servers outlive it."""

    @pytest.fixture
    async def service(self, tmp_path: Path) -> AsyncIterator[KillableService]:
        """A hostd of the test's own."""
        async with KillableService(tmp_path) as service:
            yield service

    test_a_repeated_creation_finds_its_server = (
        IdentityContract.test_a_repeated_creation_finds_its_server_after_a_restart
    )
    test_it_hangs_and_is_used_again = HangingContract.test_a_service_that_hangs_is_given_up_and_used_again
    test_it_hangs_in_a_creation = HangingContract.test_a_creation_in_whose_midst_the_service_hangs_ends_in_one_server
    test_creations_survive = InterruptionContract.test_creations_survive_the_death_of_the_service
    test_events_may_have_been_missed = BatchesContract.test_after_the_service_came_back_events_may_have_been_missed
