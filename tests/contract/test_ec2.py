"""The contract's suite over EC2, as moto and the proxy before it play it."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
from tests.support import beds
from tests.support.services.ec2 import Ec2Service, ForgetfulEc2Service

from moorage.testing import BackendContract, Fault, FaultProxy
from moorage.testing.base import Contract
from moorage.testing.identity import IdentityContract
from moorage.testing.interruption import FAULTS, MAKES_TWO, InterruptionContract
from moorage.testing.lag import LagContract

pytestmark = pytest.mark.bed("ec2")


class TestEc2(BackendContract):
    """EC2."""

    under_test = Ec2Service

    @pytest.fixture
    async def service(self) -> AsyncIterator[Ec2Service]:
        """The bed, empty and without faults."""
        async with Ec2Service(beds.running("ec2")) as service:
            yield service


@pytest.mark.timeout(400)
class TestForgetful(Contract):
    """An EC2-compatible service that knows no request again: what a caller does then makes one server all the same."""

    under_test = ForgetfulEc2Service

    @pytest.fixture
    async def service(self) -> AsyncIterator[ForgetfulEc2Service]:
        """The bed, empty, without ClientTokens."""
        async with ForgetfulEc2Service(beds.running("ec2")) as service:
            yield service

    test_an_unknown_outcome = IdentityContract.test_a_creation_of_unknown_outcome_ends_in_one_server
    test_late_listings = LagContract.test_a_lost_creation_is_not_doubled_while_listings_are_late

    @pytest.mark.parametrize("fault", [fault for fault in FAULTS if fault not in MAKES_TWO], ids=str)
    async def test_a_broken_creation(self, service: ForgetfulEc2Service, proxy: FaultProxy, fault: Fault) -> None:
        await InterruptionContract().test_a_broken_call_is_mended_by_repeating(service, proxy, "create", fault)

    async def test_repeating_would_make_two(self, service: ForgetfulEc2Service) -> None:
        backend, request = service.open(), service.request()
        assert not backend.capabilities.idempotent_create
        assert (await backend.create(request)).provider_id != (await backend.create(request)).provider_id
