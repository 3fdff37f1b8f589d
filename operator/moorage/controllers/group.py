"""The reconciler of ServerGroup: its placement is committed to status before anything rests on it."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Iterable, Sequence
from datetime import timedelta

from moorage.api.names import (
    API_VERSION,
    FINALIZER_GROUP,
    FINALIZER_SERVER,
    LABEL_GROUP,
    LABEL_MEMBER,
    LABEL_SERVICE,
    MANAGER_CONTROLLER,
    server_name,
)
from moorage.api.placement import Placement
from moorage.api.servergroup import ServerGroup, ServerGroupStatus
from moorage.controllers.context import Context, QueueKey
from moorage.controllers.edges import Edges
from moorage.controllers.group_world import GroupObserver
from moorage.controllers.hostingservice import hold_service, is_held
from moorage.controllers.revisions import ensure_revision, namespace_ends, revision_name
from moorage.controllers.tables import Tables
from moorage.core.drift import handed_down
from moorage.core.group import GroupPlan, GroupWorld, decide_group
from moorage.core.group_status import group_status
from moorage.core.limits import cost_limit
from moorage.core.news import OWN_DOING, compared, removal_news
from moorage.core.rollout import Creation, Removal, Revision, waves
from moorage.kube.apply import Written, add_finalizer, remove_finalizer
from moorage.kube.errors import AlreadyExists, ApiError, Conflict, Forbidden, InvalidObject, NotFound
from moorage.kube.kinds import SERVER_GROUP, VIRTUAL_SERVER
from moorage.kube.lanes import Lane, current_lane
from moorage.kube.store import Obj
from moorage.runtime.workers import AGAIN, DONE, Result

log = logging.getLogger(__name__)

HOLD_LOOK = 2.0
"""Seconds until a service that could not be held is looked at again."""

AFFORD_LOOK = 0.5
"""Seconds until a group that waits for its namespace's ceiling is looked at: what becomes free comes in company."""

CREATIONS_AT_A_TIME = 8
"""VirtualServers of a group that are being posted: were it all of them, the first one would wait for the last."""

NORMAL, WARNING = "Normal", "Warning"


class GroupController:
    """Reconciles ServerGroups."""

    def __init__(self, context: Context, tables: Tables, observer: GroupObserver, edges: Edges) -> None:
        self._context = context
        self._tables = tables
        self._observer = observer
        self._edges = edges
        observer.spending.woken = self._afford

    def _afford(self, namespace: str, name: str) -> None:
        """Look again at a group that a cost ceiling kept waiting, once something became free."""
        self._context.enqueue(SERVER_GROUP, namespace, name, after=AFFORD_LOOK)

    async def reconcile(self, key: QueueKey) -> Result:
        """One step towards what the object asks for."""
        obj = self._tables.groups.get(*key)
        if obj is None:
            self._context.metrics.pending(*key, None)
            return DONE
        now = self._context.clock.now()
        try:
            world = self._observer.observe(obj, now)
        except InvalidObject as error:
            log.error("cannot be read: %s", error)
            return DONE
        if world.group.metadata.deleting and FINALIZER_GROUP not in world.group.metadata.finalizers:
            return DONE
        plan = decide_group(world, now)
        cost = None if world.allowance is None else world.cost
        self._observer.spending.promise(world.group, cost, waiting=cost_limit(world) is not None)
        if plan.commit:
            return await self._commit(obj, world, plan)
        if plan.drop_finalizer:
            return await self._finish(obj, world.group)
        changed = await self._act(obj, world, plan)
        written = await self._report(obj, world, plan, hard=False)
        self._look_into(plan)
        if changed or written is Written.CONFLICT:
            return AGAIN
        after = None if plan.wake_at is None else max(0.001, (plan.wake_at - now) / timedelta(seconds=1))
        return Result(after=after)

    def _look_into(self, plan: GroupPlan) -> None:
        """Have the service looked at that the group is to leave, where what is known of it is older than the reason.

        After status tells of the occasion: it is by that that the group is woken when the inventory is there.
        """
        newer_than, placement = plan.failover.newer_than, plan.placement
        connection = None if placement is None else self._context.connections.get(placement.service_uid)
        if newer_than is not None and connection is not None:
            connection.need_inventory(newer_than)

    # Report

    async def _commit(self, obj: Obj, world: GroupWorld, plan: GroupPlan) -> Result:
        """Placement, its end, or the opened gate: written before anything that rests on it is done."""
        if plan.placement is not None and not await self._hold(obj, plan.placement):
            return Result(after=1.0)
        written = await self._report(obj, world, plan, hard=True)
        if written is Written.WRITTEN:
            self._announce(obj, world.group.status, plan)
        return DONE if written is Written.GONE else AGAIN

    async def _hold(self, obj: Obj, placement: Placement) -> bool:
        """The group and its service stay for as long as servers may exist."""
        if FINALIZER_GROUP not in (obj["metadata"].get("finalizers") or ()):
            await add_finalizer(self._context.client, self._context.store, SERVER_GROUP, obj, FINALIZER_GROUP)
        return await hold_service(self._context, self._tables, placement.service, placement.service_uid)

    async def _report(self, obj: Obj, world: GroupWorld, plan: GroupPlan, *, hard: bool) -> Written:
        current = self._tables.groups.by_uid(obj["metadata"]["uid"])
        if current is None:
            return Written.GONE
        if current is not obj and hard:
            # Our own finalizer made a newer version; the spec that was decided on is the same.
            if current.get("spec") != obj.get("spec"):
                return Written.CONFLICT
            obj = current
        now = self._context.clock.now()
        status = group_status(world, plan, now)
        old = world.group.status
        hard = hard or _is_hard(old, status)
        meta = world.group.metadata
        self._context.metrics.pending(meta.namespace, meta.name, status.pending_items)
        written = await self._context.writer.write(SERVER_GROUP, obj, status.to_dict(), hard=hard)
        if written is Written.WRITTEN and any(c.type == "Ready" and c.status == "True" for c in status.conditions):
            self._observe_convergence(old)
        return written

    def _observe_convergence(self, old: ServerGroupStatus) -> None:
        """From becoming unready, or from the placement where that came later: waiting for a policy is not counted."""
        before = next((c for c in old.conditions if c.type == "Ready"), None)
        if before is None or before.status == "True" or old.placement is None:
            return
        began = max(before.last_transition_time, old.placement.time)
        seconds = (self._context.clock.now() - began).total_seconds()
        self._context.metrics.convergence_seconds.observe(max(0.0, seconds))

    def _announce(self, obj: Obj, old: ServerGroupStatus, plan: GroupPlan) -> None:
        if plan.placement is not None and (old.placement is None or old.placement.number != plan.placement.number):
            # Status keeps them for as long as the group is there; why it was there last week, the log tells.
            log.info("%s was chosen among: %s", plan.placement.service, compared(plan.placement))
        if plan.phase in {"FailingOver", "FailedOver"}:
            self._event(obj, WARNING, "FailedOver", plan.message)
        elif plan.placement is None:
            moves = plan.phase == "Moving"
            self._event(obj, WARNING if moves else NORMAL, "NoRoom" if moves else "Released", plan.message)
        elif old.placement is None:
            self._event(obj, NORMAL, "Placed", plan.placement.message)

    def _event(self, obj: Obj, type_: str, reason: str, message: str) -> None:
        log.info("%s: %s", reason, message)
        self._context.events.record(SERVER_GROUP, obj, "Warning" if type_ == WARNING else "Normal", reason, message)

    # Act

    async def _act(self, obj: Obj, world: GroupWorld, plan: GroupPlan) -> bool:
        """Carry the plan out, everything of one kind at the same time. True where something changed."""
        calls: list[Awaitable[bool]] = []
        calls += [self._retain(world.group, name, uid, keep) for name, uid, keep in plan.retain]
        if not world.group.spec.suspend:
            policy = world.group.spec.drift_policy
            calls += [
                self._patch(world.group, name, uid, {"driftPolicy": policy})
                for name, uid in handed_down(policy, world.servers)
            ]
        ends = namespace_ends(self._tables, world.group.metadata.namespace)
        if not ends:
            calls += [self._revise(world.group, revision) for revision in plan.revisions]
        if plan.creations and plan.placement is not None and not ends:
            calls += await self._creations(obj, world, plan.placement, plan.creations)
        done = await _all(calls)
        for news in removal_news(plan.removals):
            self._event(obj, news.type, news.reason, news.message)
        for wave in self._waves(world, plan.removals):
            # Dependents are marked before what they depend on: its finalizer then waits for them.
            done += await _all([self._remove(obj, removal) for removal in wave])
        return any(done)

    def _waves(self, world: GroupWorld, removals: Sequence[Removal]) -> list[list[Removal]]:
        meta = world.group.metadata
        member_of = {server.uid: server.member for server in world.servers}
        order = {
            member: {m for g, m in self._edges.dependents(meta.namespace, meta.name, member) if g == meta.name}
            for member in set(member_of.values())
        }
        return waves(removals, member_of, order)

    async def _creations(
        self, obj: Obj, world: GroupWorld, placement: Placement, creations: Iterable[Creation]
    ) -> list[Awaitable[bool]]:
        if not await self._hold(obj, placement):
            self._look_again(world.group)
            return []
        for name in sorted({want.config for want in world.wants}):
            config = self._tables.configs.parsed(world.group.metadata.namespace, name)
            if config is not None:
                await ensure_revision(self._context, self._tables, config)
        turns = asyncio.Semaphore(CREATIONS_AT_A_TIME)
        return [self._create(world.group, placement, creation, turns) for creation in creations]

    async def _create(
        self, group: ServerGroup, placement: Placement, creation: Creation, turns: asyncio.Semaphore
    ) -> bool:
        """Post one VirtualServer, unless its service began to go since it was held."""
        current_lane.set(Lane.COLD)  # of this task alone
        async with turns:
            if not self._still_wanted(group):
                return True
            with self._context.placing(placement.service_uid):
                if not is_held(self._tables, placement.service, placement.service_uid):
                    self._look_again(group)
                    return False
                return await self._post(group, placement, creation)

    def _still_wanted(self, group: ServerGroup) -> bool:
        """Whether the group is as it was decided upon: it may have waited long for its turn."""
        obj = self._tables.groups.by_uid(group.metadata.uid)
        meta = obj["metadata"] if obj is not None else {}
        return meta.get("generation") == group.metadata.generation and "deletionTimestamp" not in meta

    def _look_again(self, group: ServerGroup) -> None:
        """A service that cannot be held is on its way out, or just changed: no event of its own need follow."""
        meta = group.metadata
        self._context.enqueue(SERVER_GROUP, meta.namespace, meta.name, after=HOLD_LOOK)

    async def _post(self, group: ServerGroup, placement: Placement, creation: Creation) -> bool:
        """Post one VirtualServer: children are made by POST only, so that no dead one is made anew."""
        meta = group.metadata
        name = server_name(meta.name, creation.member, creation.ordinal, placement.suffix)
        labels = {LABEL_GROUP: meta.name, LABEL_MEMBER: creation.member}
        if len(placement.service) <= 63:
            labels[LABEL_SERVICE] = placement.service
        body: Obj = {
            "metadata": {
                "name": name,
                "namespace": meta.namespace,
                "labels": labels,
                "finalizers": [FINALIZER_SERVER],
                "ownerReferences": [_owner(group)],
            },
            "spec": {
                "serviceRef": {"name": placement.service, "uid": placement.service_uid},
                "group": {"name": meta.name, "uid": meta.uid},
                "member": creation.member,
                "ordinal": creation.ordinal,
                "placement": placement.number,
                "image": creation.template.image,
                "offering": creation.template.offering,
                "settings": dict(creation.template.settings),
                "revision": creation.revision,
                "deletionPolicy": group.spec.deletion_policy,
                "driftPolicy": group.spec.drift_policy,
            },
        }
        try:
            answer = await self._context.client.create(VIRTUAL_SERVER, body, manager=MANAGER_CONTROLLER)
        except AlreadyExists:
            return await self._meet(group, name)
        except Forbidden as error:
            if error.namespace_terminating:
                return False
            raise
        self._context.store.ingest(VIRTUAL_SERVER, answer)
        return True

    async def _meet(self, group: ServerGroup, name: str) -> bool:
        """The name is taken: by ours that the cache did not show yet, or by somebody else's object."""
        found = await self._context.client.get(VIRTUAL_SERVER, group.metadata.namespace, name)
        self._context.store.ingest(VIRTUAL_SERVER, found)
        owner = (found["spec"].get("group") or {}).get("uid")
        if owner != group.metadata.uid:
            log.warning("the name %s is taken by a VirtualServer that is not of this group", name)
        return False

    async def _remove(self, obj: Obj, removal: Removal) -> bool:
        if removal.reason not in OWN_DOING:
            kind = NORMAL if removal.reason == "Replaced" else WARNING
            self._event(obj, kind, removal.reason, f"{removal.name} is replaced: {removal.message}")
        try:
            answer = await self._context.client.delete(
                VIRTUAL_SERVER, obj["metadata"]["namespace"], removal.name, uid=removal.uid, propagation="Background"
            )
        except (NotFound, Conflict):
            self._context.store.table(VIRTUAL_SERVER).removed(removal.uid)
            return True
        if answer.get("kind") == VIRTUAL_SERVER.kind:
            self._context.store.ingest(VIRTUAL_SERVER, answer)
        return True

    async def _revise(self, group: ServerGroup, revision: Revision) -> bool:
        names = sorted({m.config_ref.name for m in group.spec.members} | {m.config for m in group.status.members})
        configs = [self._tables.configs.parsed(group.metadata.namespace, name) for name in names]
        for config in configs:
            if config is None or revision_name(config.metadata.name, config.spec) != revision.revision:
                continue
            await ensure_revision(self._context, self._tables, config)
        return await self._patch(group, revision.name, revision.uid, {"revision": revision.revision})

    async def _retain(self, group: ServerGroup, name: str, uid: str, keep: bool) -> bool:
        return await self._patch(group, name, uid, {"deletionPolicy": "Retain" if keep else "Delete"})

    async def _patch(self, group: ServerGroup, name: str, uid: str, spec: Obj) -> bool:
        current = self._tables.servers.by_uid(uid)
        if current is None:
            return False
        patch = {"metadata": {"uid": uid, "resourceVersion": current["metadata"]["resourceVersion"]}, "spec": spec}
        try:
            answer = await self._context.client.patch(
                VIRTUAL_SERVER, group.metadata.namespace, name, patch, manager=MANAGER_CONTROLLER
            )
        except NotFound:
            self._tables.servers.removed(uid)
            return True
        except Conflict:
            fresh = await self._context.client.get(VIRTUAL_SERVER, group.metadata.namespace, name)
            self._context.store.ingest(VIRTUAL_SERVER, fresh)
            return True
        self._context.store.ingest(VIRTUAL_SERVER, answer)
        return True

    async def _finish(self, obj: Obj, group: ServerGroup) -> Result:
        """The last word on whether servers are left is the API server's, not the cache's."""
        selector = f"{LABEL_GROUP}={group.metadata.name}"
        listing = await self._context.client.list(VIRTUAL_SERVER, group.metadata.namespace, labels=selector)
        left = [o for o in listing.items if (o["spec"].get("group") or {}).get("uid") == group.metadata.uid]
        for item in left:
            self._context.store.ingest(VIRTUAL_SERVER, item)
        if left:
            return Result(after=1.0)
        client, store = self._context.client, self._context.store
        if await remove_finalizer(client, store, SERVER_GROUP, obj, FINALIZER_GROUP):
            self._tables.groups.removed(group.metadata.uid)
        return DONE


def _owner(group: ServerGroup) -> Obj:
    meta = group.metadata
    return {
        "apiVersion": API_VERSION,
        "kind": SERVER_GROUP.kind,
        "name": meta.name,
        "uid": meta.uid,
        "controller": True,
        "blockOwnerDeletion": True,
    }


def _is_hard(old: ServerGroupStatus, new: ServerGroupStatus) -> bool:
    def states(status: ServerGroupStatus) -> dict[str, str]:
        return {c.type: c.status for c in status.conditions if c.type in {"Ready", "Stalled"}}

    return (
        old.observed_generation != new.observed_generation
        or states(old) != states(new)
        or old.placement != new.placement
        # A person may be asked.
        or old.failover != new.failover
        # The next look, which may come at once, counts on from what is recorded.
        or [(m.desired, m.failures) for m in old.members] != [(m.desired, m.failures) for m in new.members]
    )


async def _all(calls: Iterable[Awaitable[bool]]) -> list[bool]:
    """All results; the first error is raised only after every call has ended, so that none is left running."""
    results = await asyncio.gather(*calls, return_exceptions=True)
    done: list[bool] = []
    errors: list[BaseException] = []
    for result in results:
        if isinstance(result, BaseException):
            errors.append(result)
        else:
            done.append(result)
    if errors:
        api = next((e for e in errors if isinstance(e, ApiError)), errors[0])
        raise api
    return done
