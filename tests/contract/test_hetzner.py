"""The contract's suite over the Hetzner Cloud API, simulated from its reference."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
from tests.support import beds
from tests.support.services.hetzner import HetznerService

from moorage.hosting.errors import (
    AuthenticationError,
    CapacityError,
    HostingError,
    Invalid,
    KeyConflict,
    Unavailable,
)
from moorage.testing import BackendContract

pytestmark = pytest.mark.bed("hetzner")


class TestHetzner(BackendContract):
    """The Hetzner Cloud."""

    under_test = HetznerService

    @pytest.fixture
    async def service(self) -> AsyncIterator[HetznerService]:
        """The bed, empty and without faults."""
        async with HetznerService(beds.running("hetzner")) as service:
            yield service


@pytest.fixture
async def hetzner() -> AsyncIterator[HetznerService]:
    """The bed, empty and without faults."""
    async with HetznerService(beds.running("hetzner")) as service:
        yield service


async def test_a_token_that_may_only_read_observes_and_changes_nothing(hetzner: HetznerService) -> None:
    writer = hetzner.open()
    account = await writer.account()
    made = await writer.create(hetzner.request())
    reader = hetzner.open(credentials={"token": hetzner.running.extra["readonlyToken"].encode()})
    assert await reader.account() == account
    assert [each.provider_id for each in (await reader.inventory()).servers] == [made.provider_id]
    for call in (reader.delete(made.provider_id), reader.create(hetzner.request())):
        with pytest.raises(AuthenticationError):
            await call
    unmarked = hetzner.open(
        credentials={"token": hetzner.running.extra["readonlyToken"].encode()}, accountMarker="not-there"
    )
    with pytest.raises(AuthenticationError):
        await unmarked.account()


async def test_what_the_settings_ask_for_is_there(hetzner: HetznerService) -> None:
    extra = hetzner.running.extra
    settings = {
        "networks": [extra["network"]],
        "firewalls": [extra["firewall"]],
        "sshKeys": ["admin"],
        "publicIPv4": False,
        "publicIPv6": False,
        "labels": {"team": "shop"},
    }
    backend = hetzner.open()
    made = await backend.create(hetzner.request(settings=settings))
    found = await backend.get(made.provider_id)
    assert [(str(each.type), each.address.startswith("10.0.0.")) for each in found.addresses] == [("Internal", True)]
    assert found.tags["team"] == "shop"
    assert (found.zone, found.image, found.offering) == ("fsn1", "debian-12", "cpx22")


async def test_a_protected_server_is_not_deleted_and_says_why(hetzner: HetznerService) -> None:
    backend = hetzner.open()
    made = await backend.create(hetzner.request())
    await hetzner.control.do("protect", id=int(made.provider_id))
    with pytest.raises(Invalid, match="protection"):
        await backend.delete(made.provider_id)
    assert (await backend.get(made.provider_id)).provider_id == made.provider_id


async def test_a_name_that_somebody_elses_server_has_is_refused(hetzner: HetznerService) -> None:
    request = hetzner.request()
    await hetzner.control.do("create", name=request.key, server_type=hetzner.offering, image=hetzner.image)
    with pytest.raises(KeyConflict):
        await hetzner.open().create(request)


async def test_a_server_in_a_full_placement_group_finds_no_room(hetzner: HetznerService) -> None:
    backend = hetzner.open()
    account = await backend.account()
    settings = {"placementGroup": int(account.partition("-")[0])}
    for _ in range(10):
        await backend.create(hetzner.request(settings=settings))
    with pytest.raises(CapacityError):
        await backend.create(hetzner.request(settings=settings))
    assert await backend.account() == account


@pytest.mark.parametrize(
    ("status", "code", "error"),
    [
        (503, "maintenance", Unavailable),
        (409, "conflict", Unavailable),
        (500, "service_error", Unavailable),
        (412, "resource_unavailable", CapacityError),
        (403, "forbidden", AuthenticationError),
    ],
)
async def test_what_the_api_cannot_do_now_is_tried_again_by_nobody_but_the_caller(
    hetzner: HetznerService, status: int, code: str, error: type[HostingError]
) -> None:
    backend = hetzner.open()
    request = hetzner.request()
    await hetzner.control.do("faults", refuse=[status, code])
    with pytest.raises(error, match=code):
        await backend.create(request)
    await hetzner.faults.clear()
    assert (await backend.create(request)).key == request.key
