"""Abilities that change a server: Retag, Power, Resize. Each test is skipped where the backend has not the ability."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from moorage.hosting.abilities import Ability, abilities_of
from moorage.hosting.contract import RELEASED, TAG_SERVER, Backend, CreateRequest, ServerState
from moorage.hosting.errors import CapacityError, Invalid, NotFound
from moorage.testing.base import Contract, in_state, is_gone, listed, needs_ability, needs_fault, outcome, repeat, until
from moorage.testing.promises import keeps, not_applicable
from moorage.testing.service import ServiceUnderTest


class ChangesContract(Contract):
    """Tags, power and size of a server that is there."""

    @keeps("when it returns, `get` MUST show them")
    async def test_retag_sets_some_tags_and_leaves_the_others(
        self, service: ServiceUnderTest, backend: Backend
    ) -> None:
        retagger = needs_ability(backend, Ability.RETAG)
        request = service.request()
        made = await backend.create(request)
        other = await backend.create(service.request())
        await retagged_twice(service, retagger, made.provider_id, request)
        assert "new" not in (await backend.get(other.provider_id)).tags

    async def test_what_is_gone_cannot_be_changed(self, service: ServiceUnderTest, backend: Backend) -> None:
        made = await backend.create(service.request())
        await backend.delete(made.provider_id)
        await is_gone(service, backend, made.provider_id)
        changes: dict[Ability, Callable[[Any], Awaitable[None]]] = {
            Ability.RETAG: lambda b: b.retag(made.provider_id, {"a": "b"}),
            Ability.POWER: lambda b: b.start(made.provider_id),
            Ability.RESIZE: lambda b: b.resize(made.provider_id, service.offering),
        }
        tried = 0
        for ability, change in changes.items():
            if ability in abilities_of(backend):
                tried += 1
                with pytest.raises(NotFound):
                    await change(backend)
        if not tried:
            not_applicable("the backend changes nothing")

    @keeps("A server that runs, or is about to, MUST be left as it is")
    async def test_a_server_is_stopped_and_started(self, service: ServiceUnderTest, backend: Backend) -> None:
        power = needs_ability(backend, Ability.POWER)
        request = service.request()
        made = await backend.create(request)
        before = await in_state(service, backend, made.provider_id)
        await power.start(made.provider_id)
        assert (await backend.get(made.provider_id)).state is ServerState.RUNNING
        for _ in range(2):
            await power.stop(made.provider_id)
            await in_state(service, backend, made.provider_id, ServerState.STOPPED)
        await listed(service, backend, {made.provider_id}, set())
        for _ in range(2):
            # One that is still being stopped may be told as stopped, and cannot be started yet.
            await repeat(lambda: power.start(made.provider_id))
        after = await in_state(service, backend, made.provider_id)
        assert (after.key, after.tags, after.offering) == (request.key, request.tags, before.offering)

    async def test_a_stopped_server_can_be_deleted(self, service: ServiceUnderTest, backend: Backend) -> None:
        power = needs_ability(backend, Ability.POWER)
        made = await backend.create(service.request())
        await in_state(service, backend, made.provider_id)
        await power.stop(made.provider_id)
        await in_state(service, backend, made.provider_id, ServerState.STOPPED)
        await backend.delete(made.provider_id)
        await is_gone(service, backend, made.provider_id)

    @keeps("A server that has the offering MUST be left as it is")
    async def test_a_server_gets_another_offering_in_place(self, service: ServiceUnderTest, backend: Backend) -> None:
        resizer = needs_ability(backend, Ability.RESIZE)
        if not service.other_offering:
            not_applicable("the service has but one offering")
        request = service.request()
        made = await backend.create(request)
        before = await in_state(service, backend, made.provider_id)
        await resizer.resize(made.provider_id, service.offering)
        assert (await backend.get(made.provider_id)).state is ServerState.RUNNING
        for _ in range(2):
            await resizer.resize(made.provider_id, service.other_offering)

            async def resized() -> bool:
                record = await backend.get(made.provider_id)
                return record.offering == service.other_offering and record.state is ServerState.RUNNING

            await until(service, resized, "the server has the other offering and runs")
        after = await backend.get(made.provider_id)
        assert (after.key, after.tags, before.offering) == (request.key, request.tags, service.offering)

    @keeps('MUST raise Invalid(field="offering") for one that does not exist, CapacityError')
    async def test_an_offering_that_cannot_be_had_changes_nothing(
        self, service: ServiceUnderTest, backend: Backend
    ) -> None:
        resizer = needs_ability(backend, Ability.RESIZE)
        made = await backend.create(service.request())
        await in_state(service, backend, made.provider_id)
        with pytest.raises(Invalid) as caught:
            await resizer.resize(made.provider_id, "no-such-offering")
        assert caught.value.field == "offering"
        record = await backend.get(made.provider_id)
        assert (record.offering, record.state) == (service.offering, ServerState.RUNNING)

    @keeps('MUST raise Invalid(field="offering") for one that does not exist, CapacityError')
    async def test_a_resize_without_room_changes_nothing(self, service: ServiceUnderTest, backend: Backend) -> None:
        resizer = needs_ability(backend, Ability.RESIZE)
        needs_fault(service, "no_room_to_grow")
        made = await backend.create(service.request())
        await in_state(service, backend, made.provider_id)
        await service.faults.no_room_to_grow()
        answer = await outcome(resizer.resize(made.provider_id, service.other_offering))
        assert isinstance(answer, CapacityError)
        record = await in_state(service, backend, made.provider_id)
        assert record.offering == service.offering


async def retagged_twice(service: ServiceUnderTest, retagger: Any, provider_id: str, request: CreateRequest) -> None:
    """Release a server, twice: its other tags and its key stay, and `get` shows it at once."""
    for _ in range(2):
        await retagger.retag(provider_id, {TAG_SERVER: RELEASED, "new": "yes"})
        record = await service.open().get(provider_id)
        assert record.tags == {**request.tags, TAG_SERVER: RELEASED, "new": "yes"}
        assert record.key == request.key
