"""The reconciler of HostingService: first contact, what the service offers, what it holds, and what nobody owns."""

from __future__ import annotations

import base64
import json
import logging
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from decimal import Decimal

from moorage.api.hostingservice import HostingService
from moorage.api.names import FINALIZER_SERVICE
from moorage.controllers.catalogues import Catalogues
from moorage.controllers.context import Context, QueueKey
from moorage.controllers.freshness import Freshness, freshness
from moorage.controllers.orphans import Orphans
from moorage.controllers.outcomes import Outcomes
from moorage.controllers.released import released
from moorage.controllers.service_end import let_go
from moorage.controllers.service_news import ServiceNews
from moorage.controllers.tables import Tables
from moorage.core.facts import RELEASED
from moorage.core.pricing import Told
from moorage.core.service_status import ServiceSight, service_status
from moorage.hosting import contract
from moorage.hosting.abilities import Ability, Spot, abilities_of
from moorage.hosting.errors import AuthenticationError, HostingError, Invalid, TimedOut, Unavailable
from moorage.hosting.registry import backend
from moorage.kube.apply import Written, add_finalizer
from moorage.kube.errors import InvalidObject, NotFound
from moorage.kube.kinds import HOSTING_SERVICE, SECRET, VIRTUAL_SERVER
from moorage.runtime.budget import Budget, Budgets
from moorage.runtime.service import Hooks, ServiceConnection
from moorage.runtime.workers import AGAIN, DONE, Result

log = logging.getLogger(__name__)

INVENTORY_OVERDUE = "InventoryOverdue"
"""The reason of a service whose inventories do not come for another cause than that it gives no answer."""

RETRY = 10.0
RETRY_LONGEST = 60.0
"""Seconds until a service that cannot be used is looked at again: at first, and when that has lasted. A change of its
spec or credentials is looked at at once."""


@dataclass(frozen=True, slots=True)
class Opened:
    """With what a connection was opened, and what the service told of itself then.

    ``failing`` is since when (on the steady clock) it cannot be used, ``retry_at`` when it is asked again.
    """

    fingerprint: str
    offerings: tuple[contract.Offering, ...] = ()
    images: tuple[str, ...] | None = None
    capacity: contract.Capacity | None = None
    account: str | None = None
    described_at: datetime | None = None
    spot_prices: Mapping[str, Decimal] | None = None
    spot_problem: str = ""
    problem: HostingError | None = None
    failing: float | None = None
    retry_at: float = 0.0


async def hold_service(context: Context, tables: Tables, name: str, uid: str) -> bool:
    """Keep a HostingService (and its credentials) for as long as servers are on it; False where it is going away."""
    obj = tables.services.get(None, name)
    if obj is None or obj["metadata"]["uid"] != uid or obj["metadata"].get("deletionTimestamp"):
        return False
    if not is_held(tables, name, uid):
        await add_finalizer(context.client, context.store, HOSTING_SERVICE, obj, FINALIZER_SERVICE)
    return is_held(tables, name, uid)


def is_held(tables: Tables, name: str, uid: str) -> bool:
    """Whether the HostingService is kept and not on its way out, as far as is known at this moment."""
    obj = tables.services.get(None, name)
    if obj is None or obj["metadata"]["uid"] != uid or obj["metadata"].get("deletionTimestamp"):
        return False
    return FINALIZER_SERVICE in (obj["metadata"].get("finalizers") or ())


class ServiceController:
    """Reconciles HostingServices and owns their connections."""

    def __init__(self, context: Context, tables: Tables) -> None:
        self._context = context
        self._tables = tables
        self._opened: dict[str, Opened] = {}
        self._budgets = Budgets(context.clock)
        self._news = ServiceNews(context, tables)
        self._orphans = Orphans(context, tables)
        self._catalogues = Catalogues(context, tables)
        self._outcomes = Outcomes(context, tables)

    async def reconcile(self, key: QueueKey) -> Result:
        """One look at the service and its object."""
        obj = self._tables.services.get(*key)
        if obj is None:
            await self._close_gone()
            return DONE
        try:
            service = self._tables.services.parse(obj)
        except InvalidObject as error:
            log.error("cannot be read: %s", error)
            return DONE
        users = self._tables.servers.count("service", service.metadata.name)
        if service.metadata.deleting and not users:
            return await self._release(service)
        if users and not service.metadata.deleting:
            await hold_service(self._context, self._tables, service.metadata.name, service.metadata.uid)
        problem = await self._connect(service)
        sight = await self._look(service, problem, users)
        current = self._tables.services.by_uid(service.metadata.uid)
        if current is None:
            return DONE
        status = service_status(service, sight, self._context.clock.now())
        hard = service.status.observed_generation != service.metadata.generation or (
            service.status.account != status.account or service.status.unreachable_since != status.unreachable_since
        )
        written = await self._context.writer.write(
            HOSTING_SERVICE, current, status.to_dict(), hard=hard or bool(problem)
        )
        if written is Written.CONFLICT:
            return AGAIN
        if written is not Written.GONE:
            self._news.looked_at(service)
        self._news.wake_waiting(service)
        return Result(
            after=self._freshness().every.total_seconds() if problem is None else self._retry(service.metadata.uid)
        )

    # Connection

    async def _connect(self, service: HostingService) -> HostingError | None:
        """Open (or open again, after a change of spec or credentials) the connection, and make first contact."""
        uid = service.metadata.uid
        problem: HostingError | None = None
        try:
            credentials = await self._credentials(service)
            fingerprint = _fingerprint(service, credentials)
            if self._opened.get(uid) is None or self._opened[uid].fingerprint != fingerprint:
                await self._open(service, credentials, fingerprint)
            connection, now = self._context.connections[uid], self._context.clock.monotonic()
            if connection.circuit.refuses(now) or (self._is_due(uid) and now < self._opened[uid].retry_at):
                # A call would be refused: what the last one met says more, and does not change status each time.
                return self._opened[uid].problem
            await self._describe(service)
            # What inventories meet, and no single call can mend: revoked credentials, a project that is gone.
            problem = connection.error if connection.is_refused else None
        except HostingError as error:
            problem = error
        if uid in self._opened:
            self._opened[uid] = self._met(self._opened[uid], problem)
        return problem

    def _met(self, opened: Opened, problem: HostingError | None) -> Opened:
        """The pause until the next try grows with the time that the service has not been usable."""
        if problem is None:
            return replace(opened, problem=None, failing=None, retry_at=0.0)
        now = self._context.clock.monotonic()
        failing = now if opened.failing is None else opened.failing
        pause = min(max(RETRY, (now - failing) / 2), RETRY_LONGEST)
        return replace(opened, problem=problem, failing=failing, retry_at=now + pause)

    def _retry(self, uid: str) -> float:
        opened = self._opened.get(uid)
        return RETRY if opened is None else max(1.0, opened.retry_at - self._context.clock.monotonic())

    async def _credentials(self, service: HostingService) -> dict[str, bytes]:
        ref = service.spec.credentials_secret_ref
        if ref is None:
            return {}
        namespace = self._context.namespace
        try:
            secret = await self._context.client.get(SECRET, namespace, ref.name)
        except NotFound:
            message = f"Secret {ref.name} does not exist in the controller's namespace {namespace}: create it there"
            raise AuthenticationError(message) from None
        held = FINALIZER_SERVICE in (secret["metadata"].get("finalizers") or ())
        if self._in_use(service) and not held and not secret["metadata"].get("deletionTimestamp"):
            await add_finalizer(self._context.client, self._context.store, SECRET, secret, FINALIZER_SERVICE)
        return {key: base64.b64decode(value) for key, value in (secret.get("data") or {}).items()}

    def _in_use(self, service: HostingService) -> bool:
        return self._tables.servers.count("service", service.metadata.name) > 0

    async def _open(self, service: HostingService, credentials: Mapping[str, bytes], fingerprint: str) -> None:
        spec, uid, name = service.spec, service.metadata.uid, service.metadata.name
        opened = backend(spec.type).open(spec, credentials)
        previous = self._context.connections.pop(uid, None)
        if previous is not None:
            await previous.close()
        limits = spec.limits
        connection = ServiceConnection(
            name=name,
            uid=uid,
            installation=self._context.installation.id,
            backend=opened,
            hooks=Hooks(
                guard=self._context.guard,
                recorded=lambda: self._news.recorded(name),
                on_inventory=lambda changed: self._news.on_inventory(name, changed),
                on_trouble=lambda: self._context.enqueue(HOSTING_SERVICE, "", name, hot=True),
                observers=self._context.observers,
                on_event=lambda provider_id, lookup: self._news.on_event(name, provider_id, lookup),
                on_room=lambda key: self._context.enqueue(VIRTUAL_SERVER, *key),
            ),
            clock=self._context.clock,
            budget=Budget(float(limits.requests_per_second), limits.burst, clock=self._context.clock),
            interval=spec.inventory_interval.total_seconds(),
            concurrency=limits.concurrency,
        )
        if previous is not None:
            connection.latest, connection.previous = previous.latest, previous.previous
            connection.released, connection.owned = previous.released, previous.owned
            # Until its own first inventory judges: what was seen before the change must not be acted on by it.
            connection.frozen = previous.frozen
        self._context.connections[uid] = connection
        self._opened[uid] = Opened(fingerprint)

    def _known_account(self, service: HostingService, connection: ServiceConnection, account: str) -> None:
        """From here on every answer is held against this account, whose HostingServices share one budget."""
        spec, limits = service.spec, service.spec.limits
        key = (spec.type, spec.endpoint.rstrip("/").lower(), account)
        rate, burst = float(limits.requests_per_second), limits.burst
        connection.admission.budget = self._budgets.join(service.metadata.uid, key, rate, burst)
        connection.expected_account = account

    def _is_due(self, uid: str) -> bool:
        """Whether the service is to be asked about itself (again)."""
        opened, now, wanted = self._opened[uid], self._context.clock.now(), self._freshness()
        if opened.described_at is None or not timedelta(0) <= now - opened.described_at < wanted.every:
            return True
        return wanted.spot and opened.spot_prices is None and self._sells_spot(uid)

    def _freshness(self) -> Freshness:
        return freshness(policy["spec"] for policy in self._tables.policies)

    def _sells_spot(self, uid: str) -> bool:
        return Ability.SPOT in abilities_of(self._context.connections[uid].backend)

    async def _spot(self, uid: str) -> tuple[Mapping[str, Decimal] | None, str]:
        """Spot prices, and why there are none. Asked for only where a policy uses them: they may need a permission of
        their own, and what refuses them takes servers all the same."""
        connection = self._context.connections[uid]
        if not self._freshness().spot or not isinstance(connection.backend, Spot):
            return None, ""
        try:
            return await connection.describe("spotPrices", connection.backend.spot_prices()), ""
        except HostingError as error:
            return {}, f"spot prices are not known: {error.reason}: {error.message}"

    async def _describe(self, service: HostingService) -> None:
        """Ask the service about itself at first contact and once an hour; inventories tell the rest."""
        uid, now = service.metadata.uid, self._context.clock.now()
        opened, connection = self._opened[uid], self._context.connections[uid]
        if not self._is_due(uid):
            return
        account = await connection.describe("account", connection.backend.account())
        opened = replace(opened, account=account)
        self._opened[uid] = opened
        if service.status.account is not None:
            # Not before: until the account is known, an answer (such as that a server is not found) may be another's.
            self._known_account(service, connection, service.status.account.id)
        if connection.expected_account is not None and account != connection.expected_account:
            connection.foreign_account = account
            return
        spot_prices, spot_problem = await self._spot(uid)
        self._opened[uid] = replace(
            opened,
            spot_prices=spot_prices,
            spot_problem=spot_problem,
            offerings=await connection.describe("offerings", connection.backend.offerings()),
            images=await connection.images(),
            capacity=await connection.describe("capacity", connection.backend.capacity()),
            described_at=now,
        )
        connection.foreign_account = None

    async def _look(self, service: HostingService, problem: HostingError | None, servers: int) -> ServiceSight:
        uid = service.metadata.uid
        opened, connection = self._opened.get(uid), self._context.connections.get(uid)
        if opened is None or connection is None:
            return ServiceSight(problem=_words(problem), invalid=isinstance(problem, Invalid), servers=servers)
        first = connection.released.orphans is None
        orphans = await self._orphans.look(service, connection)
        if first and orphans is not None:
            self._news.counted(service)
        used = len(connection.latest.by_id) if connection.latest is not None else None
        capacity, catalogue = opened.capacity, await self._catalogues.look(service)
        sight = ServiceSight(
            problem=_words(problem),
            invalid=isinstance(problem, Invalid),
            account=opened.account,
            foreign_account=connection.foreign_account,
            frozen=connection.frozen,
            told=Told(opened.offerings, opened.spot_prices or {}, opened.described_at, opened.spot_problem),
            catalogue=catalogue.catalogue,
            catalogue_problem=catalogue.problem,
            images=opened.images,
            abilities=tuple(sorted(str(ability) for ability in abilities_of(connection.backend))),
            limit=capacity.limit if capacity is not None else None,
            used=used if used is not None else (capacity.used if capacity is not None else None),
            # Open until it closes: that a single call is on trial now and then is nothing to a reader.
            circuit="Closed" if connection.circuit.state == "Closed" else "Open",
            inventory_problem=connection.problem,
            overdue=_overdue(connection),
            servers=servers,
            released=self._released(connection),
            orphans=orphans,
            outcomes=tuple(self._outcomes.of(uid)),
        )
        if connection.expected_account is None and opened.account is not None and opened.described_at is not None:
            # From here on every answer is held against this account; the status that records it is written first.
            await self._first_contact(service, sight, opened.account, connection)
        elif connection.expected_account is not None:
            connection.start()
        return sight

    def _released(self, connection: ServiceConnection) -> int | None:
        """How many servers were let go and run on; None where nothing was seen yet."""
        obj = self._tables.services.by_uid(connection.uid)
        if obj is None or connection.latest is None:
            return None
        return sum(seen.owner == RELEASED for seen in released(self._context, self._tables, obj))

    async def _first_contact(
        self, service: HostingService, sight: ServiceSight, account: str, connection: ServiceConnection
    ) -> None:
        current = self._tables.services.by_uid(service.metadata.uid)
        if current is None:
            return
        status = service_status(service, sight, self._context.clock.now())
        written = await self._context.writer.write(HOSTING_SERVICE, current, status.to_dict(), hard=True)
        if written in {Written.WRITTEN, Written.UNCHANGED}:
            self._known_account(service, connection, account)
            connection.start()

    # The end

    async def _release(self, service: HostingService) -> Result:
        if not await let_go(self._context, self._tables, service):
            return Result(after=1.0)
        await self._close_gone()
        return DONE

    async def _close_gone(self) -> None:
        for uid in [uid for uid in self._context.connections if self._tables.services.by_uid(uid) is None]:
            # Another service's reconcile may have closed it while the one before was being closed.
            connection = self._context.connections.pop(uid, None)
            self._opened.pop(uid, None)
            self._context.looked_at.discard(uid)
            self._budgets.leave(uid)
            self._outcomes.forget([uid])
            if connection is not None:
                await connection.close()


def _words(problem: HostingError | None) -> tuple[str, str] | None:
    return None if problem is None else (problem.reason, problem.message)


def _overdue(connection: ServiceConnection) -> tuple[str, str] | None:
    """That inventories have not come for long: no answer at all, where it is for that, or else a reason of its own."""
    if not connection.overdue or connection.expected_account is None:
        return None
    silent = isinstance(connection.error, Unavailable | TimedOut)
    return connection.error.reason if silent and connection.error else INVENTORY_OVERDUE, connection.overdue


def _fingerprint(service: HostingService, credentials: Mapping[str, bytes]) -> str:
    """Changes with anything that a connection is opened with; kept in memory only."""
    spec = service.spec.to_dict()
    opened = {key: spec.get(key) for key in ("type", "endpoint", "region", "project", "settings", "limits")}
    opened["interval"] = spec.get("inventoryInterval")
    secret = {key: base64.b64encode(value).decode() for key, value in sorted(credentials.items())}
    return json.dumps([opened, secret], sort_keys=True)
