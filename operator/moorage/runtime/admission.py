"""Which calls go out to a hosting service, and when: slots, budget, lease, deadline, circuits.

Calls that make servers, calls that change or delete them, and calls that only look have slots of their own, as many of
each: whatever hangs, deletions and questions go on. Before each call stand, in this order, the circuits, a slot, the
budget, the circuits again (they may have opened meanwhile), the lease and the deadline.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from enum import Enum
from typing import Final, Protocol, TypeVar

from moorage.hosting.errors import AuthenticationError, HostingError, Retryable, Throttled, TimedOut, Unavailable
from moorage.runtime.budget import Budget, Priority
from moorage.runtime.circuit import Circuit
from moorage.runtime.clock import Clock

T = TypeVar("T")

CONCURRENCY: Final = 32
READ_TIMEOUT: Final = 30.0
INVENTORY_TIMEOUT: Final = 180.0
"""Seconds for all pages of an inventory together; a backend bounds each page by itself."""
THROTTLED_PAUSE: Final = 1.0
"""Seconds that a service is left alone that throttles without saying for how long."""
TRIAL: Final = 2.0
"""Seconds in which a single call on trial is likely to tell whether a service answers again."""


class Traffic(Enum):
    """What a call is for."""

    CREATE = "create"
    CHANGE = "change"
    READ = "read"


@dataclass(frozen=True, slots=True)
class ServiceCall:
    """One call to a hosting service, as observers see it: no argument but who it is about."""

    operation: str
    service: str
    subject: str = ""


class CallObserver(Protocol):
    """Called around each call; must be quick and must not raise."""

    def before(self, call: ServiceCall) -> None:
        """Directly before the call."""

    def after(self, call: ServiceCall, error: BaseException | None, seconds: float) -> None:
        """Directly after it: the typed error, or None."""


class Admission:
    """The gate of one connection.

    `circuit` is the service's: open while it gives no usable answers. Creations and changes have one more each, so that
    a service that answers questions and fails with every creation, or refuses each deletion for its credentials, is not
    asked again by every server in turn. `guard` raises where this process may not act. `on_trouble` is told when the
    service's circuit changes, `on_refused` when a call met refused credentials.
    """

    def __init__(
        self,
        name: str,
        clock: Clock,
        budget: Budget,
        guard: Callable[[], None],
        on_trouble: Callable[[], None],
        on_refused: Callable[[], None],
        observers: Sequence[CallObserver] = (),
        concurrency: int = CONCURRENCY,
    ) -> None:
        self.name = name
        self.budget = budget
        self.circuit = Circuit()
        self._own = {Traffic.CREATE: _Own(), Traffic.CHANGE: _Own()}
        self.clock = clock
        self._guard = guard
        self._on_trouble = on_trouble
        self._on_refused = on_refused
        self._observers = observers
        self._slots = {traffic: asyncio.Semaphore(concurrency) for traffic in Traffic}

    async def call(
        self,
        operation: str,
        subject: str,
        call: Awaitable[T],
        traffic: Traffic,
        *,
        deadline: float | None = None,
        within: float = READ_TIMEOUT,
    ) -> T:
        """Make the call once it may go out. Raises HostingError, and whatever the guard raises.

        It may take `within` seconds, or until `deadline` (on the steady clock).
        """
        told = ServiceCall(operation, self.name, subject)
        error: BaseException | None = None
        async with self._admitted(call, traffic, deadline, within) as seconds:
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
                self._account_for(error, traffic)
                for observer in self._observers:
                    observer.after(told, error, self.clock.monotonic() - started)
        return result

    def refusal(self, traffic: Traffic) -> tuple[str, float] | None:
        """Why a call would be refused here and now, and the seconds until one is tried again; None: it would not."""
        now = self.clock.monotonic()
        for circuit in self._circuits(traffic):
            if circuit.refuses(now):
                return self._refusal(circuit, traffic).message, max(TRIAL, circuit.left(now))
        return None

    @contextlib.asynccontextmanager
    async def _admitted(
        self, call: Awaitable[T], traffic: Traffic, deadline: float | None, within: float
    ) -> AsyncIterator[float]:
        """Gives the seconds that the call may take. A call that is not admitted is closed."""
        trials: list[Circuit] = []
        admitted = False
        try:
            self._enter(traffic, trials)
            async with self._slots[traffic]:
                await self.budget.acquire(Priority.READ if traffic is Traffic.READ else Priority.WRITE)
                self._check(traffic, trials)
                if traffic is not Traffic.READ:
                    self._guard()
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

    def _circuits(self, traffic: Traffic) -> list[Circuit]:
        own = self._own.get(traffic)
        return [self.circuit] if own is None else [self.circuit, own.circuit]

    def _enter(self, traffic: Traffic, trials: list[Circuit]) -> None:
        now = self.clock.monotonic()
        for circuit in self._circuits(traffic):
            if not circuit.may_try(now):
                raise self._refusal(circuit, traffic)
            if circuit.state == "HalfOpen":
                trials.append(circuit)

    def _check(self, traffic: Traffic, trials: Sequence[Circuit]) -> None:
        for circuit in self._circuits(traffic):
            if circuit.state != "Closed" and circuit not in trials:
                raise self._refusal(circuit, traffic)

    def _refusal(self, circuit: Circuit, traffic: Traffic) -> HostingError:
        left = circuit.left(self.clock.monotonic())
        own = self._own.get(traffic)
        if own is None or circuit is self.circuit:
            return Unavailable(f"{self.name} failed repeatedly and is left alone for a while", retry_after=left)
        what = f"{self.name} failed repeatedly to {traffic.value} servers and is asked again later: {own.message}"
        return AuthenticationError(what) if own.refused else Unavailable(what, retry_after=left)

    def _account_for(self, error: BaseException | None, traffic: Traffic) -> None:
        before, now = self.circuit.state, self.clock.monotonic()
        if isinstance(error, Throttled):
            self.budget.penalise(THROTTLED_PAUSE if error.retry_after is None else error.retry_after)
        elif isinstance(error, Retryable) and error.retry_after is not None:
            self.budget.penalise(error.retry_after)
        _learn(self.circuit, error, now, failed=isinstance(error, Unavailable | TimedOut))
        own = self._own.get(traffic)
        if own is not None:
            failed = isinstance(error, Unavailable | TimedOut | AuthenticationError)
            _learn(own.circuit, error, now, failed=failed)
            if failed and isinstance(error, HostingError):
                own.message, own.refused = error.message, isinstance(error, AuthenticationError)
        if self.circuit.state != before:
            self._on_trouble()
        if isinstance(error, AuthenticationError):
            self._on_refused()


@dataclass(slots=True, eq=False)
class _Own:
    """The circuit of one kind of traffic, and what the last call of it met."""

    circuit: Circuit = field(default_factory=Circuit)
    message: str = ""
    refused: bool = False


def _learn(circuit: Circuit, error: BaseException | None, now: float, *, failed: bool) -> None:
    if failed:
        circuit.failed(now)
    elif error is None or isinstance(error, HostingError):
        circuit.succeeded()
    else:
        circuit.abandoned(now)
