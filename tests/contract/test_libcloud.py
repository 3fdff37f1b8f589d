"""The contract's suite over two drivers of Apache Libcloud: one against moto, one against a real Nova."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
from tests.support import beds
from tests.support.services.libcloud import LibcloudEc2Service, LibcloudOpenStackService
from tests.support.services.openstack import NovaContract

from moorage.testing import BackendContract


@pytest.mark.bed("ec2")
class TestEc2Driver(BackendContract):
    """The driver `ec2`."""

    under_test = LibcloudEc2Service

    @pytest.fixture
    async def service(self) -> AsyncIterator[LibcloudEc2Service]:
        """The bed, empty and without faults."""
        async with LibcloudEc2Service(beds.running("ec2")) as service:
            yield service


@pytest.mark.bed("openstack")
class TestOpenStackDriver(NovaContract):
    """The driver `openstack`."""

    under_test = LibcloudOpenStackService

    @pytest.fixture
    async def service(self) -> AsyncIterator[LibcloudOpenStackService]:
        """The bed, empty and without faults."""
        async with LibcloudOpenStackService(beds.running("openstack")) as service:
            yield service
