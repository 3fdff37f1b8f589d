"""The connection to one hosting service, shared by all servers that are on it.

One inventory for all, on an interval and on demand; bounded concurrency and rate; a circuit that opens after repeated
failures; calls that change something only while the lease is held.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Protocol, TypeVar

from moorage.core.facts import Inventory, Lookup, LookupResult, Seen, ServiceFacts
from moorage.core.lifecycle import overshoot
from moorage.hosting.abilities import Images, Power, Resize, Retag
from moorage.hosting.contract import Backend, CreateRequest
from moorage.hosting.errors import HostingError, Invalid, NotFound, Throttled, TimedOut, Unavailable
from moorage.runtime.budget import Budget, Priority
from moorage.runtime.circuit import Circuit
from moorage.runtime.clock import Clock
from moorage.runtime.inventory import (
    Timetable,
    changed_keys,
    inventory_of,
    kept_inventory,
    missing_share,
    owned_uids,
    pause_after,
    seen_of,
)

log = logging.getLogger(__name__)
T = TypeVar("T")

CONCURRENCY = 32
READ_TIMEOUT = 30.0


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


@dataclass(slots=True)
class Hooks:
    """What a connection needs of its surroundings.

    ``guard`` raises where this process may not act; ``recorded`` tells the provider ids in status with since when;
    ``on_inventory`` gets the keys that changed after each complete inventory, ``on_trouble`` is told when the
    connection's own state (circuit, account, freeze) changed.
    """

    guard: Callable[[], None]
    recorded: Callable[[], Iterable[tuple[str, float]]]
    on_inventory: Callable[[set[str]], None]
    on_trouble: Callable[[], None]
    observers: list[CallObserver] = field(default_factory=list)


class ServiceConnection:
    """See the module. ``expected_account`` is None until first contact is recorded."""

    def __init__(
        self,
        name: str,
        uid: str,
        installation: str,
        backend: Backend,
        hooks: Hooks,
        clock: Clock,
        budget: Budget,
        interval: float,
    ) -> None:
        self.name = name
        self.uid = uid
        self.backend = backend
        self.expected_account: str | None = None
        self.circuit = Circuit()
        self.problem = ""
        self.foreign_account: str | None = None
        self.frozen = ""
        self.latest: Inventory | None = None
        self.previous: Inventory | None = None
        self.owned: Mapping[str, str] = {}
        self.timetable = Timetable(interval)
        self._installation = installation
        self._hooks = hooks
        self._clock = clock
        self._budget = budget
        self._slots = asyncio.Semaphore(CONCURRENCY)
        self._wake = asyncio.Event()
        self._task: asyncio.Task[None] | None = None
        self._looked: datetime | None = None

    # What is known

    def facts(self) -> ServiceFacts:
        """What decisions may know of this service now."""
        capabilities, now = self.backend.capabilities, self._clock.now()
        # One from later than now (the clock was set back) would count as younger than attempts that came after it.
        latest = self.latest if self.latest is not None and self.latest.started <= now else None
        return ServiceFacts(
            name=self.name,
            uid=self.uid,
            connected=self.expected_account is not None and not self.circuit.is_open(self._clock.monotonic()),
            trusted=self.foreign_account is None,
            frozen=self.frozen,
            idempotent_create=capabilities.idempotent_create,
            can_retag=isinstance(self.backend, Retag),
            can_power=isinstance(self.backend, Power),
            can_resize=isinstance(self.backend, Resize),
            listing_lag=timedelta(seconds=capabilities.listing_lag),
            create_timeout=timedelta(seconds=capabilities.create_timeout),
            latest=latest,
            previous=self.previous,
            problem=self.problem,
        )

    # Inventories

    def start(self) -> None:
        """Begin to take inventories."""
        if self._task is None:
            self._task = asyncio.get_running_loop().create_task(self._poll(), name=f"inventory {self.name}")

    async def close(self) -> None:
        """Stop the inventories and close the backend's connections."""
        if self._task is not None:
            self._task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._task
            self._task = None
        await self.backend.close()

    def need_inventory(self, newer_than: datetime) -> None:
        """Have a complete inventory taken that starts after ``newer_than``."""
        self.timetable.need(newer_than)
        self._wake.set()

    def watch(self) -> None:
        """Look more often for a while: a server is awaited that nothing else announces."""
        self.timetable.watch()
        self._wake.set()

    async def _poll(self) -> None:
        failures = 0
        while True:
            delay = self.timetable.delay(self._looked, self._clock.now())
            if failures:
                delay = max(delay, pause_after(failures, self.timetable.interval))
            self._wake.clear()
            # Not wait_for, which in Python 3.11 loses a cancellation that comes together with the wake-up.
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(delay):
                    await self._wake.wait()
                if failures == 0:
                    continue
            try:
                failures = 0 if await self._take() else failures + 1
            except Exception:
                # A fault of ours or of the backend's: without inventories nothing would ever be confirmed again.
                log.exception("the inventory of %s failed", self.name)
                failures += 1

    async def _take(self) -> bool:
        if self.circuit.refuses(self._clock.monotonic()):
            # That a call was not made teaches nothing; what the last one met stays what is known.
            return False
        started, steady = self._clock.now(), self._clock.monotonic()
        try:
            listing = await self._call("inventory", "", self.backend.inventory(), Priority.READ)
        except HostingError as error:
            self._trouble(error.message)
            return False
        self._looked = started
        if self.expected_account is not None and listing.account != self.expected_account:
            self._scope_changed(listing.account)
            return True
        self._scope_changed(None)
        inventory = inventory_of(listing, started, steady)
        self.owned = owned_uids(listing, self._installation, self.uid)
        changed = changed_keys(self.latest, inventory)
        lag = timedelta(seconds=self.backend.capabilities.listing_lag)
        self.previous, self.latest = kept_inventory(self.previous, self.latest, lag), inventory
        self.timetable.done(started)
        self._judge_missing(inventory)
        self._trouble("")
        self._hooks.on_inventory(changed)
        return True

    def _judge_missing(self, inventory: Inventory) -> None:
        lag = timedelta(seconds=self.backend.capabilities.listing_lag)
        recorded, missing = missing_share(self._hooks.recorded(), inventory, lag)
        frozen = ""
        if overshoot(recorded, missing):
            frozen = (
                f"{missing} of {recorded} servers are missing from {self.name} at once: none is called lost before a "
                "person has looked (are endpoint, project and credentials the right ones?)"
            )
        if frozen != self.frozen:
            self.frozen = frozen
            self._hooks.on_trouble()

    def _scope_changed(self, account: str | None) -> None:
        if account != self.foreign_account:
            self.foreign_account = account
            self._hooks.on_trouble()

    def _trouble(self, problem: str) -> None:
        if problem != self.problem:
            self.problem = problem
            self._hooks.on_trouble()

    # Calls

    async def ask(self, provider_id: str) -> Lookup:
        """The service's direct answer about one server. Raises HostingError other than NotFound."""
        steady = self._clock.monotonic()
        try:
            record = await self._call("get", provider_id, self.backend.get(provider_id), Priority.READ)
        except NotFound:
            return Lookup(self._clock.now(), steady, LookupResult.NOT_FOUND)
        return Lookup(self._clock.now(), steady, LookupResult.FOUND, seen_of(record))

    async def create(self, request: CreateRequest, deadline: float) -> Seen:
        """Create, bounded by the deadline (monotonic) of the recorded attempt. Raises HostingError."""
        call = self.backend.create(request)
        return seen_of(await self._call("create", request.key, call, Priority.WRITE, deadline=deadline))

    async def delete(self, provider_id: str) -> None:
        """Ask for the end of a server. Raises HostingError; NotFound is success."""
        await self._call("delete", provider_id, self.backend.delete(provider_id), Priority.WRITE)

    async def retag(self, provider_id: str, tags: Mapping[str, str]) -> None:
        """Set tags. Raises HostingError."""
        if not isinstance(self.backend, Retag):
            raise Invalid(f"{self.name} cannot write tags")
        await self._call("retag", provider_id, self.backend.retag(provider_id, tags), Priority.WRITE)

    async def power_on(self, provider_id: str) -> None:
        """Ask that a server runs. Raises HostingError."""
        if not isinstance(self.backend, Power):
            raise Invalid(f"{self.name} cannot start servers")
        await self._call("start", provider_id, self.backend.start(provider_id), Priority.WRITE)

    async def resize(self, provider_id: str, offering: str) -> None:
        """Ask that a server gets this offering. Raises HostingError."""
        if not isinstance(self.backend, Resize):
            raise Invalid(f"{self.name} cannot resize servers")
        await self._call("resize", provider_id, self.backend.resize(provider_id, offering), Priority.WRITE)

    async def images(self) -> tuple[str, ...] | None:
        """The boot images, None where the service cannot list them. Raises HostingError."""
        if not isinstance(self.backend, Images):
            return None
        return await self._call("images", "", self.backend.images(), Priority.READ)

    async def describe(self, operation: str, call: Awaitable[T]) -> T:
        """One of the backend's calls about the service itself. Raises HostingError."""
        return await self._call(operation, "", call, Priority.READ)

    async def _call(
        self, operation: str, subject: str, call: Awaitable[T], priority: Priority, deadline: float | None = None
    ) -> T:
        told = ServiceCall(operation, self.name, subject)
        error: BaseException | None = None
        async with self._admitted(call, priority, deadline) as timeout:
            for observer in self._hooks.observers:
                observer.before(told)
            started = self._clock.monotonic()
            try:
                async with asyncio.timeout(timeout):
                    result = await call
            except TimeoutError:
                error = TimedOut(f"{self.name} did not answer {operation} within {timeout:.0f} s")
                raise error from None
            except BaseException as caught:
                error = caught
                raise
            finally:
                self._account_for(error)
                for observer in self._hooks.observers:
                    observer.after(told, error, self._clock.monotonic() - started)
        return result

    @contextlib.asynccontextmanager
    async def _admitted(self, call: Awaitable[T], priority: Priority, deadline: float | None) -> AsyncIterator[float]:
        """Wait for a slot and the budget; gives the seconds the call may take.

        Lease and deadline are looked at last, directly before the call. A call that is not admitted is closed.
        """
        admitted = trial = False
        try:
            if not self.circuit.may_try(self._clock.monotonic()):
                left = self.circuit.left(self._clock.monotonic())
                raise Unavailable(f"{self.name} failed repeatedly and is left alone for a while", retry_after=left)
            trial = self.circuit.state == "HalfOpen"
            async with self._slots:
                await self._budget.acquire(priority)
                if priority is Priority.WRITE:
                    self._hooks.guard()
                timeout = READ_TIMEOUT
                if deadline is not None and (timeout := deadline - self._clock.monotonic()) <= 0:
                    raise TimedOut("the attempt's deadline passed before the call")
                admitted = True
                yield timeout
        finally:
            if not admitted:
                if trial:
                    # The one call that was to tell whether the service answers again was never made.
                    self.circuit.abandoned(self._clock.monotonic())
                if asyncio.iscoroutine(call):
                    call.close()

    def _account_for(self, error: BaseException | None) -> None:
        before = self.circuit.state
        if isinstance(error, Throttled) and error.retry_after is not None:
            self._budget.penalise(error.retry_after)
        if isinstance(error, Unavailable | TimedOut):
            self.circuit.failed(self._clock.monotonic())
        elif error is None or isinstance(error, HostingError):
            self.circuit.succeeded()
        else:
            self.circuit.abandoned(self._clock.monotonic())
        if self.circuit.state != before:
            self._hooks.on_trouble()
