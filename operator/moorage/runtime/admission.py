"""Which calls go out to a hosting service, and when: slots, budget, lease, deadline, circuits.

Calls that make servers, that change them, that delete them, and that only look have slots of their own, as many of
each: whatever hangs, deletions and questions go on. Before each call stand, in this order, the circuits, a slot, the
budget, the circuits again (they may have opened meanwhile), the lease and the deadline. What a failed creation is
evidence of, is weighed in `moorage.runtime.blame`.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Final, Protocol, TypeVar

from moorage.hosting.errors import AuthenticationError, HostingError, Retryable, Throttled, TimedOut, Unavailable
from moorage.runtime.blame import Ask, Creations, Gate
from moorage.runtime.budget import Budget, Priority
from moorage.runtime.circuit import Circuit
from moorage.runtime.clock import Clock

T = TypeVar("T")

CONCURRENCY: Final = 32
THROTTLED_PAUSE: Final = 1.0
"""Seconds that a service is left alone that throttles without saying for how long."""
TRIAL_TIMEOUT: Final = 30.0
"""Seconds that a call on trial may take at most, but for a creation, which has its deadline."""
TRIAL: Final = 2.0
"""Seconds in which a single call on trial is likely to tell whether a service answers again."""


class Traffic(Enum):
    """What a call is for."""

    CREATE = "create"
    CHANGE = "change"
    DELETE = "delete"
    READ = "read"


_CHANGES: Final = frozenset({Traffic.CHANGE, Traffic.DELETE})


@dataclass(frozen=True, slots=True)
class ServiceCall:
    """One call to a hosting service, as observers see it: no argument but who it is about."""

    operation: str
    service: str
    subject: str = ""


@dataclass(frozen=True, slots=True)
class Refusal:
    """Why a call would not go out now, and the seconds until one is tried again. `reason` is a condition's."""

    reason: str
    message: str
    seconds: float


class CallObserver(Protocol):
    """Called around each call; must be quick and must not raise."""

    def before(self, call: ServiceCall) -> None:
        """Directly before the call."""

    def after(self, call: ServiceCall, error: BaseException | None, seconds: float) -> None:
        """Directly after it: the typed error, or None."""


class Admission:
    """The gate of one connection.

    `circuit` is the service's: open while it gives no usable answers. Changes have one more, so that a service that
    answers questions and refuses each deletion for its credentials is not asked again by every server in turn;
    creations have one more, and a further one for each namespace. `guard` raises where this process may not act.
    `on_trouble` is told when the service's circuit changes, `on_refused` when a call met refused credentials.
    """

    def __init__(
        self,
        name: str,
        clock: Clock,
        budget: Budget,
        guard: Callable[[], None],
        on_trouble: Callable[[], None],
        on_refused: Callable[[], None],
        call_timeout: float,
        observers: Sequence[CallObserver] = (),
        concurrency: int = CONCURRENCY,
    ) -> None:
        self.name = name
        self.budget = budget
        self._service = Gate()
        self.circuit = self._service.circuit
        self.creations = Creations()
        self._changes = Gate()
        self.clock = clock
        self._guard = guard
        self._on_trouble = on_trouble
        self._on_refused = on_refused
        self._call_timeout = call_timeout
        self._observers = observers
        self._slots = {traffic: asyncio.Semaphore(concurrency) for traffic in Traffic}

    async def call(
        self,
        operation: str,
        subject: str,
        call: Awaitable[T],
        traffic: Traffic,
        *,
        ask: Ask | None = None,
        deadline: float | None = None,
        within: float | None = None,
    ) -> T:
        """Make the call once it may go out. Raises HostingError, and whatever the guard raises.

        It may take `within` seconds (by default `call_timeout`), or until `deadline` (on the steady clock). A creation
        says for whom it is (`ask`).
        """
        if traffic is Traffic.CREATE and ask is None:
            ask = Ask("", subject)
        told = ServiceCall(operation, self.name, subject)
        error: BaseException | None = None
        bound = self._call_timeout if within is None else within
        async with self._admitted(call, traffic, ask, deadline, bound) as seconds:
            for observer in self._observers:
                observer.before(told)
            started = self.clock.monotonic()
            try:
                async with asyncio.timeout(seconds):
                    result = await call
            except TimeoutError:
                error = TimedOut(f"{self.name} did not answer {operation} within {seconds:.0f} s")
                raise error from None
            except BaseException as caught:
                error = caught
                raise
            finally:
                self._account_for(error, traffic, ask)
                for observer in self._observers:
                    observer.after(told, error, self.clock.monotonic() - started)
        return result

    def refusal(self, namespace: str) -> Refusal | None:
        """Why a creation of this namespace would be refused here and now; None: it would not."""
        now = self.clock.monotonic()
        for gate in self._gates(Traffic.CREATE, namespace):
            if gate.circuit.refuses(now):
                reason = "ServiceUnavailable" if self._is_services(gate) else "NamespaceHeldBack"
                error = self._refusal(gate, Traffic.CREATE, namespace)
                return Refusal(reason, error.message, max(TRIAL, gate.circuit.left(now)))
        return None

    @contextlib.asynccontextmanager
    async def _admitted(
        self, call: Awaitable[T], traffic: Traffic, ask: Ask | None, deadline: float | None, within: float
    ) -> AsyncIterator[float]:
        """Gives the seconds that the call may take. A call that is not admitted is closed."""
        trials: list[Circuit] = []
        admitted, namespace = False, "" if ask is None else ask.namespace
        try:
            self._enter(traffic, namespace, trials)
            async with self._slots[traffic]:
                await self.budget.acquire(Priority.READ if traffic is Traffic.READ else Priority.WRITE)
                self._check(traffic, namespace, trials)
                if traffic is not Traffic.READ:
                    self._guard()
                if trials and traffic is not Traffic.CREATE:
                    # Everybody waits for what becomes of it.
                    within = min(within, TRIAL_TIMEOUT)
                if deadline is not None and (within := deadline - self.clock.monotonic()) <= 0:
                    raise TimedOut("the attempt's deadline passed before the call")
                admitted = True
                yield within
        finally:
            if not admitted:
                for circuit in trials:
                    # The one call that was to tell whether the service answers again was never made.
                    circuit.abandoned(self.clock.monotonic())
                if asyncio.iscoroutine(call):
                    call.close()

    def _gates(self, traffic: Traffic, namespace: str) -> list[Gate]:
        match traffic:
            case Traffic.CREATE:
                return [self._service, *self.creations.of(namespace)]
            case Traffic.CHANGE | Traffic.DELETE:
                return [self._service, self._changes]
            case Traffic.READ:
                return [self._service]

    def _is_services(self, gate: Gate) -> bool:
        return gate is self._service or self.creations.is_services(gate)

    def _enter(self, traffic: Traffic, namespace: str, trials: list[Circuit]) -> None:
        now = self.clock.monotonic()
        for gate in self._gates(traffic, namespace):
            if not gate.circuit.may_try(now):
                raise self._refusal(gate, traffic, namespace)
            if gate.circuit.state == "HalfOpen":
                trials.append(gate.circuit)

    def _check(self, traffic: Traffic, namespace: str, trials: Sequence[Circuit]) -> None:
        for gate in self._gates(traffic, namespace):
            if gate.circuit.state != "Closed" and gate.circuit not in trials:
                raise self._refusal(gate, traffic, namespace)

    def _refusal(self, gate: Gate, traffic: Traffic, namespace: str) -> HostingError:
        left = gate.circuit.left(self.clock.monotonic())
        if gate is self._service:
            return Unavailable(f"{self.name} failed repeatedly and is left alone for a while", retry_after=left)
        if traffic in _CHANGES or self.creations.is_services(gate):
            what = f"{self.name} failed repeatedly to {traffic.value} servers and is asked again later: {gate.message}"
        else:
            what = (
                f"{self.name} failed repeatedly to create what namespace {namespace} asks for, so creations of that "
                f"namespace are tried again later: {gate.message}"
            )
        return AuthenticationError(what) if gate.refused else Unavailable(what, retry_after=left)

    def _account_for(self, error: BaseException | None, traffic: Traffic, ask: Ask | None) -> None:
        before, now = self.circuit.state, self.clock.monotonic()
        if isinstance(error, Throttled):
            self.budget.penalise(THROTTLED_PAUSE if error.retry_after is None else error.retry_after)
        elif isinstance(error, Retryable) and error.retry_after is not None:
            self.budget.penalise(error.retry_after)
        failed = isinstance(error, Unavailable | TimedOut)
        accused = self.creations.learn(ask, error, now) if ask is not None else failed
        # The call on trial has to tell, whoever made it.
        if accused or not failed or before == "HalfOpen":
            _learn(self.circuit, error, now, failed=failed)
        if traffic in _CHANGES:
            failed = failed or isinstance(error, AuthenticationError)
            _learn(self._changes.circuit, error, now, failed=failed)
            if failed:
                self._changes.met(error)
        if self.circuit.state != before:
            self._on_trouble()
        if isinstance(error, AuthenticationError):
            self._on_refused()


def _learn(circuit: Circuit, error: BaseException | None, now: float, *, failed: bool) -> None:
    if failed:
        circuit.failed(now)
    elif error is None or isinstance(error, HostingError):
        circuit.succeeded()
    else:
        circuit.abandoned(now)
