"""The reconciler of VirtualServer: observe -> decide -> act -> report, one outward step at a time."""

from __future__ import annotations

import logging
from datetime import datetime, timedelta

from moorage.api.conditions import READY, find
from moorage.api.virtualserver import VirtualServerStatus
from moorage.controllers.acts import Acts
from moorage.controllers.context import Context, QueueKey, Surroundings
from moorage.controllers.delivery import Deliveries
from moorage.controllers.edges import Edges
from moorage.controllers.observation import Observed, awaited, observe
from moorage.controllers.repairs import Repairs
from moorage.controllers.tables import Tables
from moorage.core import steps
from moorage.core.departure import DELETION_OVERDUE
from moorage.core.lifecycle import address_poll, decide_server
from moorage.core.server_status import ConfigurationView, is_instantiated, server_status
from moorage.kube.apply import Written
from moorage.kube.errors import InvalidObject
from moorage.kube.kinds import VIRTUAL_SERVER
from moorage.kube.store import Obj
from moorage.runtime.service import ServiceConnection
from moorage.runtime.workers import AGAIN, DONE, Result

log = logging.getLogger(__name__)

UNTIMED_WAIT = 30.0
"""Seconds after which a wait without a moment of its own is looked at again: its end may have been missed."""

QUEUED_QUIETLY = 1.0
"""Seconds that a server is in line for its creation before its status says so."""

DEPENDENTS_LOOK = 5.0
"""Seconds between looks at whether dependents are gone, for those that no event connects any more to this server."""


_OWN = tuple(name for name in VirtualServerStatus.model_fields if name != "agent")
"""The fields of status that are this controller's."""


class ServerController:
    """Reconciles VirtualServers."""

    def __init__(self, context: Context, tables: Tables, edges: Edges) -> None:
        self._context = context
        self._tables = tables
        self._edges = edges
        self.acts = Acts(context, tables)
        self._repairs = Repairs(context, self.acts)
        self.deliveries = Deliveries(context, tables, edges, self.acts)

    async def reconcile(self, key: QueueKey) -> Result:
        """One step towards what the object asks for."""
        abandoned = self._context.abandoned.pop(key, None)
        if abandoned is not None:
            await self.acts.release_abandoned(key, abandoned)
        obj = self._tables.servers.get(*key)
        if obj is None:
            for connection in self._context.connections.values():
                connection.creations.give_back(key)
            return DONE
        now = self._context.clock.now()
        try:
            seen = observe(self._context, self._tables, self._edges, obj, now)
        except InvalidObject as error:
            log.error("cannot be read: %s", error)
            return Result(after=UNTIMED_WAIT)
        step = decide_server(seen.facts, now)
        seen.memory.step = step
        if seen.connection is None:
            return await self._act(seen, step)
        if isinstance(step, steps.Create | steps.CreateAgain):
            return await self._create(seen, step, seen.connection)
        seen.connection.creations.give_back(key)
        return await self._act(seen, step)

    async def _create(
        self, seen: Observed, step: steps.Create | steps.CreateAgain, connection: ServiceConnection
    ) -> Result:
        """Create once the call can go out, and not much sooner: the time of its attempt runs from its record on."""
        refusal, steady = connection.admission.refusal(seen.key[0]), self._context.clock.monotonic()
        if refusal is not None:
            connection.creations.give_back(seen.key)
            return await self._hold(seen, refusal.reason, refusal.message, refusal.seconds)
        if not connection.creations.take(seen.key, steady):
            since = connection.creations.since(seen.key)
            if since is None or steady - since < QUEUED_QUIETLY:
                return Result(after=QUEUED_QUIETLY)
            message = f"{connection.creations.count} creations at a time on {connection.name}: this one is in line"
            return await self._hold(seen, "WaitingInLine", message, UNTIMED_WAIT)
        try:
            known = await self._tell(seen, step)
        finally:
            # Before what came of it is written: that takes no place of the service's.
            connection.creations.give_back(seen.key)
        return await self._told(seen, known)

    async def _hold(self, seen: Observed, reason: str, message: str, seconds: float) -> Result:
        until = seen.now + timedelta(seconds=seconds)
        return await self._settle(seen, steps.Wait(reason, message, until))

    async def _act(self, seen: Observed, step: steps.Step) -> Result:
        match step:
            case steps.Create() | steps.CreateAgain() | steps.Claim():
                return await self._make(seen, step)
            case steps.Record(provider_id):
                return await self._record(seen, provider_id)
            case steps.Fail(_, destroy):
                written = await self._report(seen, step, await self._view(seen))
                if destroy:
                    await self.acts.destroy(seen, destroy)
                return AGAIN if written is Written.CONFLICT else DONE
            case steps.DeclareLost():
                written = await self._report(seen, step, await self._view(seen))
                return AGAIN if written is Written.CONFLICT else DONE
            case steps.AwaitInventory(newer_than):
                if seen.connection is not None:
                    seen.connection.need_inventory(newer_than)
                return await self._settle(seen, step)
            case steps.Wait() | steps.Settled():
                return await self._settle(seen, step)
            case steps.Repair(provider_id, remedy):
                await self._repairs.repair(seen, provider_id, remedy)
                return AGAIN
            case steps.Revoke():
                await self.acts.revoke(seen)
                return AGAIN
            case steps.Ask() | steps.Destroy() | steps.Release() | steps.Close() | steps.DropFinalizer():
                return await self._unmake(seen, step)

    async def _unmake(
        self, seen: Observed, step: steps.Ask | steps.Destroy | steps.Release | steps.Close | steps.DropFinalizer
    ) -> Result:
        match step:
            case steps.Ask(provider_id):
                await self.acts.ask(seen, provider_id)
            case steps.Destroy(provider_ids):
                await self.acts.destroy(seen, provider_ids)
                await self._report(seen, step, await self._view(seen))
            case steps.Release(provider_id):
                await self.acts.release(seen, provider_id)
            case steps.Close():
                await self.acts.close(seen)
            case steps.DropFinalizer():
                await self.acts.drop_finalizer(seen)
                return DONE
        return AGAIN

    async def _make(self, seen: Observed, step: steps.Create | steps.CreateAgain | steps.Claim) -> Result:
        return await self._told(seen, await self._tell(seen, step))

    async def _told(self, seen: Observed, known: bool) -> Result:
        if known and seen.memory.created is not None:
            return await self._record(seen, seen.memory.created.provider_id)
        return AGAIN

    async def _tell(self, seen: Observed, step: steps.Create | steps.CreateAgain | steps.Claim) -> bool:
        match step:
            case steps.Create():
                return await self.acts.create(seen)
            case steps.CreateAgain(record):
                return await self.acts.create_again(seen, record=record)
            case steps.Claim(provider_id):
                return await self.acts.claim(seen, provider_id)

    async def _record(self, seen: Observed, provider_id: str) -> Result:
        """Write the provider id before anything else is done with the server."""
        await self._report(seen, steps.Record(provider_id), await self._view(seen))
        return AGAIN

    async def _settle(self, seen: Observed, step: steps.Step) -> Result:
        """Nothing to do outside: see to the configuration, and say how things stand."""
        instantiated = is_instantiated(seen.server, seen.facts.joined, seen.seen)
        view, wrote = await self._configuration(seen, instantiated=instantiated)
        written = await self._report(seen, step, view)
        if wrote or written is Written.CONFLICT:
            return AGAIN
        return Result(after=self._next_look(seen, step, instantiated))

    async def _configuration(self, seen: Observed, *, instantiated: bool) -> tuple[ConfigurationView, bool]:
        facts = seen.facts
        if facts.deleting_since is not None or facts.lost or facts.failed is not None or seen.state is None:
            return await self._view(seen), False
        return await self.deliveries.deliver(seen, instantiated=instantiated)

    async def _view(self, seen: Observed) -> ConfigurationView:
        """What status already says of the configuration, for a server whose configuration no longer moves."""
        old = seen.server.status
        if seen.secret is not None and seen.state is None:
            return ConfigurationView()
        if old.configuration is None:
            view, _ = await self.deliveries.deliver(seen, instantiated=False)
            return view
        return ConfigurationView(
            revision=old.configuration.revision,
            controller_revision=old.configuration.controller_revision,
            items=old.configuration.items,
            dependents=old.dependents,
        )

    async def _report(self, seen: Observed, step: steps.Step, view: ConfigurationView) -> Written:
        status = server_status(seen.server, seen.facts, step, seen.seen, view, seen.now)
        old = seen.memory.status or seen.server.status
        seen.memory.status = status
        # Before the write: where that fails, the next try finds nothing new in memory, and nobody else tells the group.
        self._announce(seen, old, status)
        if self._stands(seen, status):
            written = self._context.writer.stands(VIRTUAL_SERVER, seen.obj)
        else:
            hard = _is_hard(seen.server.status, status)
            written = await self._context.writer.write(VIRTUAL_SERVER, seen.obj, status.to_dict(), hard=hard)
        if written in {Written.UNCHANGED, Written.WRITTEN} and seen.memory.status is status:
            seen.memory.status = None  # the object tells it now
        return written

    def _stands(self, seen: Observed, status: VirtualServerStatus) -> bool:
        """Whether the object says all that already; cheaper than what the writer compares, and usual at a start."""
        old = seen.server.status
        return self._tables.servers.by_uid(seen.server.metadata.uid) is seen.obj and all(
            getattr(status, name) == getattr(old, name) for name in _OWN
        )

    def _announce(self, seen: Observed, old: VirtualServerStatus, new: VirtualServerStatus) -> None:
        """Tell the group at once what a held status will say later."""
        ready = find(new.conditions, READY)
        if ready is not None and ready.reason == DELETION_OVERDUE and not _is_overdue(old):
            self._context.events.record(VIRTUAL_SERVER, seen.obj, "Warning", DELETION_OVERDUE, ready.message)
            log.warning("%s", ready.message)
        group = seen.server.spec.group
        if group is not None and _summary(old) != _summary(new):
            self._context.enqueue_group(seen.key[0], group.name)

    def _next_look(self, seen: Observed, step: steps.Step, instantiated: bool) -> float | None:
        """Seconds until this server is looked at again without anything having changed; None: never."""
        if isinstance(step, steps.Wait):
            if step.reason == "DependentsFirst":
                return DEPENDENTS_LOOK
            return UNTIMED_WAIT if step.until is None else _until(step.until, self._context.clock.now())
        if isinstance(step, steps.AwaitInventory):
            return UNTIMED_WAIT
        facts = seen.facts
        if facts.provider_id is None or facts.failed is not None or facts.lost or seen.connection is None:
            return None
        if awaited(seen.seen, facts.joined) and not instantiated:
            seen.connection.watch()
        if seen.seen is None or not seen.seen.addresses:
            pause = address_poll(facts.recorded_at, seen.now)
            return None if pause is None else pause.total_seconds()
        return None


def _until(moment: datetime, now: datetime) -> float:
    return max(0.001, (moment - now) / timedelta(seconds=1))


def _is_hard(old: VirtualServerStatus, new: VirtualServerStatus) -> bool:
    """Changes that others wait for, or that must survive a crash, are written at once."""
    return (
        old.observed_generation != new.observed_generation
        or old.provider_id != new.provider_id
        or old.recorded_at != new.recorded_at
        or old.lost != new.lost
        or old.unhealthy_since != new.unhealthy_since
        or _states(old).get("Ready") != _states(new).get("Ready")
        or _states(old).get("Stalled") != _states(new).get("Stalled")
        or _states(old).get("Drifted") != _states(new).get("Drifted")
    )


def _is_overdue(status: VirtualServerStatus) -> bool:
    ready = find(status.conditions, READY)
    return ready is not None and ready.reason == DELETION_OVERDUE


def _states(status: VirtualServerStatus) -> dict[str, str]:
    return {c.type: c.status for c in status.conditions}


def _summary(status: VirtualServerStatus) -> tuple[object, ...]:
    pending = tuple(
        (i.name, i.message)
        for i in (status.configuration.items if status.configuration else ())
        if i.state == "Pending"
    )
    return _states(status), status.observed_generation, pending, status.lost, status.unhealthy_since


def summary_of(context: Surroundings, obj: Obj, parsed: VirtualServerStatus) -> VirtualServerStatus:
    """The status of a server as it was last decided, which may be ahead of the one that is written."""
    memory = context.memories.get(obj["metadata"]["uid"])
    return parsed if memory is None or memory.status is None else memory.status
