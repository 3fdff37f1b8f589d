"""What all reconcilers share. Nothing in here is truth: after a restart it is built again from lists."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Literal, Protocol

from moorage.api.virtualserver import VirtualServerStatus
from moorage.controllers.state import SecretState
from moorage.core.drift import is_remembered
from moorage.core.facts import Attempt, CallFailure, Lookup, RepairTries, Seen
from moorage.core.steps import AwaitInventory, Step, Wait
from moorage.kube.apply import StatusWriter
from moorage.kube.client import Client
from moorage.kube.events import EventRecorder
from moorage.kube.installation import Installation
from moorage.kube.kinds import SERVER_GROUP, VIRTUAL_SERVER, Kind
from moorage.kube.lanes import Lane
from moorage.kube.store import Obj, Store
from moorage.runtime.clock import Clock
from moorage.runtime.metrics import Metrics
from moorage.runtime.queue import WorkQueue
from moorage.runtime.service import CallObserver, ServiceConnection

QueueKey = tuple[str, str]
"""(namespace, name)."""
ObjectKey = tuple[Kind, str, str]


GROUP_DELAY = 0.02
GROUP_DELAY_PER_SERVER = 0.005
GROUP_DELAY_LIMIT = 1.0
"""Seconds that a group waits for company to a change of one of its servers: at rest, for each server in the queue, at
most."""
_SERVICE_WAITS = frozenset(
    {"ServiceNotFound", "ServiceUnavailable", "NamespaceHeldBack", "ScopeChanged", "OvershootFreeze"}
)


@dataclass(slots=True)
class ServerMemory:
    """What this process has learnt about one VirtualServer and may forget: losing it costs a repeated question."""

    lookup: Lookup | None = None
    failure: CallFailure | None = None
    tries: int = 0
    noticed_at: datetime | None = None
    deleted_at: datetime | None = None
    asked_since: datetime | None = None
    """When the service accepted the deletion first; ``deleted_at`` is when it did last."""
    created: Seen | None = None
    status: VirtualServerStatus | None = None
    step: Step | None = None
    render_problem: tuple[str, str] | None = None
    refers: frozenset[ObjectKey] = frozenset()
    failed_at: datetime | None = None
    state: tuple[str, SecretState] | None = None
    """The resourceVersion of the Secret ``<uid>`` and what its annotation says: it is read oftener than it changes."""
    unsure: bool = False
    """Whether a call of the present attempt to create may have been acted on although nothing came of it here."""
    attempt: tuple[Attempt | Literal["damaged"] | None, float] | None = None
    recorded: tuple[str | None, float] | None = None
    observed: float | None = None
    """Since when (on the steady clock) this process knows that status tells of a server that is only observed."""
    repairs: dict[str, RepairTries] = field(default_factory=dict)
    """The repairs of drifts, by their reason."""

    def knows_attempt(self, newest: Attempt | Literal["damaged"] | None, steady: float) -> float:
        """Since when (on the steady clock) the newest recorded attempt is known here; from now on where it is new."""
        if self.attempt is None or self.attempt[0] != newest:
            self.attempt = newest, steady
        return self.attempt[1]

    def knows_record(self, provider_id: str | None, steady: float) -> float:
        """Since when (on the steady clock) it is known here that this id is recorded; from now on where it is new."""
        if self.recorded is None or self.recorded[0] != provider_id:
            self.recorded = provider_id, steady
        return self.recorded[1]

    def knows_observed(self, steady: float) -> float:
        """Since when (on the steady clock) an observed server is known here."""
        if self.observed is None:
            self.observed = steady
        return self.observed

    def repaired(self, reason: str, steady: float, problem: str = "") -> None:
        """Remember a repair, which the service accepted or refused."""
        before = self.repairs.get(reason)
        count = before.count if before is not None and is_remembered(before, steady) else 0
        self.repairs[reason] = RepairTries(count + 1, steady, problem)

    def forget_future(self, now: datetime) -> None:
        """Drop what was learnt later than now: the clock was set back, and those moments mean nothing."""
        if self.lookup is not None and self.lookup.at > now:
            self.lookup = None
        if self.noticed_at is not None and self.noticed_at > now:
            self.noticed_at = None
        if self.deleted_at is not None and self.deleted_at > now:
            self.deleted_at = None
        if self.asked_since is not None and self.asked_since > now:
            self.asked_since = None
        if self.failed_at is not None and self.failed_at > now:
            self.failure, self.failed_at, self.tries = None, None, 0

    @property
    def waits_for_inventory(self) -> bool:
        """Whether the last decision asked for a complete inventory."""
        return isinstance(self.step, AwaitInventory)

    @property
    def waits_for_service(self) -> bool:
        """Whether the last decision waits for the service itself."""
        return isinstance(self.step, Wait) and self.step.reason in _SERVICE_WAITS


class Surroundings(Protocol):
    """What observing a group takes beside the caches; whoever only looks has less of it than a controller."""

    @property
    def connections(self) -> Mapping[str, ServiceConnection]:
        """By the uid of the HostingService."""

    @property
    def memories(self) -> Mapping[str, ServerMemory]:
        """By the uid of the VirtualServer."""

    def counts(self, service_uid: str, provider_id: str) -> bool:
        """Whether the service's own count of its servers is known to contain this one."""

    def knows(self, service_uid: str) -> bool:
        """Whether the service's status says what is so now, not what a process that ended saw last."""

    def judged(self, service_uid: str) -> bool:
        """Whether it is known what runs on the service without an object."""

    def began(self) -> datetime:
        """When this process began to decide, by the time of day as it is now."""


@dataclass(frozen=True, slots=True)
class ChannelInfo:
    """What a server's user-data needs of the configuration channel."""

    default_endpoint: str
    pin: str


@dataclass(slots=True)
class Context:
    """The reconcilers' surroundings. ``namespace`` is the controller's own; secrets of services are read there.

    ``secret_written`` is told of each Secret ``<uid>`` as it was written: a configd in this process need not wait for
    its watch. ``abandoned`` names Secrets ``<uid>`` that wait to go although their VirtualServer is gone already.
    ``looked_at`` has the uids of HostingServices whose status says what this process itself has seen.
    """

    client: Client
    store: Store
    installation: Installation
    events: EventRecorder
    clock: Clock
    metrics: Metrics
    namespace: str
    channel: ChannelInfo
    queues: Mapping[Kind, WorkQueue[QueueKey]] = field(default_factory=dict)
    observers: list[CallObserver] = field(default_factory=list)
    connections: dict[str, ServiceConnection] = field(default_factory=dict)
    memories: dict[str, ServerMemory] = field(default_factory=dict)
    referrers: dict[ObjectKey, set[QueueKey]] = field(default_factory=lambda: defaultdict(set))
    abandoned: dict[QueueKey, str] = field(default_factory=dict)
    looked_at: set[str] = field(default_factory=set)
    guard: Callable[[], None] = lambda: None
    secret_written: Callable[[Obj], None] = lambda _: None
    _writer: StatusWriter | None = None
    _placing: Counter[str] = field(default_factory=Counter)
    _began: float = 0.0

    def __post_init__(self) -> None:
        self.begin()

    def begin(self) -> None:
        """From now on this process decides: a standby may have waited for days, and looked at no service meanwhile."""
        self._began = self.clock.monotonic()

    @property
    def writer(self) -> StatusWriter:
        """The one writer of status."""
        if self._writer is None:
            raise RuntimeError("the status writer is not set up")
        return self._writer

    def set_writer(self, writer: StatusWriter) -> None:
        """Give the writer, which itself needs `requeue`."""
        self._writer = writer

    @contextmanager
    def placing(self, service: str) -> Iterator[None]:
        """While a VirtualServer is being posted on the HostingService of this uid, which must not go meanwhile."""
        self._placing[service] += 1
        try:
            yield
        finally:
            self._placing[service] -= 1
            if not self._placing[service]:
                del self._placing[service]

    def is_placing(self, service: str) -> bool:
        """Whether a VirtualServer is on its way to the HostingService of this uid."""
        return service in self._placing

    def counts(self, service_uid: str, provider_id: str) -> bool:
        """Whether the service's last inventory has this server."""
        connection = self.connections.get(service_uid)
        latest = connection.latest if connection is not None else None
        return latest is not None and provider_id in latest.by_id

    def knows(self, service_uid: str) -> bool:
        """Whether the status of the service says what this process itself has seen."""
        return service_uid in self.looked_at

    def judged(self, service_uid: str) -> bool:
        """Whether this process has seen what runs on the service without an object, orphans included."""
        connection = self.connections.get(service_uid)
        return connection is not None and connection.released.orphans is not None

    def began(self) -> datetime:
        """When this process began to decide, counted back on the steady clock: the time of day may have been set."""
        return self.clock.now() - timedelta(seconds=self.clock.monotonic() - self._began)

    def memory(self, uid: str) -> ServerMemory:
        """What is remembered of the VirtualServer ``uid``."""
        found = self.memories.get(uid)
        if found is None:
            found = self.memories[uid] = ServerMemory()
        return found

    def forget(self, uid: str, key: QueueKey) -> None:
        """The VirtualServer is gone."""
        memory = self.memories.pop(uid, None)
        if memory is not None:
            self._refer(key, memory.refers, frozenset())

    def refers(self, uid: str, key: QueueKey, targets: frozenset[ObjectKey]) -> None:
        """Remember on which Secrets and ConfigMaps a server's configuration rests, to hear of their changes."""
        memory = self.memory(uid)
        if targets != memory.refers:
            self._refer(key, memory.refers, targets)
            memory.refers = targets

    def _refer(self, key: QueueKey, old: Iterable[ObjectKey], new: Iterable[ObjectKey]) -> None:
        for target in old:
            self.referrers[target].discard(key)
            if not self.referrers[target]:
                del self.referrers[target]
        for target in new:
            self.referrers[target].add(key)

    def enqueue(
        self, kind: Kind, namespace: str, name: str, *, hot: bool = False, urgent: bool = False, after: float = 0.0
    ) -> None:
        """Have an object reconciled, at once or after some seconds."""
        queue = self.queues.get(kind)
        if queue is None:
            return
        lane = Lane.URGENT if urgent else Lane.HOT if hot else Lane.COLD
        if after > 0:
            queue.add_after((namespace, name), after, lane)
        else:
            queue.add((namespace, name), lane)

    def enqueue_group(self, namespace: str, name: str) -> None:
        """Have a group look at its servers soon: together with what else changes in it, the longer the more is to do.

        Each server changes several times on its way to Ready; a group that looked each time would cost more than they.
        """
        waiting = len(self.queues[VIRTUAL_SERVER]) if VIRTUAL_SERVER in self.queues else 0
        after = min(GROUP_DELAY_LIMIT, GROUP_DELAY + GROUP_DELAY_PER_SERVER * waiting)
        self.enqueue(SERVER_GROUP, namespace, name, hot=True, after=after)

    def requeue(self, kind: Kind, namespace: str, name: str) -> None:
        """For the status writer: decide again."""
        self.enqueue(kind, namespace, name, hot=True)
