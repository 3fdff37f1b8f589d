"""One key means one server, for ever and for everybody."""

from __future__ import annotations

import asyncio
from dataclasses import replace

import pytest

from moorage.hosting.abilities import Ability
from moorage.hosting.contract import RELEASED, TAG_SERVER, Backend, CreateRequest
from moorage.hosting.errors import HostingError, Invalid, KeyConflict, NotFound, Retryable
from moorage.testing.base import (
    Contract,
    finish,
    in_state,
    is_gone,
    made_only,
    made_with,
    needs_ability,
    needs_fault,
    outcome,
)
from moorage.testing.promises import keeps, not_applicable
from moorage.testing.service import ServiceUnderTest

OWN_TAGS = frozenset({"moorage-key", "moorage-request", "moorage-name"})


def needs_idempotency(backend: Backend) -> None:
    """Skip the test where a repeated creation makes a second server."""
    if not backend.capabilities.idempotent_create:
        not_applicable("the service does not know a request again; the waiting rule is tested instead")


class IdentityContract(Contract):
    """The identity of servers, and creations that are repeated."""

    @keeps("on the server in the same call")
    async def test_the_identity_is_on_the_server_at_once(self, service: ServiceUnderTest, backend: Backend) -> None:
        request = service.request()
        made = await backend.create(request)
        for record in (made, await service.open().get(made.provider_id)):
            assert record.key == request.key
            assert record.tags == request.tags
            assert not OWN_TAGS & set(record.tags)

    @keeps("the same request MUST give the same server", "keep nothing in memory that another process would need")
    async def test_a_repeated_creation_gives_the_same_server(self, service: ServiceUnderTest, backend: Backend) -> None:
        needs_idempotency(backend)
        request = service.request()
        first = await backend.create(request)
        # As another process would: from the bytes that were kept.
        again = await service.open().create(CreateRequest.from_bytes(request.to_bytes()))
        assert again.provider_id == first.provider_id
        await in_state(service, backend, first.provider_id)
        assert (await backend.create(request)).provider_id == first.provider_id
        await made_only(service, request.key, first.provider_id)

    async def test_a_creation_of_unknown_outcome_ends_in_one_server(self, service: ServiceUnderTest) -> None:
        backend = service.open(**service.short_timeouts(service.calm))
        request = service.request()
        first = await backend.create(request)
        again = await finish(service, backend, request)
        assert again.provider_id == first.provider_id
        await made_only(service, request.key, first.provider_id)

    @keeps("the same request MUST give the same server", "be safe to call concurrently")
    async def test_concurrent_creations_of_one_key_give_one_server(self, service: ServiceUnderTest) -> None:
        backends = [service.open() for _ in range(3)]
        needs_idempotency(backends[0])
        request = service.request()
        answers = await asyncio.gather(*(outcome(backends[n % 3].create(request)) for n in range(9)))
        unexpected = [a for a in answers if isinstance(a, HostingError) and not isinstance(a, Retryable)]
        assert not unexpected
        made = {answer.provider_id for answer in answers if not isinstance(answer, HostingError)}
        one = (await backends[0].create(request)).provider_id
        await made_only(service, request.key, one)
        assert made <= {one}

    @keeps("be safe to call concurrently")
    async def test_different_servers_can_be_created_at_the_same_time(
        self, service: ServiceUnderTest, backend: Backend
    ) -> None:
        requests = [service.request() for _ in range(service.few)]
        made = await asyncio.gather(*(backend.create(request) for request in requests))
        assert [record.key for record in made] == [request.key for request in requests]
        assert len({record.provider_id for record in made}) == service.few
        read = await asyncio.gather(*(backend.get(record.provider_id) for record in made))
        assert [record.key for record in read] == [request.key for request in requests]

    @keeps("the same request MUST give the same server")
    async def test_a_repeated_creation_finds_its_server_after_a_restart(
        self, service: ServiceUnderTest, backend: Backend
    ) -> None:
        needs_fault(service, "restart")
        request = service.request()
        account = await backend.account()
        first = await backend.create(request)
        await service.faults.restart()
        after = service.open()
        assert await after.account() == account
        assert (await finish(service, after, request)).provider_id == first.provider_id
        await made_only(service, request.key, first.provider_id)

    @keeps("the same request MUST give the same server")
    async def test_a_repeated_creation_finds_a_server_that_was_retagged(
        self, service: ServiceUnderTest, backend: Backend
    ) -> None:
        needs_idempotency(backend)
        retagger = needs_ability(backend, Ability.RETAG)
        request = service.request()
        first = await backend.create(request)
        await retagger.retag(first.provider_id, {TAG_SERVER: RELEASED})
        assert (await backend.create(request)).provider_id == first.provider_id

    @keeps("the same request MUST give the same server")
    async def test_a_key_with_another_request_is_refused(self, service: ServiceUnderTest, backend: Backend) -> None:
        needs_idempotency(backend)
        request = service.request()
        await backend.create(request)
        others = [
            replace(request, name=f"{request.name}-2"),
            replace(request, user_data="#!/bin/sh\necho another\n"),
            replace(request, tags={**request.tags, TAG_SERVER: "another"}),
        ]
        if service.other_offering:
            others.append(replace(request, offering=service.other_offering))
        for other in others:
            with pytest.raises(KeyConflict):
                await backend.create(other)
        assert len(await made_with(service, request.key)) == 1

    @keeps("The id MUST never come to mean another server")
    async def test_an_id_never_means_another_server(self, service: ServiceUnderTest, backend: Backend) -> None:
        request = service.request()
        first = await backend.create(request)
        await backend.delete(first.provider_id)
        await is_gone(service, backend, first.provider_id)
        # The key of a server that is gone may be refused, or mean a new server with an id of its own.
        answer = await outcome(backend.create(request))
        if isinstance(answer, HostingError):
            assert isinstance(answer, Invalid | Retryable)
            answer = await backend.create(service.request())
        assert answer.provider_id != first.provider_id
        with pytest.raises(NotFound):
            await backend.get(first.provider_id)
        await backend.delete(first.provider_id)
        assert (await backend.get(answer.provider_id)).provider_id == answer.provider_id
