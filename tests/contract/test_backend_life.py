"""What every backend does when all goes well, and what it does when it is asked twice."""

from __future__ import annotations

import asyncio
from dataclasses import replace

import pytest
from tests.support.hostd import Hostd, in_state, is_gone

from moorage.hosting.contract import (
    RELEASED,
    TAG_INSTALLATION,
    TAG_SERVER,
    ServerState,
)
from moorage.hosting.errors import CapacityError, Invalid, KeyConflict, NotFound
from moorage.hosting.local import LocalBackend


async def test_a_server_lives_from_creation_to_deletion(service: Hostd, backend: LocalBackend) -> None:
    request = service.request()
    made = await backend.create(request)
    assert made.key == request.key
    assert made.tags == request.tags
    assert made.state in {ServerState.PENDING, ServerState.RUNNING}
    running = await in_state(backend, made.provider_id, ServerState.RUNNING)
    assert [str(a.type) for a in running.addresses] == ["Internal"]
    assert running.created is not None
    assert running.created.tzinfo is not None
    assert [s.provider_id for s in (await backend.inventory()).servers] == [made.provider_id]
    assert [s.provider_id for s in await backend.find(request.key)] == [made.provider_id]
    await backend.delete(made.provider_id)
    await is_gone(backend, made.provider_id)
    assert (await backend.inventory()).servers == ()
    assert await backend.find(request.key) == ()
    assert await service.ledger("Deleted") == [made.provider_id]


async def test_the_service_tells_what_it_sells(backend: LocalBackend) -> None:
    offerings = await backend.offerings()
    assert {o.name for o in offerings} == {"small", "medium", "large"}
    assert all(o.cpu > 0 and o.memory > 0 and o.price_per_hour is not None for o in offerings)
    assert "process/shell" in (await backend.images() or ())
    capacity = await backend.capacity()
    assert (capacity.limit, capacity.used, capacity.available) == (100, 0, 100)


async def test_a_repeated_creation_gives_the_same_server(service: Hostd, backend: LocalBackend) -> None:
    request = service.request()
    first = await backend.create(request)
    again = await backend.create(request)
    assert again.provider_id == first.provider_id
    assert len(await service.ledger()) == 1


async def test_concurrent_creations_of_one_key_give_one_server(service: Hostd) -> None:
    request = service.request()
    backends = [service.open() for _ in range(3)]
    made = await asyncio.gather(*(backends[n % 3].create(request) for n in range(12)))
    assert len({record.provider_id for record in made}) == 1
    assert len(await service.ledger()) == 1


async def test_a_repeated_creation_finds_a_server_that_was_retagged(service: Hostd, backend: LocalBackend) -> None:
    request = service.request()
    first = await backend.create(request)
    await backend.retag(first.provider_id, {TAG_SERVER: RELEASED})
    assert (await backend.create(request)).provider_id == first.provider_id


async def test_a_key_with_another_request_is_refused(service: Hostd, backend: LocalBackend) -> None:
    request = service.request()
    await backend.create(request)
    for other in (
        replace(request, name="other"),
        replace(request, user_data="#!/bin/sh\necho other\n"),
        replace(request, offering="large"),
        replace(request, tags={**request.tags, TAG_SERVER: "other"}),
    ):
        with pytest.raises(KeyConflict):
            await backend.create(other)
    assert len(await service.ledger()) == 1


async def test_the_key_of_a_server_that_is_gone_makes_no_second_one(service: Hostd, backend: LocalBackend) -> None:
    request = service.request()
    made = await backend.create(request)
    await backend.delete(made.provider_id)
    await is_gone(backend, made.provider_id)
    with pytest.raises(KeyConflict):
        await backend.create(request)
    assert len(await service.ledger()) == 1


async def test_deleting_what_is_gone_is_harmless(service: Hostd, backend: LocalBackend) -> None:
    made = await backend.create(service.request())
    await asyncio.gather(*(backend.delete(made.provider_id) for _ in range(5)))
    await is_gone(backend, made.provider_id)
    await backend.delete(made.provider_id)
    await backend.delete("i-never-was")
    assert await service.ledger("Deleted") == [made.provider_id]


async def test_ids_are_never_used_again(service: Hostd, backend: LocalBackend) -> None:
    seen = set()
    for _ in range(5):
        made = await backend.create(service.request())
        assert made.provider_id not in seen
        seen.add(made.provider_id)
        await backend.delete(made.provider_id)
        await is_gone(backend, made.provider_id)


@pytest.mark.parametrize("provider_id", ["i-unknown", "../account", "a/b?c=d#e", "%2e%2e", "ü"])
async def test_an_unknown_server_is_not_found(backend: LocalBackend, provider_id: str) -> None:
    with pytest.raises(NotFound):
        await backend.get(provider_id)
    with pytest.raises(NotFound):
        await backend.retag(provider_id, {"a": "b"})


@pytest.mark.parametrize("provider_id", ["", ".", ".."])
async def test_what_cannot_be_an_id_is_invalid(backend: LocalBackend, provider_id: str) -> None:
    with pytest.raises(Invalid):
        await backend.get(provider_id)


async def test_retag_sets_some_tags_and_leaves_the_others(service: Hostd, backend: LocalBackend) -> None:
    request = service.request()
    made = await backend.create(request)
    for _ in range(2):
        await backend.retag(made.provider_id, {TAG_SERVER: RELEASED, "new": "yes"})
    record = await backend.get(made.provider_id)
    assert record.tags == {**request.tags, TAG_SERVER: RELEASED, "new": "yes"}
    assert record.key == request.key


async def test_servers_of_others_are_listed_with_their_own_tags(service: Hostd, backend: LocalBackend) -> None:
    mine = await backend.create(service.request())
    theirs = await backend.create(service.request(installation="another"))
    bare = await backend.create(service.request(tags={}))
    found = {s.provider_id: s.tags.get(TAG_INSTALLATION) for s in (await backend.inventory()).servers}
    assert found == {mine.provider_id: "inst", theirs.provider_id: "another", bare.provider_id: None}
    await backend.delete(mine.provider_id)
    await is_gone(backend, mine.provider_id)
    assert len((await backend.inventory()).servers) == 2


async def test_the_inventory_goes_over_all_pages_each_server_once(service: Hostd) -> None:
    small_pages = service.open(pageSize=3)
    made = [await small_pages.create(service.request()) for _ in range(10)]
    found = [s.provider_id for s in (await small_pages.inventory()).servers]
    assert found == [s.provider_id for s in made]


async def test_a_server_deleted_between_pages_shifts_no_other_out(service: Hostd) -> None:
    small_pages = service.open(pageSize=2)
    made = [await small_pages.create(service.request()) for _ in range(6)]
    _, page = await service.call("GET", "servers?limit=2")
    await small_pages.delete(made[0].provider_id)
    await is_gone(small_pages, made[0].provider_id)
    _, rest = await service.call("GET", f"servers?limit=10&continue={page['continue']}")
    assert [s["id"] for s in page["items"] + rest["items"]] == [s.provider_id for s in made]


async def test_a_full_service_says_so_and_creates_nothing(service: Hostd, backend: LocalBackend) -> None:
    await service.faults(capacity=2)
    first = await backend.create(service.request())
    await backend.create(service.request())
    request = service.request()
    with pytest.raises(CapacityError) as caught:
        await backend.create(request)
    assert caught.value.definite
    assert (await backend.capacity()).available == 0
    await backend.delete(first.provider_id)
    await is_gone(backend, first.provider_id)
    await backend.create(request)


async def test_concurrent_creations_do_not_overrun_the_capacity(service: Hostd, backend: LocalBackend) -> None:
    await service.faults(capacity=3)
    answers = await asyncio.gather(*(backend.create(service.request()) for _ in range(9)), return_exceptions=True)
    assert sum(isinstance(a, CapacityError) for a in answers) == 6
    assert len(await service.ledger()) == 3


async def test_an_invalid_request_names_its_field(service: Hostd, backend: LocalBackend) -> None:
    for changes, field in (
        ({"image": "no-such"}, "image"),
        ({"offering": "no-such"}, "offering"),
        ({"name": "Not A Name"}, "name"),
        ({"key": "no key"}, "key"),
        ({"settings": {"bootDelay": "soon"}}, "settings.bootDelay"),
        ({"settings": {"nonsense": 1}}, "settings.nonsense"),
        ({"settings": {"environment": {"A=B": "c"}}}, "settings.environment.A=B.[key]"),
        ({"user_data": "x" * 20000}, "userData"),
        ({"tags": {"t": "x" * 300}}, "tags.t"),
    ):
        with pytest.raises(Invalid) as caught:
            await backend.create(service.request(**changes))
        assert caught.value.field == field
        assert caught.value.definite
    assert await service.ledger() == []


async def test_the_account_is_the_same_for_everyone_and_over_a_restart(service: Hostd, backend: LocalBackend) -> None:
    account = await backend.account()
    assert await service.open().account() == account
    assert (await backend.inventory()).account == account
    await service.stop()
    await service.start()
    assert await service.open().account() == account
