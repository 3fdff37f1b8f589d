"""What a service refuses with good reason: for want of room, by quota, for the rate, for credentials or the request."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

import pytest

from moorage.hosting.contract import Backend, ServerRecord
from moorage.hosting.errors import (
    AuthenticationError,
    CapacityError,
    HostingError,
    Invalid,
    NotFound,
    QuotaError,
    Retryable,
    Throttled,
)
from moorage.testing.base import (
    Contract,
    in_state,
    is_gone,
    made_only,
    made_with,
    needs_fault,
    outcome,
    repeat,
    until,
)
from moorage.testing.promises import keeps, not_applicable
from moorage.testing.service import ServiceUnderTest

NOTHING_CREATED = "Typed refusals (CapacityError, QuotaError, Invalid, AuthenticationError, Throttled)"


class RefusalsContract(Contract):
    """Typed refusals: the right class, and nothing was done."""

    @keeps(NOTHING_CREATED)
    async def test_a_full_service_says_so_and_creates_nothing(self, service: ServiceUnderTest) -> None:
        needs_fault(service, "capacity")
        await service.faults.capacity(1)
        await self._one_fits(service, CapacityError)

    @keeps(NOTHING_CREATED)
    async def test_a_used_up_quota_is_told_and_nothing_created(self, service: ServiceUnderTest) -> None:
        needs_fault(service, "quota")
        await service.faults.quota(1)
        await self._one_fits(service, QuotaError)

    @staticmethod
    async def _one_fits(service: ServiceUnderTest, refusal: type[HostingError]) -> None:
        backend = service.open()
        first = await backend.create(service.request())
        request = service.request()
        for _ in range(2):
            with pytest.raises(refusal) as caught:
                await backend.create(request)
            assert caught.value.definite
        await made_only(service, request.key)
        await backend.delete(first.provider_id)
        await is_gone(service, backend, first.provider_id)

        async def fits() -> bool:
            # Some services give the place back a moment after the server is gone.
            return not isinstance(await outcome(backend.create(request)), refusal)

        await until(service, fits, "there is room again")
        assert len(await made_with(service, request.key)) == 1

    @keeps(NOTHING_CREATED)
    async def test_servers_asked_for_at_once_do_not_overrun_the_room(self, service: ServiceUnderTest) -> None:
        needs_fault(service, "capacity")
        await service.faults.capacity(2)
        backend = service.open()
        requests = [service.request() for _ in range(6)]
        answers = await asyncio.gather(*(outcome(backend.create(request)) for request in requests))
        for request, answer in zip(requests, answers, strict=True):
            if isinstance(answer, HostingError):
                assert isinstance(answer, CapacityError)
                await made_only(service, request.key)
        assert sum(isinstance(answer, CapacityError) for answer in answers) >= 4

    @pytest.mark.parametrize("wait", [7.0, None], ids=["with a time to wait", "without"])
    @keeps(NOTHING_CREATED)
    async def test_throttling_is_told_with_the_time_to_wait(
        self, service: ServiceUnderTest, wait: float | None
    ) -> None:
        needs_fault(service, "throttle")
        backend = service.open()
        made = await backend.create(service.request())
        request = service.request()
        await service.faults.throttle(wait)
        calls: list[Callable[[], Awaitable[object]]] = [
            lambda: backend.create(request),
            lambda: backend.get(made.provider_id),
            backend.inventory,
            lambda: backend.delete(made.provider_id),
        ]
        for call in calls:
            with pytest.raises(Throttled) as caught:
                await call()
            expected = wait if service.sees_retry_after else None
            assert caught.value.retry_after == expected, "what the service says in Retry-After is `retry_after`"
        await made_only(service, request.key)
        await service.faults.clear()
        assert (await backend.get(made.provider_id)).provider_id == made.provider_id

    @keeps(NOTHING_CREATED)
    async def test_wrong_credentials_are_refused(self, service: ServiceUnderTest) -> None:
        if not service.wrong_credentials:
            not_applicable("the service asks for no credentials that could be wrong")
        made = await service.open().create(service.request())
        for credentials in service.wrong_credentials:
            try:
                backend = service.open(credentials=credentials)
            except AuthenticationError:
                continue
            await self._refused(service, backend, made.provider_id)

    @keeps(NOTHING_CREATED)
    async def test_credentials_that_are_revoked_are_refused_and_work_again(
        self, service: ServiceUnderTest, backend: Backend
    ) -> None:
        needs_fault(service, "revoke")
        made = await backend.create(service.request())
        await service.faults.revoke()
        await self._refused(service, backend, made.provider_id)
        await self._refused(service, service.open(), made.provider_id)
        await service.faults.clear()
        assert (await service.open().get(made.provider_id)).provider_id == made.provider_id

    @staticmethod
    async def _refused(service: ServiceUnderTest, backend: Backend, provider_id: str) -> None:
        request = service.request()
        calls: list[Callable[[], Awaitable[object]]] = [
            backend.account,
            backend.inventory,
            lambda: backend.get(provider_id),
            lambda: backend.create(request),
            lambda: backend.delete(provider_id),
        ]
        for call in calls:
            with pytest.raises(AuthenticationError) as caught:
                await call()
            assert caught.value.definite
        await made_only(service, request.key)

    @keeps(NOTHING_CREATED, "be complete or raise", "raise NotFound only on the service's own typed answer")
    async def test_a_project_that_is_closed_is_no_empty_one(self, service: ServiceUnderTest, backend: Backend) -> None:
        needs_fault(service, "project_gone")
        account = await backend.account()
        made = await backend.create(service.request())
        await in_state(service, backend, made.provider_id)
        await service.faults.project_gone()
        # What has a session already, and what asks for one.
        await self._closed(service, backend, made)
        await self._closed(service, service.open(), made)
        await service.faults.clear()
        for opened in (backend, service.open()):
            again = await repeat(opened.inventory)
            assert again.account == account
            assert [server.provider_id for server in again.with_key(str(made.key))] == [made.provider_id]

    @staticmethod
    async def _closed(service: ServiceUnderTest, backend: Backend, made: ServerRecord) -> None:
        """What mends it is named: the credentials, or the project."""
        request = service.request()
        calls: list[Callable[[], Awaitable[object]]] = [
            backend.account,
            backend.inventory,
            lambda: backend.get(made.provider_id),
            lambda: backend.find(str(made.key)),
            lambda: backend.create(request),
            lambda: backend.delete(made.provider_id),
        ]
        for call in calls:
            answer = await outcome(call())
            assert isinstance(answer, AuthenticationError | Invalid), f"{answer!r}"
            assert answer.definite
            assert "project" in (str(answer.field) if isinstance(answer, Invalid) else answer.message)
        await made_only(service, request.key)

    async def test_an_expired_session_is_renewed(self, service: ServiceUnderTest, backend: Backend) -> None:
        needs_fault(service, "expire")
        made = await backend.create(service.request())
        await service.faults.expire()
        # The call that finds out may fail, retryably; the credentials are good, so it is no AuthenticationError.
        assert (await repeat(lambda: backend.get(made.provider_id))).provider_id == made.provider_id
        await service.faults.expire()
        request = service.request()
        again = await repeat(lambda: backend.create(request))
        await made_only(service, request.key, again.provider_id)
        await service.faults.expire()
        await repeat(backend.inventory)

    @keeps(NOTHING_CREATED)
    async def test_an_invalid_request_names_its_field(self, service: ServiceUnderTest, backend: Backend) -> None:
        for changes, field in service.invalid_requests():
            request = service.request(**changes)
            with pytest.raises(Invalid) as caught:
                await backend.create(request)
            assert (caught.value.field, caught.value.definite) == (field, True)
            await made_only(service, request.key)

    async def test_an_invalid_service_names_its_field(self, service: ServiceUnderTest) -> None:
        cases = service.invalid_specs()
        if not cases:
            not_applicable("the harness names no spec that the service refuses")
        for changes, field in cases:
            with pytest.raises(Invalid) as caught:
                await service.open(**changes).account()
            assert caught.value.field == field

    @keeps("Repetition: MUST be harmless, while the server is being deleted")
    async def test_deleting_what_is_gone_is_harmless(self, service: ServiceUnderTest, backend: Backend) -> None:
        made, stays = [await backend.create(service.request()) for _ in range(2)]
        await asyncio.gather(*(_delete(backend, made.provider_id, "with others") for _ in range(5)))
        await _delete(backend, made.provider_id, "of a server that is being deleted")
        await is_gone(service, backend, made.provider_id)
        await _delete(backend, made.provider_id, "of a server that is gone")
        if service.unknown_id:
            await _delete(backend, service.unknown_id, "of a server that never was")
        assert (await backend.get(stays.provider_id)).provider_id == stays.provider_id

    @keeps("raise NotFound only on the service's own typed answer")
    async def test_an_id_of_nothing_finds_nothing(self, service: ServiceUnderTest, backend: Backend) -> None:
        stays = await backend.create(service.request())
        if service.unknown_id:
            with pytest.raises(NotFound):
                await backend.get(service.unknown_id)
        for odd in ("", ".", "..", "../account", "a/b?c=d#e", "%2e%2e", "ü", "x" * 5000, "a\nb", "*", "a,b"):
            answer = await outcome(backend.get(odd))
            assert isinstance(answer, NotFound | Invalid), f"get({odd[:20]!r}): {answer!r}"
            answer = await outcome(backend.delete(odd))
            assert answer is None or isinstance(answer, NotFound | Invalid), f"delete({odd[:20]!r}): {answer!r}"
        assert (await backend.get(stays.provider_id)).provider_id == stays.provider_id

    async def test_the_service_throttled_for_a_while_works_again(
        self, service: ServiceUnderTest, backend: Backend
    ) -> None:
        needs_fault(service, "throttle")
        await service.faults.throttle(None)
        answer = await outcome(backend.inventory())
        assert isinstance(answer, Retryable)
        await service.faults.clear()
        assert await repeat(backend.account)


async def _delete(backend: Backend, provider_id: str, which: str) -> None:
    answer = await outcome(backend.delete(provider_id))
    assert answer is None, f"a deletion {which} raised {answer!r}: it is harmless, and NotFound is its success"
