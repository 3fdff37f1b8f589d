"""The contract's suite over EC2, as moto and the proxy before it play it."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
from tests.support import beds
from tests.support.forgetful import ForgetfulContract
from tests.support.services.ec2 import Ec2Service, ForgetfulEc2Service

from moorage.testing import BackendContract

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
class TestForgetful(ForgetfulContract):
    """An EC2-compatible service that knows no request again."""

    under_test = ForgetfulEc2Service

    @pytest.fixture
    async def service(self) -> AsyncIterator[ForgetfulEc2Service]:
        """The bed, empty, without ClientTokens."""
        async with ForgetfulEc2Service(beds.running("ec2")) as service:
            yield service
