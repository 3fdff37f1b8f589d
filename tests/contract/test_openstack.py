"""The contract's suite over a real Nova, with Keystone, Glance and Placement."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator

import pytest
from tests.support import beds
from tests.support.services.openstack import NovaContract, OpenStackService

from moorage.hosting.contract import Backend, ServerRecord, ServerState
from moorage.hosting.errors import CapacityError, QuotaError
from moorage.hosting.openstack import OpenStackBackend
from moorage.testbed.openstack.calls import Refused, call
from moorage.testbed.openstack.prepared import QUOTA
from moorage.testing.base import in_state, is_gone, made_with, until
from moorage.testing.interruption import EVERY_FAULT

UNBOUND = {"instances": 12, "cores": -1, "ram": -1}
pytestmark = [pytest.mark.bed("openstack"), pytest.mark.timeout(1800 if os.environ.get(EVERY_FAULT) else 400)]


class TestOpenStack(NovaContract):
    """All of it; each fault at one call of each operation."""

    under_test = OpenStackService

    @pytest.fixture
    async def service(self) -> AsyncIterator[OpenStackService]:
        """The bed's project, empty and without faults."""
        async with OpenStackService(beds.running("openstack")) as service:
            yield service


@pytest.fixture
async def service() -> AsyncIterator[OpenStackService]:
    """The same, for what only OpenStack does."""
    async with OpenStackService(beds.running("openstack")) as service:
        yield service


async def test_the_suite_ran_with_no_more_than_the_page_says_is_needed(service: OpenStackService) -> None:
    """The bed's application credential is bound by access rules; what is beside them is refused."""
    credential = {
        "id": service.credentials["applicationCredentialId"].decode(),
        "secret": service.credentials["applicationCredentialSecret"].decode(),
    }
    body = {"auth": {"identity": {"methods": ["application_credential"], "application_credential": credential}}}
    _, headers = await asyncio.to_thread(call, "POST", f"{service.endpoint}/auth/tokens", body)
    compute = service.running.extra["endpoints"]["compute"]
    token = {"X-Auth-Token": headers["X-Subject-Token"]}
    await asyncio.to_thread(call, "GET", f"{compute}/servers/detail", None, token)
    for path in ("/os-keypairs", "/servers", "/os-server-groups"):
        with pytest.raises(Refused) as caught:
            await asyncio.to_thread(call, "GET", compute + path, None, token)
        assert caught.value.status in {401, 403}


async def test_a_resize_beyond_the_quota_or_the_room_changes_nothing(service: OpenStackService) -> None:
    backend = service.open()
    assert isinstance(backend, OpenStackBackend)
    made = await backend.create(service.request())
    await in_state(service, backend, made.provider_id)
    with pytest.raises(QuotaError):
        await backend.resize(made.provider_id, "huge")
    await service.set_quota(UNBOUND)
    try:
        with pytest.raises(CapacityError):
            await backend.resize(made.provider_id, "huge")
    finally:
        await service.set_quota(QUOTA)
    left = await in_state(service, backend, made.provider_id)
    assert left.offering == service.offering


async def test_a_server_for_which_no_host_has_room_fails_and_says_so(service: OpenStackService) -> None:
    await service.set_quota(UNBOUND)
    try:
        backend = service.open()
        made = await backend.create(service.request(offering="huge"))
        failed = await in_state(service, backend, made.provider_id, ServerState.FAILED)
        assert "No valid host" in failed.message
    finally:
        await service.set_quota(QUOTA)


async def test_servers_whose_host_dies_while_it_makes_them_run_or_fail_once_it_is_back(
    service: OpenStackService,
) -> None:
    backend = service.open()
    requests = [service.request() for _ in range(2)]
    begun = await backend.create(requests[0])
    await service.is_being_built(begun.provider_id)
    async with service.without_compute():
        waiting = await backend.create(requests[1])
        for _ in range(4):
            await asyncio.sleep(0.5)
            (shown,) = (await backend.inventory()).with_key(requests[1].key)
            assert (shown.provider_id, shown.state) == (waiting.provider_id, ServerState.PENDING)
            assert (await backend.get(waiting.provider_id)).state is ServerState.PENDING
    for request, made in zip(requests, (begun, waiting), strict=True):
        await _comes_to_its_end(service, backend, made.provider_id)
        assert [each.provider_id for each in await backend.find(request.key)] == [made.provider_id]
        assert await made_with(service, request.key) == [made.provider_id]
        await backend.delete(made.provider_id)
        await is_gone(service, backend, made.provider_id)


async def _comes_to_its_end(service: OpenStackService, backend: Backend, provider_id: str) -> None:
    async def over() -> ServerRecord | None:
        found = await backend.get(provider_id)
        return found if found.state is not ServerState.PENDING else None

    ended = await until(service, over, "the server runs or has failed")
    assert ended is not None
    assert ended.state in {ServerState.RUNNING, ServerState.FAILED}
    assert ended.message or ended.state is ServerState.RUNNING


async def test_a_server_that_was_stopped_and_started_is_the_same(service: OpenStackService) -> None:
    backend = service.open()
    assert isinstance(backend, OpenStackBackend)
    request = service.request(user_data="#!/bin/sh\necho booted >>/var/log/boots; wc -l </var/log/boots\n")
    made = await backend.create(request)
    await in_state(service, backend, made.provider_id)
    await backend.stop(made.provider_id)
    await in_state(service, backend, made.provider_id, ServerState.STOPPED)
    await backend.stop(made.provider_id)
    await backend.start(made.provider_id)
    await in_state(service, backend, made.provider_id)

    async def booted_twice() -> bool:
        return (await backend.console(made.provider_id) or "").split()[-1:] == ["2"]

    await until(service, booted_twice, "its disk was kept")
