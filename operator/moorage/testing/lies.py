"""A service that answers nonsense, too much, in another's name, or not at all: for every operation."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Coroutine, Mapping
from typing import Any

import pytest
import pytest_asyncio

from moorage.hosting.errors import (
    AuthenticationError,
    HostingError,
    NotFound,
    Retryable,
    Throttled,
    TimedOut,
    Unavailable,
)
from moorage.testing.base import Contract, in_state, listed, outcome
from moorage.testing.certificates import EXPIRED
from moorage.testing.discretion import MARKER, kept_secret, overhear
from moorage.testing.operations import BY_NAME, OPERATIONS, Scene
from moorage.testing.promises import keeps
from moorage.testing.proxy import Fault, FaultProxy
from moorage.testing.service import ServiceUnderTest

WRONG = (
    Fault.CUT,
    Fault.GARBAGE,
    Fault.EMPTY,
    Fault.HTML,
    Fault.OTHER_JSON,
    Fault.NOT_FOUND,
    Fault.ERROR,
    Fault.GATEWAY,
)
SOCKET_BUFFERS = 16 * 1024 * 1024
_NO_BODY = frozenset(
    {
        *("delete", "delete_many", "start", "stop", "resize"),
        *("attach_volume", "detach_volume", "delete_volume", "attach_address", "detach_address"),
    }
)
"""Of these nobody reads the answer's body: a 200 means that the service accepted, whatever else it says."""
_BODY_FAULTS = frozenset({Fault.GARBAGE, Fault.EMPTY, Fault.HTML, Fault.OTHER_JSON})


class LiesContract(Contract):
    """Every call of an operation is answered wrongly."""

    @pytest_asyncio.fixture
    async def stage(self, service: ServiceUnderTest) -> AsyncIterator[Scene]:
        """Two servers; enough that something can be asked of them."""
        backend = service.observer
        made = [(await backend.create(service.request())).provider_id for _ in range(2)]
        for provider_id in made:
            await in_state(service, backend, provider_id)
        request = service.request()
        yield Scene(service, made[0], made[1], request, request.key)

    @pytest.mark.parametrize("fault", WRONG, ids=str)
    @keeps(
        "raise only `HostingError`s",
        "Unavailable or Unknown for every other 404-like answer",
        "MUST raise TimedOut or Unavailable (`definite` is false)",
        "be complete or raise",
    )
    async def test_a_wrong_answer_is_no_answer(
        self, service: ServiceUnderTest, proxy: FaultProxy, stage: Scene, fault: Fault
    ) -> None:
        known = {made.provider_id for made in await service.ledger()}
        for operation in OPERATIONS:
            backend = service.open_through(proxy, **service.short_timeouts(service.calm))
            if operation.lacks(service, backend):
                continue
            prepared = await operation.prepared(stage)
            proxy.arm(fault)
            async with asyncio.timeout(service.patience):
                answer = await outcome(operation.act(backend, prepared))
            if not proxy.calls:
                continue  # it asks nothing of the service: sizes that are declared, for one
            if operation.name in _NO_BODY and fault in _BODY_FAULTS and not isinstance(answer, HostingError):
                continue
            assert isinstance(answer, HostingError), f"{operation.name} believed it: {answer!r}"
            assert not answer.definite, f"{operation.name} takes it for the service's own word: {answer!r}"
        proxy.calm()
        await _intact(service, stage, known)

    @pytest.mark.parametrize("fault", [Fault.HTML, Fault.OTHER_JSON, Fault.NOT_FOUND], ids=str)
    @keeps("raise only `HostingError`s")
    async def test_an_endpoint_that_is_another_services_is_asked_about(
        self, service: ServiceUnderTest, proxy: FaultProxy, fault: Fault
    ) -> None:
        proxy.arm(fault)
        answer = await outcome(service.open_through(proxy).account())
        assert isinstance(answer, HostingError)
        assert "is the endpoint that of" in answer.message

    @keeps("bounded in the bytes that it reads")
    async def test_an_endless_answer_is_not_read_to_its_end(
        self, service: ServiceUnderTest, proxy: FaultProxy, stage: Scene
    ) -> None:
        known = {made.provider_id for made in await service.ledger()}
        for name in ("account", "inventory", "get", "create", "delete"):
            operation = BY_NAME[name]
            backend = service.open_through(proxy)
            proxy.arm(Fault.HUGE)
            async with asyncio.timeout(service.patience * 2):
                answer = await outcome(operation.act(backend, stage))
            assert proxy.huge_bytes <= service.most_bytes + SOCKET_BUFFERS, f"{name} read {proxy.huge_bytes} bytes"
            if name != "delete":
                assert isinstance(answer, HostingError)
                assert not answer.definite
        proxy.calm()
        await _intact(service, stage, known)

    @pytest.mark.parametrize("fault", [Fault.HANG, Fault.LATE], ids=str)
    @keeps("bounded in time, however the service behaves", "MUST raise TimedOut or Unavailable (`definite` is false)")
    async def test_a_service_that_never_answers_is_given_up(
        self, service: ServiceUnderTest, proxy: FaultProxy, stage: Scene, fault: Fault
    ) -> None:
        backend = service.open_through(proxy, **service.short_timeouts(service.hasty))
        possible = [o for o in OPERATIONS if not o.lacks(service, backend) and not (o.ends and fault is Fault.LATE)]
        tried = [(operation, await operation.prepared(stage)) for operation in possible]
        proxy.arm(fault)
        answers = await _given_up(service, {o.name: outcome(o.act(backend, scene)) for o, scene in tried})
        for operation, scene in tried:
            answer = answers[operation.name]
            if not isinstance(answer, HostingError):
                proxy.forget()
                await operation.act(backend, scene)
                assert not proxy.calls, f"{operation.name} has an answer that nobody gave: {answer!r}"
            else:
                assert isinstance(answer, TimedOut), f"{operation.name}: {answer!r}"
                assert not answer.definite
        proxy.calm()
        await service.open_through(proxy).account()

    @keeps("raise only `HostingError`s")
    async def test_a_bare_429_is_throttling(self, service: ServiceUnderTest, proxy: FaultProxy, stage: Scene) -> None:
        for operation in OPERATIONS:
            backend = service.open_through(proxy)
            if operation.lacks(service, backend):
                continue
            prepared = await operation.prepared(stage)
            proxy.arm(Fault.THROTTLED)
            answer = await outcome(operation.act(backend, prepared))
            if proxy.calls:
                assert isinstance(answer, Throttled), f"{operation.name}: {answer!r}"
                told = 7.0 if service.sees_retry_after else None
                assert answer.retry_after == told, f"{operation.name} was asked to wait 7 s by Retry-After: {answer!r}"
        proxy.calm()

    @keeps("raise only `HostingError`s")
    async def test_a_bare_401_is_about_credentials(
        self, service: ServiceUnderTest, proxy: FaultProxy, stage: Scene
    ) -> None:
        for operation in OPERATIONS:
            backend = service.open_through(proxy)
            if operation.lacks(service, backend):
                continue
            prepared = await operation.prepared(stage)
            proxy.arm(Fault.UNAUTHORIZED)
            answer = await outcome(operation.act(backend, prepared))
            if proxy.calls:
                assert isinstance(answer, AuthenticationError | Retryable), f"{operation.name}: {answer!r}"
        proxy.calm()

    @keeps("raise only `HostingError`s")
    async def test_a_service_that_is_not_there_is_unavailable(
        self, service: ServiceUnderTest, proxy: FaultProxy, stage: Scene
    ) -> None:
        backend = service.open_through(proxy, **service.short_timeouts(service.calm))
        await backend.account()
        await proxy.stop()
        for operation in OPERATIONS:
            if operation.lacks(service, backend) or operation.name == "offerings":
                continue
            answer = await outcome(operation.act(backend, await operation.prepared(stage)))
            assert isinstance(answer, Retryable), f"{operation.name}: {answer!r}"
            assert not answer.definite

    @keeps("raise only `HostingError`s")
    async def test_an_expired_certificate_is_told_with_what_to_do(
        self, service: ServiceUnderTest, over_http: None
    ) -> None:
        before = FaultProxy(service.addresses(), upstream_tls=service.upstream_tls, validity=EXPIRED)
        async with before as proxy:
            answer = await outcome(service.open_through(proxy).account())
            assert not proxy.calls
        assert isinstance(answer, Unavailable)
        assert "has expired: renew it" in answer.message

    @keeps("raise NotFound only on the service's own typed answer")
    async def test_only_the_services_own_word_is_not_found(
        self, service: ServiceUnderTest, proxy: FaultProxy, stage: Scene
    ) -> None:
        backend = service.open_through(proxy)
        await backend.get(stage.server)
        for fault in (Fault.NOT_FOUND, Fault.HTML, Fault.EMPTY, Fault.OTHER_JSON):
            proxy.arm(fault)
            answer = await outcome(backend.get(stage.server))
            assert isinstance(answer, HostingError)
            assert not isinstance(answer, NotFound)
        proxy.calm()
        assert (await backend.get(stage.server)).provider_id == stage.server

    @keeps("MUST NOT log or raise credentials, user-data or tokens")
    async def test_nothing_secret_is_logged_or_raised(
        self, service: ServiceUnderTest, proxy: FaultProxy, stage: Scene, caplog: pytest.LogCaptureFixture
    ) -> None:
        overhear(caplog)
        told = []
        for fault in (None, Fault.CUT, Fault.NOT_FOUND, Fault.ERROR, Fault.GARBAGE, Fault.UNAUTHORIZED):
            backend = service.open_through(proxy, **service.short_timeouts(service.calm))
            proxy.calm() if fault is None else proxy.arm(fault)
            harmless = [o for o in OPERATIONS if not o.lacks(service, backend) and not o.ends and o.name != "create"]
            scenes = [(operation, await operation.prepared(stage)) for operation in harmless]
            told += [repr(await outcome(operation.act(backend, scene))) for operation, scene in scenes]
            request = service.request(user_data=f"#!/bin/sh\necho {MARKER}\n")
            told.append(repr(await outcome(backend.create(request))))
        proxy.calm()
        kept_secret([service.credentials], [*told, caplog.text])


async def _given_up(service: ServiceUnderTest, calls: Mapping[str, Coroutine[Any, Any, Any]]) -> dict[str, Any]:
    """What became of the calls, each of which ends soon."""
    tasks = {name: asyncio.create_task(call) for name, call in calls.items()}
    _, waiting = await asyncio.wait(tasks.values(), timeout=service.soon)
    for task in waiting:
        task.cancel()
    late = ", ".join(name for name, task in tasks.items() if task in waiting)
    assert not late, (
        f"not given up within {service.soon:g} s: {late}. `short_timeouts` told the backend {service.hasty:g} s: bound "
        "each of them by its own setting, or have `hasty` say what the backend needs"
    )
    return {name: task.result() for name, task in tasks.items()}


async def _intact(service: ServiceUnderTest, stage: Scene, known: set[str]) -> None:
    """Nothing was made and nothing was lost."""
    assert {made.provider_id for made in await service.ledger()} == known
    backend = service.observer
    for provider_id in (stage.server, stage.bystander):
        assert (await backend.get(provider_id)).provider_id == provider_id
    await listed(service, backend, {stage.server, stage.bystander}, set())
