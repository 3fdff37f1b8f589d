"""What the controller would do with a group next, and until it is as it shall be: its own decisions over a cache.

A commit (a placement, an opened gate) is written to the cache instead of the API server, and decided on again, as the
controller does. What takes time (a server's start, a paced replacement) is not waited for but said.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any, Final

from moorage.api.hostingpolicy import HostingPolicy, Reading
from moorage.api.placement import Placement
from moorage.api.servergroup import ServerGroup, UpdateStrategy
from moorage.cli.cluster import read
from moorage.cli.plan.gather import Gathered, Onlooker
from moorage.cli.plan.references import ItemReferences
from moorage.controllers.choices import Choice
from moorage.controllers.group_world import GroupObserver
from moorage.core.configuration import Dangling
from moorage.core.group import GroupPlan, GroupWorld, decide_group
from moorage.core.group_status import group_status
from moorage.core.obstacles import Obstacle
from moorage.core.policy import evaluate_policy
from moorage.kube.kinds import HOSTING_POLICY, SERVER_GROUP, Kind
from moorage.kube.store import Obj

_COMMITS: Final = 8
"""More than any group needs: placement, exhaustion, gate."""


@dataclass(frozen=True, slots=True)
class Foreseen:
    """One group: as it would be seen, what would be done at once, and what in the end (paced changes all at once).

    ``current`` is the group as the cluster has it, None where it is new. ``hypothetical`` is where a group that gets no
    placement would be, whatever its policy's conditions are, ``refuge`` where one that stays placed would go, were it
    to leave; an obstacle is why nobody can tell. ``would_change`` is what would let a service take the group where none
    can. ``dangling`` are the items, by member, that refer to what would not be there.
    """

    group: ServerGroup
    current: ServerGroup | None
    policy: HostingPolicy | None
    world: GroupWorld
    now: GroupPlan
    whole: GroupPlan
    hypothetical: Placement | Obstacle | None = None
    refuge: Placement | Obstacle | None = None
    would_change: tuple[str, ...] = ()
    dangling: tuple[tuple[str, Dangling], ...] = ()

    @property
    def placement(self) -> Placement | None:
        """Where the group would be."""
        return self.now.placement


class Foresight:
    """Decides over what was gathered. The cache is changed by it."""

    def __init__(self, gathered: Gathered) -> None:
        self._gathered = gathered
        self._tables = gathered.tables
        self._observer = GroupObserver(Onlooker(), gathered.tables)
        self._references = ItemReferences(gathered.tables)

    def group(self, name: str, now: datetime) -> Foreseen:
        """What would become of a group. Raises InvalidObject where it cannot be read."""
        obj = self._tables.groups.get(self._gathered.namespace, name)
        if obj is None:
            raise KeyError(name)
        parsed = self._tables.groups.parse(obj)
        self._evaluate(parsed, now)
        world, plan = self._settle(obj, now)
        policy = self._policy(parsed)
        foreseen = Foreseen(
            group=world.group,
            current=self._current(parsed),
            policy=policy,
            world=world,
            now=plan,
            whole=_unpaced(world, now),
            dangling=self._references.broken(world),
        )
        return self._with_choice(foreseen, now)

    def _current(self, group: ServerGroup) -> ServerGroup | None:
        """The group as the cluster has it."""
        key = SERVER_GROUP.kind, group.metadata.name
        before = self._gathered.before.get(key)
        if before is not None:
            return read(ServerGroup, before)
        return None if key in self._gathered.planned else group

    def _policy(self, group: ServerGroup) -> HostingPolicy | None:
        return self._tables.policies.parsed(group.metadata.namespace, group.spec.policy_ref.name)

    def _evaluate(self, group: ServerGroup, now: datetime) -> None:
        """Read the group's policy as its controller would, with hysteresis on from what its status remembers."""
        obj = self._tables.policies.get(group.metadata.namespace, group.spec.policy_ref.name)
        if obj is None:
            return
        policy = self._tables.policies.parse(obj)
        labels = self._tables.namespace_labels(policy.metadata.namespace)
        services, uid = self._observer.services.views(), policy.metadata.uid
        result = evaluate_policy(policy.spec, services, policy.status, now, labels, uid=uid)
        status = policy.status.model_copy(
            update={
                "observed_generation": policy.metadata.generation,
                "readings": self._with_remembered(policy, result.readings),
                "next_check_time": result.next_check,
            }
        )
        self._store(HOSTING_POLICY, obj, status.to_dict())

    def _with_remembered(self, policy: HostingPolicy, readings: Sequence[Reading]) -> tuple[Reading, ...]:
        """Conditions that only the controller can read are as it read them last, unless the files change them."""
        before = self._gathered.before.get((HOSTING_POLICY.kind, policy.metadata.name))
        known = policy if before is None else read(HostingPolicy, before)
        same = {condition.name: condition for condition in known.spec.when.conditions}
        kept = {
            c.name
            for c in policy.spec.when.conditions
            if c.schedule is None and c.service is None and same.get(c.name) == c
        }
        remembered = {r.name: r for r in policy.status.readings if r.name in kept}
        return tuple(remembered.get(r.name, r) for r in readings)

    def _store(self, kind: Kind, obj: Obj, status: dict[str, Any]) -> Obj:
        meta = {**obj["metadata"], "resourceVersion": str(int(obj["metadata"]["resourceVersion"]) + 1)}
        changed = {**obj, "metadata": meta, "status": status}
        self._gathered.store.ingest(kind, changed)
        return changed

    def _settle(self, obj: Obj, now: datetime) -> tuple[GroupWorld, GroupPlan]:
        world = self._observer.observe(obj, now)
        plan = decide_group(world, now)
        for _ in range(_COMMITS):
            if not plan.commit:
                break
            obj = self._store(SERVER_GROUP, obj, group_status(world, plan, now).to_dict())
            world = self._observer.observe(obj, now)
            plan = decide_group(world, now)
        return world, plan

    def _with_choice(self, foreseen: Foreseen, now: datetime) -> Foreseen:
        """With the service that would be chosen by who is asked beyond what is decided now."""
        world, placement = foreseen.world, foreseen.placement
        current = foreseen.current.status.placement if foreseen.current is not None else None
        stays = placement is not None and current is not None and placement.number == current.number
        if world.group.metadata.deleting or (placement is not None and not stays):
            return foreseen
        if foreseen.now.phase == "Releasing" and stays:
            message = "its servers are given back first, and what they take up counts until they are gone"
            return replace(foreseen, refuge=Obstacle("ServersRemain", message, stalled=False))
        meta = world.group.metadata
        obj = self._tables.groups.get(meta.namespace, meta.name)
        choice = None if obj is None else self._observer.choice(obj, now)
        outcome = choice.outcome() if isinstance(choice, Choice) else choice
        if outcome is None and world.policy.problem is not None:
            outcome = Obstacle(*world.policy.problem, stalled=True)
        if stays:
            return replace(foreseen, refuge=outcome)
        told = choice.would_change() if isinstance(choice, Choice) and isinstance(outcome, Obstacle) else ()
        return replace(foreseen, hypothetical=outcome, would_change=told)


def _unpaced(world: GroupWorld, now: datetime) -> GroupPlan:
    """Everything that is to be changed, as if nothing had to stay ready meanwhile."""
    spec = world.group.spec.model_copy(update={"update_strategy": UpdateStrategy(type="Recreate")})
    return decide_group(replace(world, group=world.group.model_copy(update={"spec": spec})), now)
