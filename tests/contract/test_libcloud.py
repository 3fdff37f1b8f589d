"""The contract's suite over two drivers of Apache Libcloud: one against moto, one against a real Nova."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
from tests.support import beds
from tests.support.services.libcloud import LibcloudEc2Service, LibcloudOpenStackService

from moorage.hosting.abilities import Ability
from moorage.hosting.contract import RELEASED, TAG_SERVER, Backend
from moorage.hosting.errors import Retryable
from moorage.testing import BackendContract
from moorage.testing.base import in_state, needs_ability, outcome
from moorage.testing.service import ServiceUnderTest


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
class TestOpenStackDriver(BackendContract):
    """The driver `openstack`."""

    under_test = LibcloudOpenStackService

    @pytest.fixture
    async def service(self) -> AsyncIterator[LibcloudOpenStackService]:
        """The bed, empty and without faults."""
        async with LibcloudOpenStackService(beds.running("openstack")) as service:
            yield service

    async def test_retag_sets_some_tags_and_leaves_the_others(
        self, service: ServiceUnderTest, backend: Backend
    ) -> None:
        """Nova changes no metadata of a server that it still builds; the caller repeats."""
        retagger = needs_ability(backend, Ability.RETAG)
        request = service.request()
        made = await backend.create(request)
        early = await outcome(retagger.retag(made.provider_id, {"new": "yes"}))
        assert early is None or isinstance(early, Retryable)
        await in_state(service, backend, made.provider_id)
        for _ in range(2):
            await retagger.retag(made.provider_id, {TAG_SERVER: RELEASED, "new": "yes"})
            record = await service.open().get(made.provider_id)
            assert record.tags == {**request.tags, TAG_SERVER: RELEASED, "new": "yes"}
            assert record.key == request.key
