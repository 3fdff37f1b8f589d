"""The contract's suite over two drivers of Apache Libcloud: one against moto, one against a real Nova."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator

import pytest
from tests.support import beds
from tests.support.services.libcloud import LibcloudEc2Service, LibcloudOpenStackService
from tests.support.services.openstack import NovaContract

from moorage.testing import BackendContract
from moorage.testing.interruption import EVERY_FAULT, InterruptionContract
from moorage.testing.lies import LiesContract
from moorage.testing.promises import left_out
from moorage.testing.proxy import Fault


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

    @pytest.fixture(autouse=True)
    def _proven_with_the_other_driver(self, request: pytest.FixtureRequest) -> None:
        """What comes over the wire meets the same transport and the same translation of errors, on a bed that is ten
        times as fast. Creations stay: what becomes of one is for each driver to find out."""
        if EVERY_FAULT in os.environ:
            return
        callspec = getattr(request.node, "callspec", None)
        params = callspec.params if callspec is not None else {}
        part = next(part for part in type(self).__mro__ if request.function.__name__ in vars(part))
        broken = part is InterruptionContract and "name" in params and params["name"] != "create"
        if broken or (part is LiesContract and params.get("fault") is not Fault.HTML):
            left_out("the transport is that of the driver ec2, where this is tried")

    @pytest.fixture
    async def service(self) -> AsyncIterator[LibcloudOpenStackService]:
        """The bed, empty and without faults."""
        async with LibcloudOpenStackService(beds.running("openstack")) as service:
            yield service
