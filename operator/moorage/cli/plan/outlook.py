"""What lies ahead of a group as the cluster has it: the service that would be chosen now, and what is due by itself."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import datetime
from typing import Final

from moorage.api.hostingpolicy import HostingPolicy
from moorage.api.placement import Placement
from moorage.api.servergroup import ServerGroup
from moorage.cli.cluster import Cluster
from moorage.cli.plan.gather import Gathered, Onlooker, look_around
from moorage.controllers.choices import Choice
from moorage.controllers.group_world import GroupObserver
from moorage.core.group import GroupWorld, decide_group
from moorage.core.obstacles import Obstacle
from moorage.kube.errors import Forbidden

POLICY: Final = "PolicyConditions"
OWN: Final = "OwnConditions"
GROUP: Final = "Group"


@dataclass(frozen=True, slots=True)
class Due:
    """When something is looked at although no fact changes: the conditions that a policy's groups share, those that are
    the group's own (approvals and votes), or the group itself (a time-out of a server, say)."""

    at: datetime
    what: str


@dataclass(frozen=True, slots=True)
class Outlook:
    """``chosen`` is where a group without a placement would be now, or why nobody can tell, ``unless`` what keeps it
    from being placed there, ``would_change`` what would let a service take it where none can. ``due`` is in the order
    of time. ``unknown`` is why nothing of this can be told."""

    chosen: Placement | Obstacle | None = None
    unless: str = ""
    would_change: tuple[str, ...] = ()
    due: tuple[Due, ...] = ()
    unknown: str = ""
    notes: tuple[str, ...] = ()


NOTHING_AHEAD: Final = Outlook()
"""Where nobody has looked."""


async def look_ahead(cluster: Cluster, group: ServerGroup, now: datetime) -> Outlook:
    """What lies ahead of a group, as far as whoever asks may see what decides about it."""
    placed = group.status.placement is not None
    try:
        gathered = await look_around(cluster, group.metadata.name, everywhere=not placed)
    except Forbidden as error:
        return Outlook(unknown=error.message)
    return foresee_as_is(gathered, group.metadata.name, now)


def foresee_as_is(gathered: Gathered, name: str, now: datetime) -> Outlook:
    """The same, over a cache."""
    tables, namespace = gathered.tables, gathered.namespace
    obj = tables.groups.get(namespace, name)
    if obj is None:
        return Outlook(unknown="it was just deleted")
    observer = GroupObserver(Onlooker(), tables)
    world = observer.observe(obj, now)
    policy = tables.policies.parsed(namespace, world.policy.name) if world.policy.problem is None else None
    found = Outlook(due=dues(policy, world, now), notes=gathered.notes)
    if world.group.status.placement is not None or world.group.metadata.deleting:
        return found
    choice = observer.choice(obj, now)
    chosen = choice.outcome() if isinstance(choice, Choice) else choice
    if chosen is None and world.policy.problem is not None:
        chosen = Obstacle(*world.policy.problem, stalled=True)
    told = choice.would_change() if isinstance(choice, Choice) and isinstance(chosen, Obstacle) else ()
    return replace(found, chosen=chosen, unless=unless(world), would_change=told)


def unless(world: GroupWorld) -> str:
    """What keeps a group from being placed although a service can take it."""
    found = []
    if not world.policy.lets_grow:
        found.append("if the policy were met now")
    if world.group.spec.suspend:
        found.append("without suspend")
    if world.servers:
        found.append("once the servers of its last placement are gone")
        if world.group.spec.deletion_protection:
            found.append("which deletionProtection may keep")
    return ", ".join(found) or "as things are now"


def dues(policy: HostingPolicy | None, world: GroupWorld, now: datetime) -> tuple[Due, ...]:
    """When something is due by itself, the next first."""
    alone = replace(world, policy=replace(world.policy, wake_at=None))
    found = (
        (None if policy is None else policy.status.next_check_time, POLICY),
        (world.policy.wake_at, OWN),
        (decide_group(alone, now).wake_at, GROUP),
    )
    return tuple(sorted((Due(at, what) for at, what in found if at is not None), key=lambda due: due.at))
