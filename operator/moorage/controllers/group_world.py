"""Observe a ServerGroup: its policy's verdict, what its members shall be, what its servers are."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

from moorage.api import conditions as c
from moorage.api.hostingpolicy import HostingPolicy
from moorage.api.meta import Condition
from moorage.api.names import server_name, server_secret
from moorage.api.placement import Placement
from moorage.api.servergroup import ServerGroup
from moorage.api.virtualserver import VirtualServer, VirtualServerStatus
from moorage.api.virtualserverconfig import VirtualServerConfig, VirtualServerConfigSpec
from moorage.controllers.context import Surroundings
from moorage.controllers.deadlocks import Deadlocks
from moorage.controllers.derived import Derived
from moorage.controllers.exhaustion import attempted, next_settings, spot_settings, zones_of
from moorage.controllers.observation import joined
from moorage.controllers.references import MemberConfig, References
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
from moorage.core.failover import avoided
from moorage.core.gate import present
from moorage.core.group import GroupWorld, judge_failover, wants_elsewhere, wants_placement
from moorage.core.limits import made_of, within
from moorage.core.obstacles import Obstacle, together
from moorage.core.placement import (
    MemberRequest,
    MemberTemplate,
    PlacementRequest,
    Rejection,
    awaited,
    group_cost,
    place,
    tried_in_turn,
    what_would_change,
)
from moorage.core.policy import namespace_services, selected_services
from moorage.core.policy.data_age import within_age
from moorage.core.rollout import GroupServer, Template
from moorage.core.server_status import failure_of
from moorage.core.timing import earliest
from moorage.core.zones import Zones, without_zone
from moorage.hosting.abilities import Retag
from moorage.kube.store import Obj

NAME_TAKEN_LOOK = timedelta(seconds=10)
"""How soon a name that somebody else's object had is looked at again."""


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

    def observe(self, obj: Obj, now: datetime, *, as_if_met: bool = False) -> GroupWorld:
        """Raises InvalidObject where the group itself cannot be read. ``as_if_met``: whatever its policy says."""
        group = self._tables.groups.parse(obj)
        members = [self._references.member(group, member, now) for member in group.spec.members]
        servers = self._servers(group)
        found = self._references.policy(group, now, lambda: votes(group, members, servers))
        policy, view = found.policy, found.view
        if as_if_met:
            view = replace(view, verdict="Met", unapproved=False)
        held: list[Obstacle] = []
        if view.unapproved:
            members, held = self._references.approved(group, members, now)
        problems = [m.problem for m in members if m.problem is not None]
        problems += self._deadlocks.find(group, members)
        if found.problem is not None:
            problems.append(found.problem)
        problems += held
        problems += self._retention(group) + self._taken(group, now)
        room = Exhaustion(group.status.exhausted, now, next_settings, self._zones)
        seen = [self._group_server(group, s, status, members) for s, status in servers]
        own = present(seen, group.status.placement)
        wants = [self._wants.want(group, found, m, sum(s.member == m.member.name for s in own), room) for m in members]
        ceilings = self.spending.ceilings(group)
        outdated = {s.member for s in own if s.outdated}
        allowance = self.spending.allowance(group, view, wants, ceilings, outdated) if ceilings else None
        if group.status.placement is not None:
            wants = [within(want, allowance) for want in wants]
        world = GroupWorld(
            group, view, wants, seen, problems, reach=self.services.reach(group.status.placement), allowance=allowance
        )
        looks = wants_placement(group, view), wants_elsewhere(group, view, wants, seen)
        leaves = judge_failover(world, now).go
        proposal: Placement | Obstacle | None = None
        resolved_to: Mapping[str, MemberTemplate] = {}
        if any(looks) or leaves:
            proposal, resolved_to = self._propose(group, policy, members, problems, room, ceilings)
        templates = {name: template_of(resolved) for name, resolved in resolved_to.items()}
        if looks[0]:
            wants = [made_of(w, templates.get(w.name)) for w in wants]
        cost = NOTHING if allowance is None else allowance.cost
        # Its servers are made beside those that are there, or after they are gone: until then both count.
        if isinstance(proposal, Placement) and (looks[0] or leaves):
            cost += group_cost(proposal.service, ((w.replicas, resolved_to[w.name]) for w in wants))
        there = {s.name for s in own}
        statuses = {s.metadata.name: status for s, status in servers if s.metadata.name in there}
        pending, count = pending_items(
            {n: s.configuration.items for n, s in statuses.items() if s.configuration is not None}
        )
        return replace(
            world,
            wants=wants,
            proposal=proposal if looks[0] else None,
            elsewhere=proposal if looks[1] else None,
            refuge=proposal if leaves else None,
            refuge_of=templates if leaves else {},
            pending=pending,
            pending_items=count,
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
            settings=server.spec.settings,
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
        for turn in turns:
            for tried in tried_in_turn(turn, service.spec.type, next_settings):
                # In which zone it is was chosen for it, unless the settings say it.
                bare = without_zone(own.settings, zones_of(service, tried.settings))
                if template_of(tried) == replace(own, settings=bare):
                    return False
        return True

    # Placement

    def _propose(
        self,
        group: ServerGroup,
        policy: HostingPolicy | None,
        members: list[MemberConfig],
        problems: list[Obstacle],
        room: Exhaustion,
        ceilings: tuple[Ceiling, ...],
    ) -> tuple[Placement | Obstacle | None, Mapping[str, MemberTemplate]]:
        """A placement and what its members are made of there; or why there is none."""
        if policy is None:
            return None, {}
        now = room.now
        blocking = [p for p in problems if p.reason in {"ConfigInvalid", "ConfigNotFound"}]
        if blocking:
            return together(blocking), {}
        labels = self._tables.namespace_labels(group.metadata.namespace)
        request = PlacementRequest(
            namespace=group.metadata.namespace,
            namespace_labels=labels,
            members=tuple(
                MemberRequest(m.member.name, group.spec.replicas_of(m.member), m.config.spec)
                for m in members
                if m.config is not None
            ),
            beside=self.services.beside(group),
            exhaustion=room,
            retains=group.spec.deletion_policy == "Retain",
            now=now,
            before=group.status.last_placement.service_uid if group.status.last_placement is not None else "",
            spot_settings=spot_settings,
            ceilings=ceilings,
            avoided=avoided(group.status.failed_over, group.status.placement, now),
        )
        views = self.services.candidates()
        eligible = selected_services(policy.spec.select.services, namespace_services(views, labels))
        unseen, until = awaited(eligible, now)
        if unseen:
            message = f"waiting for the first contact with {', '.join(unseen)}"
            return Obstacle("ServicesNotSeenYet", message, stalled=False, until=until), {}
        decision = place(request, policy.spec.select, views)
        if decision.chosen is None:
            again = earliest(
                room.until(),
                within_age(eligible, policy.spec.select.max_data_age, now).crossing,
                *(e.until for e in group.status.failed_over if e.until > now),
            )
            message, found = decision.message, decision.candidates
            return Obstacle("NoFeasibleService", message, stalled=False, until=again, candidates=found), {}
        placement = Placement(
            number=self._next_number(group),
            service=decision.chosen.name,
            service_uid=decision.chosen.uid,
            score=decision.score,
            message=decision.message,
            time=now.replace(microsecond=0),
            candidates=decision.candidates,
            rejected=dict(decision.rejected),
            would_change=what_would_change(request, policy.spec.select, views, decision),
        )
        return placement, decision.members

    def _next_number(self, group: ServerGroup) -> int:
        return group.status.placements + 1


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
