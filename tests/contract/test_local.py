"""The contract's suite over hostd: with real processes, simulated, and killed."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from tests.support.services.local import ForgetfulService, KillableService, LocalService, SessionService

from moorage.testing import BackendContract, Fault, FaultProxy
from moorage.testing.base import Contract
from moorage.testing.batches import BatchesContract
from moorage.testing.identity import IdentityContract
from moorage.testing.interruption import FAULTS, MAKES_TWO, InterruptionContract
from moorage.testing.lag import LagContract


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


class TestForgetful(Contract):
    """A hostd that knows no request again: what a caller does then makes one server all the same."""

    @pytest.fixture
    async def service(self, tmp_path: Path) -> AsyncIterator[ForgetfulService]:
        """A hostd of the test's own."""
        async with ForgetfulService(tmp_path, simulate=True) as service:
            yield service

    test_an_unknown_outcome = IdentityContract.test_a_creation_of_unknown_outcome_ends_in_one_server
    test_late_listings = LagContract.test_a_lost_creation_is_not_doubled_while_listings_are_late

    @pytest.mark.parametrize("fault", [fault for fault in FAULTS if fault not in MAKES_TWO], ids=str)
    async def test_a_broken_creation(self, service: ForgetfulService, proxy: FaultProxy, fault: Fault) -> None:
        await InterruptionContract().test_a_broken_call_is_mended_by_repeating(service, proxy, "create", fault)

    async def test_repeating_would_make_two(self, service: ForgetfulService) -> None:
        backend, request = service.open(), service.request()
        assert (await backend.create(request)).provider_id != (await backend.create(request)).provider_id


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
    test_creations_survive = InterruptionContract.test_creations_survive_the_death_of_the_service
    test_events_may_have_been_missed = BatchesContract.test_after_the_service_came_back_events_may_have_been_missed
