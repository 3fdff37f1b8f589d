"""The connection to one hosting service, shared by all servers that are on it.

One inventory for all, on an interval and on demand; questions and deletions together where the service takes several at
once; its events, where it tells them. What goes out, and when, is decided in `moorage.runtime.admission`.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Awaitable, Mapping, Sequence
from datetime import datetime, timedelta
from typing import TypeVar

from moorage.core.facts import Inventory, Lookup, LookupResult, Seen, ServiceFacts
from moorage.hosting.abilities import BatchDelete, BatchGet, Events, Images, Power, Resize, Retag
from moorage.hosting.contract import TAG_NAMESPACE, Backend, CreateRequest, ServerRecord
from moorage.hosting.errors import AuthenticationError, HostingError, Invalid, NotFound
from moorage.runtime.admission import CONCURRENCY, Admission, CallObserver, ServiceCall, Traffic
from moorage.runtime.batch import Batcher
from moorage.runtime.blame import Ask
from moorage.runtime.budget import Budget
from moorage.runtime.clock import Clock
from moorage.runtime.events import Follower
from moorage.runtime.hooks import Hooks
from moorage.runtime.inventory import (
    Timetable,
    changed_keys,
    freeze,
    inventory_of,
    kept_inventory,
    missing_share,
    owned_uids,
    patience,
    pause_after,
    seen_of,
)
from moorage.runtime.permits import Permits
from moorage.runtime.released import Released
from moorage.runtime.workers import aside, outlive_turn

__all__ = ["CallObserver", "Hooks", "ServiceCall", "ServiceConnection"]

log = logging.getLogger(__name__)
T = TypeVar("T")


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
        concurrency: int = CONCURRENCY,
    ) -> None:
        self.name = name
        self.uid = uid
        self.backend = backend
        self.expected_account: str | None = None
        self.error: HostingError | None = None
        self.foreign_account: str | None = None
        self.frozen = ""
        self.latest: Inventory | None = None
        self.previous: Inventory | None = None
        self.owned: Mapping[str, str] = {}
        self.released = Released(uid)
        self.timetable = Timetable(interval)
        self._installation = installation
        self._hooks = hooks
        self._clock = clock
        self._inventory_timeout, bound = backend.capabilities.inventory_timeout, backend.capabilities.call_timeout
        self.admission = Admission(
            name, clock, budget, hooks.guard, hooks.on_trouble, self._refused, bound, hooks.observers, concurrency
        )
        self.circuit = self.admission.circuit
        self.creations: Permits[tuple[str, str]] = Permits(concurrency, hooks.on_room)
        self._gets = Batcher(self._get_many, backend.BATCH, clock) if isinstance(backend, BatchGet) else None
        self._deletes = Batcher(self._delete_many, backend.BATCH, clock) if isinstance(backend, BatchDelete) else None
        self._wake = asyncio.Event()
        self._task: asyncio.Task[None] | None = None
        self._follower = Follower(self, backend) if isinstance(backend, Events) else None
        self._looked: datetime | None = None
        self._complete = self._excused = clock.monotonic()
        self._told_overdue = False

    # What is known

    def facts(self) -> ServiceFacts:
        """What decisions may know of this service now."""
        capabilities, now = self.backend.capabilities, self._clock.now()
        # One from later than now (the clock was set back) would count as younger than attempts that came after it.
        latest = self.latest if self.latest is not None and self.latest.started <= now else None
        return ServiceFacts(
            name=self.name,
            uid=self.uid,
            connected=self.expected_account is not None and not self.is_shut,
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

    @property
    def problem(self) -> str:
        """What the last inventory met, "" where it went well."""
        return "" if self.error is None else self.error.message

    @property
    def is_shut(self) -> bool:
        """Whether nothing but the next inventory is worth a call: the service does not answer, or refuses us."""
        return self.is_refused or self.circuit.is_open(self._clock.monotonic())

    @property
    def is_refused(self) -> bool:
        """Whether the service refuses these credentials, or what they are used on, altogether."""
        return isinstance(self.error, AuthenticationError | Invalid)

    @property
    def overdue(self) -> str:
        """That no complete inventory has come for long, though single calls may go well; "" where one has."""
        if self._clock.monotonic() <= (limit := self._overdue_at):
            return ""
        why = self.problem or "the controller log has the cause"
        return f"no complete inventory came within {limit - self._complete:.0f} s: {why}"

    @property
    def _overdue_at(self) -> float:
        return max(self._complete + patience(self.timetable.pace, self._inventory_timeout), self._excused)

    @property
    def answers(self) -> bool:
        """Whether the last inventory went well, not too long ago, and nothing has failed repeatedly since."""
        return self.latest is not None and self.error is None and not self.is_shut and not self.overdue

    @property
    def doubt(self) -> str:
        """Why the end of a server could not be confirmed by this service now; "" where it could."""
        if self.foreign_account is not None:
            return "it answers for another account than at first contact"
        if self.is_refused:
            return f"it refuses us: {self.problem}"
        if self.frozen:
            return self.frozen
        return "" if self.answers else self.overdue or self.problem or "it does not answer"

    @property
    def is_settled(self) -> bool:
        """Whether direct answers can be trusted: they come from the account that we know, and no inventory is due that
        might tell otherwise."""
        return not self.is_shut and self.foreign_account is None and not self.timetable.is_awaited

    @property
    def asks_many(self) -> bool:
        """Whether the service answers about many servers in one call."""
        return self._gets is not None

    # Inventories

    def start(self) -> None:
        """Begin to take inventories."""
        if self._task is None:
            self._complete = self._clock.monotonic()
            self._task = asyncio.get_running_loop().create_task(self._poll(), name=f"inventory {self.name}")
            if self._follower is not None:
                self._follower.start()

    async def close(self) -> None:
        """Stop the inventories and close the backend's connections."""
        if self._task is not None:
            self._task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._task
            self._task = None
        for part in (self._follower, self._gets, self._deletes):
            if part is not None:
                await part.close()
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
        outlive_turn()
        failures = 0
        while True:
            delay = self.timetable.delay(self._looked, self._clock.now())
            if failures:
                delay = max(delay, pause_after(failures, self.timetable.interval))
            if await self._woken(delay) and failures == 0:
                continue
            try:
                failures = 0 if await self._take() else failures + 1
            except Exception:
                # A fault of ours or of the backend's: without inventories nothing would ever be confirmed again.
                log.exception("the inventory of %s failed", self.name)
                failures += 1
            self._judge_age()

    def _judge_age(self) -> None:
        """Tell once that inventories are overdue; that one came is told anyway."""
        overdue = bool(self.overdue)
        if overdue and not self._told_overdue:
            self._hooks.on_trouble()
        self._told_overdue = overdue

    async def _woken(self, seconds: float) -> bool:
        """Wait so long, or until something is wanted sooner: True then."""
        self._wake.clear()
        if seconds <= 0:
            return False
        over = asyncio.Event()
        timer = self._clock.call_at(self._clock.monotonic() + seconds, over.set)
        waits = [asyncio.ensure_future(event.wait()) for event in (self._wake, over)]
        try:
            await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
        finally:
            timer.cancel()
            for wait in waits:
                wait.cancel()
        return not over.is_set()

    async def _take(self) -> bool:
        if self.circuit.refuses(self._clock.monotonic()):
            # That a call was not made teaches nothing; what the last one met stays what is known.
            return False
        started, steady = self._clock.now(), self._clock.monotonic()
        try:
            listing = await self.admission.call(
                "inventory", "", self.backend.inventory(), Traffic.READ, within=self._inventory_timeout
            )
        except HostingError as error:
            self._trouble(error)
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
        self.released.inventory(inventory, self.backend.capabilities.listing_lag)
        self.timetable.done(started)
        self._complete = self._clock.monotonic()
        self._judge_missing(inventory)
        self._trouble(None)
        if self._follower is not None:
            self._follower.forget()
        self._hooks.on_inventory(changed)
        return True

    def _judge_missing(self, inventory: Inventory) -> None:
        lag = timedelta(seconds=self.backend.capabilities.listing_lag)
        frozen = freeze(self.name, *missing_share(self._hooks.recorded(), inventory, lag))
        if frozen != self.frozen:
            self.frozen = frozen
            self._hooks.on_trouble()

    def _scope_changed(self, account: str | None) -> None:
        if account != self.foreign_account:
            self.foreign_account = account
            self._hooks.on_trouble()

    def _trouble(self, error: HostingError | None) -> None:
        before, self.error = self.error, error
        told = [None if e is None else (e.reason, e.message) for e in (before, error)]
        if told[0] != told[1]:
            self._hooks.on_trouble()

    def _refused(self) -> None:
        """One call was refused for its credentials: whether all are, an inventory tells; and they may be new by now."""
        if self._task is not None and not self.is_refused:
            self.need_inventory(self._clock.now())
        self._hooks.on_trouble()

    # Events

    def known(self, provider_id: str) -> Seen | None:
        """A server as the latest inventory shows it."""
        return None if self.latest is None else self.latest.by_id.get(provider_id)

    def flow(self, *, flows: bool) -> None:
        """The service begins to tell its events, or no longer does: what came meanwhile is in an inventory only."""
        ended, limit = self.timetable.flows and not flows, self._overdue_at
        self.timetable.flows = flows
        if flows:
            self.timetable.need(self._clock.now())
        elif ended:
            # The next inventory may be due only now; yet streams that come and go put no limit off for ever.
            due = self._clock.monotonic() - self.timetable.pace
            self._excused = min(limit, due + patience(self.timetable.pace, self._inventory_timeout))
        self._wake.set()

    def changed(self, provider_id: str, lookup: Lookup) -> bool:
        """An event led to this answer. Whether it concerns anybody."""
        return self._hooks.on_event(provider_id, lookup)

    # Calls

    async def ask(self, provider_id: str) -> Lookup:
        """The service's direct answer about one server. Raises HostingError other than NotFound."""
        steady = self._clock.monotonic()
        with aside():
            record = await self._get(provider_id)
        if record is None:
            return Lookup(self._clock.now(), steady, LookupResult.NOT_FOUND)
        return Lookup(self._clock.now(), steady, LookupResult.FOUND, seen_of(record))

    async def _get(self, provider_id: str) -> ServerRecord | None:
        if self._gets is not None:
            return await self._gets.ask(provider_id)
        try:
            return await self.admission.call("get", provider_id, self.backend.get(provider_id), Traffic.READ)
        except NotFound:
            return None

    async def _get_many(self, ids: Sequence[str]) -> Mapping[str, ServerRecord | None]:
        assert isinstance(self.backend, BatchGet)  # noqa: S101 - only then there is a batcher
        return await self.admission.call("get_many", _about(ids), self.backend.get_many(ids), Traffic.READ)

    async def create(self, request: CreateRequest, deadline: float) -> Seen:
        """Create, bounded by the deadline (monotonic) of the recorded attempt. Raises HostingError."""
        call, ask = self._timed(request), Ask(request.tags.get(TAG_NAMESPACE, ""), request.digest())
        with aside():
            record = await self.admission.call("create", request.key, call, Traffic.CREATE, ask=ask, deadline=deadline)
        if self._follower is not None:
            self._follower.made(record.provider_id)
        return seen_of(record)

    async def _timed(self, request: CreateRequest) -> ServerRecord:
        began = self._clock.monotonic()
        try:
            return await self.backend.create(request)
        finally:
            self.creations.took((self._clock.monotonic() - began) / self.backend.capabilities.create_timeout)

    async def delete(self, provider_id: str) -> None:
        """Ask for the end of a server. Raises HostingError; NotFound is success."""
        if self._deletes is None:
            await self._change("delete", provider_id, self.backend.delete(provider_id), Traffic.DELETE)
            return
        with aside():
            await self._deletes.ask(provider_id)

    async def _delete_many(self, ids: Sequence[str]) -> Mapping[str, None]:
        assert isinstance(self.backend, BatchDelete)  # noqa: S101 - only then there is a batcher
        await self.admission.call("delete_many", _about(ids), self.backend.delete_many(ids), Traffic.DELETE)
        return dict.fromkeys(ids)

    async def _change(
        self, operation: str, provider_id: str, call: Awaitable[None], traffic: Traffic = Traffic.CHANGE
    ) -> None:
        with aside():
            await self.admission.call(operation, provider_id, call, traffic)

    async def retag(self, provider_id: str, tags: Mapping[str, str]) -> None:
        """Set tags. Raises HostingError."""
        if not isinstance(self.backend, Retag):
            raise Invalid(f"{self.name} cannot write tags")
        await self._change("retag", provider_id, self.backend.retag(provider_id, tags))

    async def power_on(self, provider_id: str) -> None:
        """Ask that a server runs. Raises HostingError."""
        if not isinstance(self.backend, Power):
            raise Invalid(f"{self.name} cannot start servers")
        await self._change("start", provider_id, self.backend.start(provider_id))

    async def resize(self, provider_id: str, offering: str) -> None:
        """Ask that a server gets this offering. Raises HostingError."""
        if not isinstance(self.backend, Resize):
            raise Invalid(f"{self.name} cannot resize servers")
        await self._change("resize", provider_id, self.backend.resize(provider_id, offering))

    async def images(self) -> tuple[str, ...] | None:
        """The boot images, None where the service cannot list them. Raises HostingError."""
        if not isinstance(self.backend, Images):
            return None
        return await self.describe("images", self.backend.images())

    async def describe(self, operation: str, call: Awaitable[T]) -> T:
        """One of the backend's calls about the service itself. Raises HostingError."""
        with aside():
            return await self.admission.call(operation, "", call, Traffic.READ)


def _about(ids: Sequence[str]) -> str:
    return ids[0] if len(ids) == 1 else ""
