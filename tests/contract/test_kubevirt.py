"""The contract's suite over KubeVirt's API on a real API server."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
from tests.support import beds
from tests.support.services.kubevirt import KubevirtService

from moorage.hosting.errors import AuthenticationError, Invalid
from moorage.testing import BackendContract
from moorage.testing.base import outcome

pytestmark = pytest.mark.bed("kubevirt")


class TestKubevirt(BackendContract):
    """All of it."""

    under_test = KubevirtService

    @pytest.fixture
    async def service(self) -> AsyncIterator[KubevirtService]:
        async with KubevirtService(beds.running("kubevirt")) as service:
            yield service


async def test_a_namespace_that_is_deleted_is_no_empty_one() -> None:
    async with KubevirtService(beds.running("kubevirt")) as service:
        await service.delete_namespace("passing")
        backend = await service.in_namespace("passing")
        account = await backend.account()
        made = await backend.create(service.request())
        await service.delete_namespace("passing")
        for call in (backend.account, backend.inventory):
            with pytest.raises(Invalid, match="there is no namespace passing: create it") as caught:
                await call()
            assert caught.value.field == "project"
        # The role went with the namespace: nothing is said about the server.
        for doing in (
            backend.get(made.provider_id),
            backend.delete(made.provider_id),
            backend.create(service.request()),
        ):
            assert isinstance(await outcome(doing), AuthenticationError)
        again = await service.in_namespace("passing")
        assert await again.account() != account, "a namespace that is made anew is another account"
        assert (await again.inventory()).servers == ()
