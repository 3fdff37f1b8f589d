"""A service that is there and answers nobody, for a while: what no proxy before it has to bring about."""

from __future__ import annotations

import asyncio

import pytest

from moorage.hosting.errors import HostingError, TimedOut, Unavailable
from moorage.testing.base import Contract, needs_hanging, outcome, repeat
from moorage.testing.operations import BY_NAME, OPERATIONS, Scene, scene
from moorage.testing.promises import keeps
from moorage.testing.service import ServiceUnderTest

GIVEN_UP = "MUST raise TimedOut or Unavailable (`definite` is false)"
BOUNDED = "bounded in time, however the service behaves"
_ASKED = frozenset({"create", "delete", "get", "inventory", "find"})
"""What no backend knows by itself. What the service is, and what it keeps, may stand in settings or be remembered."""


class HangingContract(Contract):
    """The service hangs, and goes on."""

    @keeps("raise only `HostingError`s", BOUNDED, GIVEN_UP)
    async def test_a_service_that_hangs_is_given_up_and_used_again(self, service: ServiceUnderTest) -> None:
        needs_hanging(service)
        stage = await scene(service)
        backends = fresh, used = tuple(service.open(**service.short_timeouts(service.calm)) for _ in range(2))
        await repeat(used.account)
        # What changes a server twice may come late, one change after the other.
        possible = [o for o in OPERATIONS if o.prepare is None and not o.undoes and not o.lacks(service, fresh)]
        # Each with a request of its own: without idempotency one that is sent by two makes two servers.
        other = service.request()
        stages = {fresh: Scene(service, stage.server, stage.bystander, other, other.key), used: stage}
        tried = [(operation, backend) for operation in possible for backend in backends]
        await service.faults.hang()
        async with asyncio.timeout(service.patience):
            answers = await asyncio.gather(
                *(outcome(operation.act(backend, stages[backend])) for operation, backend in tried)
            )
        await service.faults.clear()
        service.forget_observer()
        for (operation, _), answer in zip(tried, answers, strict=True):
            if operation.name in _ASKED or isinstance(answer, HostingError):
                assert isinstance(answer, TimedOut | Unavailable), f"{operation.name}: {answer!r}"
                assert not answer.definite
        for backend in backends:
            await repeat(backend.account)
        for name in ("create", "delete"):
            operation = BY_NAME[name]
            await operation.check(stage, await operation.complete(stage, used))

    @pytest.mark.parametrize("pause", [0.0, 0.05, 0.2])
    @keeps(BOUNDED, GIVEN_UP, "the same request MUST give the same server")
    async def test_a_creation_in_whose_midst_the_service_hangs_ends_in_one_server(
        self, service: ServiceUnderTest, pause: float
    ) -> None:
        needs_hanging(service)
        stage = await scene(service)
        create = BY_NAME["create"]
        backend = service.open(**service.short_timeouts(service.calm))
        await repeat(backend.account)
        creating = asyncio.create_task(outcome(create.act(backend, stage)))
        await asyncio.sleep(pause)
        await service.faults.hang()
        async with asyncio.timeout(service.patience):
            answer = await creating
        await service.faults.clear()
        service.forget_observer()
        if isinstance(answer, HostingError):
            assert isinstance(answer, TimedOut | Unavailable)
            assert not answer.definite
        await create.check(stage, await create.complete(stage, backend))
