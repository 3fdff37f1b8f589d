"""Calls that are cut, lost, delayed or doubled on their way, or cancelled: at each call that an operation makes.

Every case is the same: the operation runs with one of its calls broken, and returns or raises a typed error; then it is
repeated, undisturbed, until it succeeds; then exactly what was asked for is there, once, and nothing else is lost.
"""

from __future__ import annotations

import asyncio
import os
import time

import pytest

from moorage.hosting.errors import HostingError
from moorage.testing.base import Contract, needs_fault, outcome, repeat
from moorage.testing.operations import BY_NAME, Operation, Scene, again, scene
from moorage.testing.promises import keeps, left_out, not_applicable
from moorage.testing.proxy import Fault, FaultProxy
from moorage.testing.service import ServiceUnderTest

EVERY_FAULT = "MOORAGE_EVERY_FAULT"
REPEATABLE = frozenset({"GET", "HEAD", "OPTIONS", "PUT", "DELETE"})
"""What an HTTP client may send once more by itself when the connection it kept turns out to be closed (RFC 9110)."""
CLOSED = frozenset({Fault.CUT, Fault.DROP})
FAULTS = (
    Fault.CUT,
    Fault.DROP,
    Fault.HALF,
    Fault.LATE,
    Fault.DELAYED,
    Fault.DUPLICATE,
    Fault.GARBAGE,
    Fault.EMPTY,
    Fault.NOT_FOUND,
    Fault.ERROR,
    Fault.GATEWAY,
    Fault.THROTTLED,
)
_SLOW = frozenset({Fault.LATE, Fault.DELAYED, Fault.HANG})
MAKES_TWO = frozenset({Fault.DELAYED, Fault.DUPLICATE})
"""Faults after which a service without idempotent creation may well have two servers: nobody could prevent it."""
_MOST_CALLS = 40
_UNKNOWN_OUTCOME = (Fault.CUT, Fault.DROP, Fault.LATE, Fault.DELAYED, Fault.DUPLICATE)
_FEW = {
    "create": _UNKNOWN_OUTCOME,
    "delete": (Fault.DROP, Fault.LATE, Fault.DUPLICATE),
    "resize": (Fault.DROP,),
}
"""Where a service is slow, these are tried; another operation has one fault, each the next one."""
_ATTACHING = frozenset(
    {
        *("create_volume", "attach_volume", "detach_volume", "delete_volume"),
        *("attach_address", "detach_address"),
    }
)
"""With these, only faults that leave it open whether the service acted: wrong answers to them are tried in `lies`."""


class InterruptionContract(Contract):
    """One call at a time goes wrong."""

    @pytest.fixture(autouse=True)
    def _left_out(self, request: pytest.FixtureRequest) -> None:
        callspec = getattr(request.node, "callspec", None)
        params = callspec.params if callspec is not None else {}
        if self.under_test is not None and {"name", "fault"} <= params.keys():
            _leave_out(self.under_test, params["name"], params["fault"])
        if self.under_test is not None and {"name", "after"} <= params.keys():
            _leave_out_cancelled(self.under_test, params["name"], after=params["after"])

    @pytest.mark.parametrize("fault", FAULTS, ids=str)
    @pytest.mark.parametrize("name", BY_NAME)
    @keeps(
        "raise only `HostingError`s",
        "MUST NOT retry by itself after an answer was lost",
        "MUST NOT send the request again itself",
        "on the server in the same call",
        "a page that failed, was cut",
        "Repetition: MUST be harmless, while the server is being deleted",
        "the same request MUST give the same server",
    )
    async def test_a_broken_call_is_mended_by_repeating(
        self, service: ServiceUnderTest, proxy: FaultProxy, name: str, fault: Fault
    ) -> None:
        operation = BY_NAME[name]
        backend = service.observer
        if lack := operation.lacks(service, backend):
            not_applicable(lack)
        _leave_out(type(service), name, fault)
        if name == "create" and fault in MAKES_TWO and not backend.capabilities.idempotent_create:
            not_applicable("a service without idempotent creation makes two servers of a request that comes twice")
        stage = await scene(service)
        calls = await _record(operation, stage, proxy)
        for first in _places(service, fault, list(calls)):
            stage = await again(stage, ended=operation.ends)
            await _break_one(operation, await operation.prepared(stage), proxy, fault, first, calls[first])

    @pytest.mark.parametrize("after", [False, True], ids=["before the service acts", "after the service acted"])
    @pytest.mark.parametrize(
        "name", ["create", "delete", "inventory", "get", "retag", "resize", "attach_volume", "detach_volume"]
    )
    @keeps("cancellable at every await and MUST leave the backend usable", "let `asyncio.CancelledError` through")
    async def test_a_cancelled_call_leaves_everything_usable(
        self, service: ServiceUnderTest, proxy: FaultProxy, name: str, after: bool
    ) -> None:
        operation = BY_NAME[name]
        if lack := operation.lacks(service, service.observer):
            not_applicable(lack)
        _leave_out_cancelled(type(service), name, after=after)
        stage = await scene(service)
        calls = await _record(operation, stage, proxy)
        for number in _places(service, Fault.CUT, list(calls)):
            stage = await operation.prepared(await again(stage, ended=operation.ends))
            backend = service.open_through(proxy, **service.short_timeouts(service.calm))
            reached = proxy.hold(number, after=after)
            doing = asyncio.create_task(outcome(operation.act(backend, stage)))
            waiting = asyncio.create_task(reached.wait())
            await asyncio.wait({doing, waiting}, return_when=asyncio.FIRST_COMPLETED)
            waiting.cancel()
            doing.cancel()
            finished, _ = await asyncio.wait({doing}, timeout=service.patience)
            assert finished, f"{name} does not end when it is cancelled"
            assert doing.cancelled() or not reached.is_set()
            proxy.open()
            await operation.check(stage, await operation.complete(stage, backend))

    @pytest.mark.parametrize("name", ["create", "delete", "inventory", "get"])
    @keeps("cancellable at every await and MUST leave the backend usable", "let `asyncio.CancelledError` through")
    async def test_a_call_cancelled_after_some_time_leaves_everything_usable(
        self, service: ServiceUnderTest, name: str
    ) -> None:
        operation = BY_NAME[name]
        if service.http and not tries_all(service):
            left_out(f"through the proxy it is cancelled at its calls; {EVERY_FAULT}=1 does so after some time, too")
        stage = await scene(service)
        fresh, used = (service.open(**service.short_timeouts(service.calm)) for _ in range(2))
        await repeat(used.account)
        began = time.monotonic()
        answer = await operation.act(used, stage)
        lasts = time.monotonic() - began
        await operation.check(stage, answer)
        for backend, part in ((fresh, 0.0), *((used, part) for part in _parts(service))):
            stage = await again(stage, ended=operation.ends)
            doing = asyncio.create_task(outcome(operation.act(backend, stage)))
            await asyncio.wait({doing}, timeout=part * lasts)
            cancelled = doing.cancel()
            finished, _ = await asyncio.wait({doing}, timeout=service.patience)
            assert finished, f"{name} does not end when it is cancelled"
            assert doing.cancelled() == cancelled
            await operation.check(stage, await operation.complete(stage, backend))

    @keeps("the same request MUST give the same server")
    async def test_creations_survive_the_death_of_the_service(self, service: ServiceUnderTest) -> None:
        needs_fault(service, "restart")
        # Where it takes long to come back, and longer until an attempt is known to have failed, two moments have to do.
        for pause in (0.0, 0.01, 0.05, 0.2) if service.faults_at == "every call" else (0.0, 0.2):
            stage = await scene(service)
            backend = service.open(**service.short_timeouts(service.calm))
            creating = asyncio.create_task(outcome(backend.create(stage.request)))
            await asyncio.sleep(pause)
            await service.faults.restart()
            service.forget_observer()
            await creating
            create = BY_NAME["create"]
            await create.check(stage, await create.complete(stage, backend))
            for survivor in (stage.server, stage.bystander):
                await backend.get(survivor)
                await backend.delete(survivor)


async def _record(operation: Operation, stage: Scene, proxy: FaultProxy) -> dict[int, int]:
    """The calls that the operation makes when nothing disturbs it, by their numbers, those last that matter most; and
    how often it makes each of them once more."""
    stage = await operation.prepared(stage)
    service = stage.service
    answer = await operation.act(service.open_through(proxy, **service.short_timeouts(service.patience)), stage)
    made = proxy.calls[:_MOST_CALLS]
    proxy.calm()
    await operation.check(stage, answer)
    same = {call.number: sum(c.signature == call.signature for c in made[call.number + 1 :]) for call in made}
    if operation.looks:
        made = sorted(made, key=lambda call: call.method != "GET")
    return {call.number: same[call.number] for call in made}


def _leave_out_cancelled(service: type[ServiceUnderTest], name: str, *, after: bool) -> None:
    if not after and BY_NAME[name].looks and not tries_all(service):
        left_out(f"it takes long; {EVERY_FAULT}=1 cancels it before the service acts, too")


def _parts(service: ServiceUnderTest) -> tuple[float, ...]:
    """After which parts of the time that an undisturbed call takes it is cancelled."""
    return (0.0, 0.2, 0.4, 0.6, 0.8) if tries_all(service) else (0.5,)


def tries_all(service: type[ServiceUnderTest] | ServiceUnderTest) -> bool:
    """Whether every call is broken: by the service's own word, or because the full matrix was asked for."""
    return service.faults_at == "every call" or bool(os.environ.get(EVERY_FAULT))


def _leave_out(service: type[ServiceUnderTest], name: str, fault: Fault) -> None:
    if fault not in _tried(service, name):
        left_out(f"it takes long; {EVERY_FAULT}=1 tries every fault with every operation")


def _tried(service: type[ServiceUnderTest], name: str) -> tuple[Fault, ...]:
    """The faults that are tried with the operation."""
    if os.environ.get(EVERY_FAULT):
        return FAULTS
    if service.faults_at == "every call":
        return _UNKNOWN_OUTCOME if name in _ATTACHING else FAULTS
    return _FEW.get(name) or (FAULTS[list(BY_NAME).index(name) % len(FAULTS)],)


def _places(service: ServiceUnderTest, fault: Fault, calls: list[int]) -> list[int]:
    """Which of the operation's calls are broken."""
    if tries_all(service):
        return sorted(calls)
    # The last call is most often the one that does it; different faults look at different calls before it.
    place = FAULTS.index(fault) if fault in FAULTS else 0
    return [calls[-1 - place % min(len(calls), 2)]] if calls else []


async def _break_one(
    operation: Operation, stage: Scene, proxy: FaultProxy, fault: Fault, first: int, anyway: int
) -> None:
    """``anyway``: how often the operation makes that call once more by nature."""
    service = stage.service
    hasty = service.short_timeouts(service.hasty if fault in _SLOW else service.calm)
    backend = service.open_through(proxy, **hasty)
    known = {made.provider_id for made in await service.ledger()}
    proxy.arm(fault, first=first, count=1)
    async with asyncio.timeout(service.patience):
        answer = await outcome(operation.act(backend, stage))
    where = ", ".join(str(call) for call in proxy.broken)
    if not isinstance(answer, HostingError) and operation.sane is not None:
        await operation.sane(stage, answer)
    repeated = proxy.repeated()
    # A client may do so where the connection that it kept turns out to be closed, and for no other reason.
    closed = fault in CLOSED and all(call.method in REPEATABLE for call in repeated)
    allowed = anyway + closed
    assert len(repeated) <= allowed or fault is Fault.DUPLICATE, (
        f"{where} was {fault}, and sent again by itself: raise, the caller repeats"
    )
    proxy.calm()
    if operation.undoes:
        await proxy.delivered()
    await _belongs_to_somebody(stage, known)
    try:
        await operation.check(stage, await operation.complete(stage, backend))
    except HostingError as error:
        raise AssertionError(
            f"{operation.name}, {where} broken ({fault}), gave {answer!r}; repeated, it raised {error!r}"
        ) from error
    except AssertionError as error:
        raise type(error)(f"{operation.name}, {where} broken ({fault}), gave {answer!r}: {error}") from error


async def _belongs_to_somebody(stage: Scene, known: set[str]) -> None:
    """What the broken call created carries the whole identity already: there may be no second call to put it there."""
    backend = stage.service.observer
    for made in await stage.service.ledger():
        answer = await outcome(backend.get(made.provider_id)) if made.provider_id not in known else None
        if answer is not None and not isinstance(answer, HostingError):
            assert answer.key == stage.request.key, "a server without its key is there after an interruption"
            assert answer.tags == stage.request.tags, "a server without its tags is there after an interruption"
