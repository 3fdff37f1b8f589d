"""Abilities for what outlives a server: Volumes and Addresses."""

from __future__ import annotations

import pytest

from moorage.hosting.abilities import Ability
from moorage.hosting.contract import Backend
from moorage.hosting.errors import Invalid, NotFound
from moorage.testing.base import (
    Contract,
    addresses_of,
    hangs_on,
    in_state,
    is_gone,
    needs_ability,
    outcome,
    repeat,
    until,
    volume_identity,
)
from moorage.testing.promises import keeps, not_applicable
from moorage.testing.proxy import Fault, FaultProxy
from moorage.testing.service import ServiceUnderTest


class AttachmentsContract(Contract):
    """Disks and addresses that hang on a server and stay when it goes."""

    @keeps("Repetition MUST give the same volume", 'MUST raise Invalid(field="volume") while it is attached')
    async def test_a_volume_outlives_its_server(self, service: ServiceUnderTest, backend: Backend) -> None:
        disks = needs_ability(backend, Ability.VOLUMES)
        server = await backend.create(service.request())
        zone = (await in_state(service, backend, server.provider_id)).zone
        key, tags = volume_identity(service.request().key)
        volume = await disks.create_volume(key, service.volume_gib, tags, zone)
        assert (volume.key, volume.attached_to) == (key, None)
        again = await service.open().create_volume(key, service.volume_gib, tags, zone)  # type: ignore[attr-defined]
        assert again.volume_id == volume.volume_id
        for _ in range(2):
            await disks.attach_volume(volume.volume_id, server.provider_id)
        await hangs_on(service, disks, volume.volume_id, server.provider_id)
        with pytest.raises(Invalid) as caught:
            await disks.delete_volume(volume.volume_id)
        assert caught.value.field == "volume"
        await backend.delete(server.provider_id)
        await is_gone(service, backend, server.provider_id)
        await hangs_on(service, disks, volume.volume_id, None)
        for _ in range(2):
            await disks.delete_volume(volume.volume_id)

    @keeps('MUST raise Invalid(field="volume") where it hangs on another server')
    async def test_a_volume_is_never_taken_from_another_server(
        self, service: ServiceUnderTest, backend: Backend
    ) -> None:
        disks = needs_ability(backend, Ability.VOLUMES)
        servers = [(await backend.create(service.request())).provider_id for _ in range(2)]
        records = [await in_state(service, backend, provider_id) for provider_id in servers]
        key, tags = volume_identity(service.request().key)
        volume = (await disks.create_volume(key, service.volume_gib, tags, records[0].zone)).volume_id
        await disks.attach_volume(volume, servers[0])
        await hangs_on(service, disks, volume, servers[0])
        with pytest.raises(Invalid) as caught:
            await disks.attach_volume(volume, servers[1])
        assert caught.value.field == "volume"
        await hangs_on(service, disks, volume, servers[0])
        for _ in range(2):
            await disks.detach_volume(volume)
        await hangs_on(service, disks, volume, None)
        await disks.attach_volume(volume, servers[1])
        await hangs_on(service, disks, volume, servers[1])
        await disks.detach_volume(volume)
        await hangs_on(service, disks, volume, None)
        await disks.delete_volume(volume)
        with pytest.raises(NotFound):
            await disks.attach_volume(volume, servers[1])

    @keeps("Repetition MUST give the same volume, a lost answer included")
    async def test_a_lost_answer_makes_no_second_volume(self, service: ServiceUnderTest, proxy: FaultProxy) -> None:
        disks = needs_ability(service.open_through(proxy), Ability.VOLUMES)
        key, tags = volume_identity(service.request().key)
        first = await disks.create_volume(key, service.volume_gib, tags, None)
        calls = len(proxy.calls)
        for number in range(calls):
            key, tags = volume_identity(service.request().key)
            proxy.arm(Fault.DROP, first=number, count=1)
            await outcome(disks.create_volume(key, service.volume_gib, tags, None))
            proxy.calm()
            made = await repeat(lambda k=key, t=tags: disks.create_volume(k, service.volume_gib, t, None))  # type: ignore[misc]
            with_key = [volume for volume in await disks.volumes() if volume.key == key]
            assert [volume.volume_id for volume in with_key] == [made.volume_id]
            await disks.delete_volume(made.volume_id)
        await disks.delete_volume(first.volume_id)

    @keeps('MUST raise Invalid(field="address") for an address that is not the account')
    async def test_an_address_moves_from_server_to_server(self, service: ServiceUnderTest, backend: Backend) -> None:
        mover = needs_ability(backend, Ability.ADDRESSES)
        if not service.public_address:
            not_applicable("the account of the suite has no address to move")
        servers = [(await backend.create(service.request())).provider_id for _ in range(2)]
        for provider_id in servers:
            await in_state(service, backend, provider_id)
        for target, other in (servers, servers[::-1]):
            for _ in range(2):
                await mover.attach_address(service.public_address, target)
            await _leads_to(service, backend, target, other)
        for _ in range(2):
            await mover.detach_address(service.public_address)
        assert service.public_address not in await addresses_of(backend, servers[0])
        with pytest.raises(Invalid) as caught:
            await mover.attach_address("192.0.2.77", servers[0])
        assert caught.value.field == "address"


async def _leads_to(service: ServiceUnderTest, backend: Backend, target: str, other: str) -> None:
    async def probe() -> bool:
        return service.public_address in await addresses_of(backend, target)

    await until(service, probe, "the address leads to the server")
    assert service.public_address not in await addresses_of(backend, other)
