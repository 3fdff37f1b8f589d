"""Observe a ServerGroup: its policy's verdict, what its members shall be, what its servers are."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any

from moorage.api import conditions as c
from moorage.api.meta import Condition
from moorage.api.names import server_name, server_secret
from moorage.api.placement import Placement
from moorage.api.servergroup import ServerGroup
from moorage.api.virtualserver import VirtualServer, VirtualServerStatus
from moorage.api.virtualserverconfig import VirtualServerConfig, VirtualServerConfigSpec
from moorage.controllers.choices import Choice, Choices
from moorage.controllers.context import Surroundings
from moorage.controllers.deadlocks import Deadlocks
from moorage.controllers.derived import Derived
from moorage.controllers.exhaustion import attempted, next_settings, zones_of
from moorage.controllers.observation import joined
from moorage.controllers.references import GroupPolicy, MemberConfig, References
from moorage.controllers.server import summary_of
from moorage.controllers.service_views import ServiceViews
from moorage.controllers.spending import Spending
from moorage.controllers.state import tried_since
from moorage.controllers.tables import Tables
from moorage.controllers.voting import votes
from moorage.controllers.wants import Wants, template_of
from moorage.core.ceilings import NOTHING, Ceiling
from moorage.core.configuration import pending_items
from moorage.core.exhaustion import NO_ROOM, Exhaustion
from moorage.core.gate import present
from moorage.core.group import GroupWorld, judge_failover, wants_elsewhere, wants_placement
from moorage.core.limits import made_of, within
from moorage.core.obstacles import Obstacle
from moorage.core.placement import Rejection, group_cost, tried_in_turn
from moorage.core.rollout import GroupServer, Template, same_but_for_zone
from moorage.core.server_status import failure_of
from moorage.core.zones import Zones
from moorage.hosting.abilities import Retag
from moorage.kube.store import Obj

NAME_TAKEN_LOOK = timedelta(seconds=10)
"""How soon a name that somebody else's object had is looked at again."""


@dataclass(frozen=True, slots=True)
class _Read:
    """What a group refers to and has: ``room`` is what is known of where it had none, ``ceilings`` bound its cost."""

    members: list[MemberConfig]
    servers: list[tuple[VirtualServer, VirtualServerStatus]]
    found: GroupPolicy
    problems: list[Obstacle]
    room: Exhaustion
    ceilings: tuple[Ceiling, ...]


class GroupObserver:
    """Builds the world of a group from caches alone."""

    def __init__(self, context: Surroundings, tables: Tables) -> None:
        self._context = context
        self._tables = tables
        self.services = ServiceViews(context, tables)
        self.spending = Spending(context, tables)
        self._derived = Derived()
        self._references = References(tables, self._derived)
        self._deadlocks = Deadlocks(tables, self._derived, self._references)
        self._wants = Wants(tables, self._derived)
        self._choices = Choices(tables, self.services)

    def observe(self, obj: Obj, now: datetime) -> GroupWorld:
        """Raises InvalidObject where the group itself cannot be read."""
        group = self._tables.groups.parse(obj)
        read = self._read(group, now)
        view, servers = read.found.view, read.servers
        seen = [self._group_server(group, s, status, read.members) for s, status in servers]
        own = present(seen, group.status.placement)
        wants = [
            self._wants.want(group, read.found, m, sum(s.member == m.member.name for s in own), read.room)
            for m in read.members
        ]
        outdated = {s.member for s in own if s.outdated}
        allowance = self.spending.allowance(group, view, wants, read.ceilings, outdated) if read.ceilings else None
        if group.status.placement is not None:
            wants = [within(want, allowance) for want in wants]
        reach = self.services.reach(group.status.placement)
        world = GroupWorld(group, view, wants, seen, read.problems, reach=reach, allowance=allowance)
        there = {s.name for s in own}
        statuses = {s.metadata.name: status for s, status in servers if s.metadata.name in there}
        pending, count = pending_items(
            {n: s.configuration.items for n, s in statuses.items() if s.configuration is not None}
        )
        return self._with_choice(replace(world, pending=pending, pending_items=count), read)

    def choice(self, obj: Obj, now: datetime) -> Choice | Obstacle | None:
        """Which service would be chosen now, whatever the policy's conditions are; None: no policy says. For a group
        that is placed, were it to leave its service. Raises InvalidObject where the group itself cannot be read."""
        group = self._tables.groups.parse(obj)
        return self._choose(group, self._read(group, now))

    def _read(self, group: ServerGroup, now: datetime) -> _Read:
        """What the group refers to and has, and what is wrong with it."""
        members = [self._references.member(group, member, now) for member in group.spec.members]
        servers = self._servers(group)
        found = self._references.policy(group, now, lambda: votes(group, members, servers))
        held: list[Obstacle] = []
        if found.view.unapproved:
            members, held = self._references.approved(group, members, now)
        problems = [m.problem for m in members if m.problem is not None]
        problems += self._deadlocks.find(group, members)
        if found.problem is not None:
            problems.append(found.problem)
        problems += held
        problems += self._retention(group) + self._taken(group, now)
        room = Exhaustion(group.status.exhausted, now, next_settings, self._zones)
        return _Read(members, servers, found, problems, room, self.spending.ceilings(group))

    # Placement

    def _choose(self, group: ServerGroup, read: _Read) -> Choice | Obstacle | None:
        if read.found.policy is None:
            return None
        return self._choices.choose(group, read.found.policy, read.members, read.problems, read.room, read.ceilings)

    def _with_choice(self, world: GroupWorld, read: _Read) -> GroupWorld:
        """The world with the service that is chosen for what asks for one, and what the group then costs."""
        group, wants, now = world.group, list(world.wants), read.room.now
        cost = NOTHING if world.allowance is None else world.allowance.cost
        looks = wants_placement(group, world.policy)
        looks_elsewhere = wants_elsewhere(group, world.policy, wants, world.servers)
        leaves = judge_failover(world, now).go
        if not (looks or looks_elsewhere or leaves):
            return replace(world, cost=cost)
        choice = self._choose(group, read)
        proposal = choice.outcome() if isinstance(choice, Choice) else choice
        resolved_to = choice.members if isinstance(choice, Choice) else {}
        templates = {name: template_of(resolved) for name, resolved in resolved_to.items()}
        if looks:
            wants = [made_of(w, templates.get(w.name)) for w in wants]
        # Its servers are made beside those that are there, or after they are gone: until then both count.
        if isinstance(proposal, Placement) and (looks or leaves):
            cost += group_cost(proposal.service, ((w.replicas, resolved_to[w.name]) for w in wants))
        return replace(
            world,
            wants=wants,
            proposal=proposal if looks else None,
            elsewhere=proposal if looks_elsewhere else None,
            refuge=proposal if leaves else None,
            refuge_of=templates if leaves else {},
            cost=cost,
        )

    def _zones(self, service_uid: str, settings: Mapping[str, Any]) -> Zones:
        """See `ZonesOf`."""
        obj = self._tables.services.by_uid(service_uid)
        return zones_of(None if obj is None else self._tables.services.parse(obj), settings)

    # Policy and members

    def _retention(self, group: ServerGroup) -> list[Obstacle]:
        """A service that cannot rewrite tags cannot let a server live on. Placement chooses none such; this is for a
        group that asks for it later, which is told at once and not at the end."""
        placement = group.status.placement
        if placement is None or group.spec.deletion_policy != "Retain":
            return []
        connection = self._context.connections.get(placement.service_uid)
        if connection is None or isinstance(connection.backend, Retag):
            return []
        message = (
            f"{placement.service} cannot rewrite tags, so its servers cannot be retained: set deletionPolicy: Delete"
        )
        return [Obstacle("RetainUnsupported", message, stalled=True)]

    def _taken(self, group: ServerGroup, now: datetime) -> list[Obstacle]:
        """A name that the group needs and that somebody else's VirtualServer has."""
        meta, placement = group.metadata, group.status.placement
        if placement is None:
            return []
        names = [
            server_name(meta.name, m.name, n, placement.suffix)
            for m in group.spec.members
            for n in range(group.spec.replicas_of(m))
        ]
        for name in names:
            other = self._tables.servers.get(meta.namespace, name)
            if other is not None and (other["spec"].get("group") or {}).get("uid") != meta.uid:
                message = f"the name {name} is taken by a VirtualServer that is not this group's: delete that one"
                return [Obstacle("NameTaken", message, stalled=False, until=now + NAME_TAKEN_LOOK)]
        return []

    # Servers

    def _servers(self, group: ServerGroup) -> list[tuple[VirtualServer, VirtualServerStatus]]:
        found: list[tuple[VirtualServer, VirtualServerStatus]] = []
        objects = self._tables.servers.by_index("group", (group.metadata.namespace, group.metadata.name))
        self._tables.servers.keep_parsed(2 * len(objects))
        for obj in objects:
            server = self._tables.servers.parse(obj)
            if server.spec.group is not None and server.spec.group.uid == group.metadata.uid:
                found.append((server, summary_of(self._context, obj, server.status)))
        return found

    def _group_server(
        self, group: ServerGroup, server: VirtualServer, status: VirtualServerStatus, members: list[MemberConfig]
    ) -> GroupServer:
        meta = server.metadata
        current = server.model_copy(update={"status": status})
        ready = c.find(status.conditions, c.READY)
        instantiated = c.find(status.conditions, c.INSTANTIATED)
        stalled = c.find(status.conditions, c.STALLED)
        failed = failure_of(current)
        fresh = status.observed_generation == meta.generation
        reason = "Lost" if status.lost else failed.reason if failed is not None else None
        config = next((m.config for m in members if m.member.name == server.spec.member), None)
        created = meta.creation_timestamp
        assert created is not None  # noqa: S101 - the API server sets it
        is_ready = fresh and ready is not None and ready.status == "True"
        is_up = instantiated is not None and instantiated.status == "True"
        return GroupServer(
            name=meta.name,
            uid=meta.uid,
            member=server.spec.member or "",
            ordinal=server.spec.ordinal,
            placement=server.spec.placement,
            revision=server.spec.revision,
            retain=server.spec.retains,
            created=created,
            tried_at=None if is_up else self._tried_at(meta.namespace, meta.uid, status),
            deleting=meta.deleting,
            repairs=server.spec.drift_policy == "Repair",
            outdated=config is not None and self._outdated(group, server, config),
            instantiated=is_up,
            instantiated_at=instantiated.last_transition_time if instantiated is not None else None,
            joined=joined(self._tables, server),
            configured=fresh and c.is_true(status.conditions, c.CONFIGURED),
            ready=is_ready,
            unhealthy_since=status.unhealthy_since,
            failed=reason,
            failed_at=stalled.last_transition_time if stalled is not None else None,
            message=_told(meta.deleting, is_ready, ready),
            attempted=attempted(server, failed, stalled) if reason in NO_ROOM else None,
            service=server.spec.service_ref.name,
            image=server.spec.image or "",
            settings=server.spec.settings,
            zone=status.zone,
        )

    def _tried_at(self, namespace: str, uid: str, status: VirtualServerStatus) -> datetime | None:
        """When the server was first asked for; who may not see its Secret knows when its id was recorded."""
        return tried_since(self._tables.secrets.get(namespace, server_secret(uid))) or status.recorded_at

    def _outdated(self, group: ServerGroup, server: VirtualServer, config: VirtualServerConfig) -> bool:
        """Whether image, size or settings of the configuration changed in a way that takes another server.

        A price or an offering that changed at the service is no reason to replace anything: the configuration has to
        have changed since the server's own revision.
        """
        namespace = server.metadata.namespace
        if server.spec.revision is not None and server.spec.revision == self._derived.of_config(config).revision:
            return False
        kept = self._tables.revisions.parsed(namespace, server.spec.revision) if server.spec.revision else None
        if kept is not None and _hardware(kept.spec) == _hardware(config.spec):
            return False
        placement = group.status.placement
        service = None if placement is None else self._wants.service(placement.service, placement.service_uid)
        if service is None:
            return False
        policy = self._references.readable_policy(group)
        turns = self._wants.turns(group, server.spec.member or "", config, service, policy)
        if isinstance(turns, Rejection):
            return False
        own = Template(server.spec.image or "", server.spec.offering or "", server.spec.settings)
        return not any(
            same_but_for_zone(template_of(tried, service, own), own)
            for turn in turns
            for tried in tried_in_turn(turn, service.spec.type, next_settings)
        )


def _told(deleting: bool, is_ready: bool, ready: Condition | None) -> str:
    """What the group says of a server that is not ready."""
    if ready is None or is_ready:
        return "it is being deleted" if deleting else ""
    if not deleting:
        return ready.message
    return (
        "it is being deleted"
        if ready.status == "True" or ready.reason == "Deleting"
        else f"it is being deleted: {ready.message}"
    )


def _hardware(spec: VirtualServerConfigSpec) -> tuple[object, ...]:
    return spec.images, spec.size, spec.settings
