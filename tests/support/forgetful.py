"""Services that know no request again, for the contract's tests."""

from __future__ import annotations

import pytest

from moorage.testing import Fault, FaultProxy, ServiceUnderTest
from moorage.testing.base import Contract
from moorage.testing.identity import IdentityContract
from moorage.testing.interruption import FAULTS, MAKES_TWO, InterruptionContract
from moorage.testing.lag import LagContract


class ForgetfulContract(Contract):
    """What a caller does with such a service makes one server all the same."""

    test_an_unknown_outcome = IdentityContract.test_a_creation_of_unknown_outcome_ends_in_one_server
    test_late_listings = LagContract.test_a_lost_creation_is_not_doubled_while_listings_are_late

    @pytest.mark.parametrize("fault", [fault for fault in FAULTS if fault not in MAKES_TWO], ids=str)
    async def test_a_broken_creation(self, service: ServiceUnderTest, proxy: FaultProxy, fault: Fault) -> None:
        await InterruptionContract().test_a_broken_call_is_mended_by_repeating(service, proxy, "create", fault)

    async def test_repeating_would_make_two(self, service: ServiceUnderTest) -> None:
        backend, request = service.open(), service.request()
        assert not backend.capabilities.idempotent_create
        assert (await backend.create(request)).provider_id != (await backend.create(request)).provider_id
