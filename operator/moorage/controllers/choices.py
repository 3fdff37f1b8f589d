"""Choose a hosting service for a group, from caches alone: what is asked of `place`, and what its answer means."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from moorage.api.hostingpolicy import HostingPolicy, Select
from moorage.api.placement import Placement
from moorage.api.servergroup import ServerGroup
from moorage.controllers.exhaustion import spot_settings
from moorage.controllers.references import MemberConfig
from moorage.controllers.service_views import ServiceViews
from moorage.controllers.tables import Tables
from moorage.core.ceilings import Ceiling
from moorage.core.exhaustion import Exhaustion
from moorage.core.failover import avoided
from moorage.core.obstacles import Obstacle, together
from moorage.core.placement import (
    Decision,
    MemberRequest,
    MemberTemplate,
    PlacementRequest,
    awaited,
    place,
    what_would_change,
)
from moorage.core.policy import namespace_services, selected_services
from moorage.core.policy.data_age import within_age
from moorage.core.services import ServiceView
from moorage.core.timing import earliest

_BLOCKING = frozenset({"ConfigInvalid", "ConfigNotFound"})


@dataclass(frozen=True, slots=True)
class Choice:
    """What was decided, and from what. ``number`` is that of the placement that it would be; ``again`` is when another
    choice may be possible although nothing changes."""

    request: PlacementRequest
    select: Select
    views: Sequence[ServiceView]
    decision: Decision
    number: int
    made: datetime
    again: datetime | None

    @property
    def members(self) -> Mapping[str, MemberTemplate]:
        """What each member is made of on the chosen service."""
        return self.decision.members

    def would_change(self) -> tuple[str, ...]:
        """What would lead to another choice."""
        return what_would_change(self.request, self.select, self.views, self.decision)

    def outcome(self) -> Placement | Obstacle:
        """The placement, or that no service can take the group."""
        decision = self.decision
        if decision.chosen is None:
            message, found = decision.message, decision.candidates
            return Obstacle("NoFeasibleService", message, stalled=False, until=self.again, candidates=found)
        return Placement(
            number=self.number,
            service=decision.chosen.name,
            service_uid=decision.chosen.uid,
            score=decision.score,
            message=decision.message,
            time=self.made.replace(microsecond=0),
            candidates=decision.candidates,
            rejected=dict(decision.rejected),
            would_change=self.would_change(),
        )


class Choices:
    """Chooses; what was promised a moment ago counts."""

    def __init__(self, tables: Tables, services: ServiceViews) -> None:
        self._tables = tables
        self._services = services

    def choose(
        self,
        group: ServerGroup,
        policy: HostingPolicy,
        members: Iterable[MemberConfig],
        problems: Iterable[Obstacle],
        room: Exhaustion,
        ceilings: tuple[Ceiling, ...],
    ) -> Choice | Obstacle:
        """The choice for a group by its policy, whatever that's conditions are; or why none can be made yet.

        The service where it is placed is not chosen: it is to leave that.
        """
        blocking = [p for p in problems if p.reason in _BLOCKING]
        if blocking:
            return together(blocking)
        select, now, views = policy.spec.select, room.now, self._services.candidates()
        request = self._request(group, members, room, ceilings)
        eligible = selected_services(select.services, namespace_services(views, request.namespace_labels))
        unseen, until = awaited(eligible, now)
        if unseen:
            message = f"waiting for the first contact with {', '.join(unseen)}"
            return Obstacle("ServicesNotSeenYet", message, stalled=False, until=until)
        again = earliest(
            room.until(),
            within_age(eligible, select.max_data_age, now).crossing,
            *(e.until for e in group.status.failed_over if e.until > now),
        )
        decision = place(request, select, views)
        return Choice(request, select, views, decision, group.status.placements + 1, now, again)

    def _request(
        self, group: ServerGroup, members: Iterable[MemberConfig], room: Exhaustion, ceilings: tuple[Ceiling, ...]
    ) -> PlacementRequest:
        """What is asked for the group."""
        spec, status, namespace = group.spec, group.status, group.metadata.namespace
        return PlacementRequest(
            namespace=namespace,
            namespace_labels=self._tables.namespace_labels(namespace),
            members=tuple(
                MemberRequest(m.member.name, spec.replicas_of(m.member), m.config.spec, spec.most_replicas_of(m.member))
                for m in members
                if m.config is not None
            ),
            beside=self._services.beside(group),
            exhaustion=room,
            retains=spec.deletion_policy == "Retain",
            now=room.now,
            before=status.last_placement.service_uid if status.last_placement is not None else "",
            spot_settings=spot_settings,
            ceilings=ceilings,
            avoided=avoided(status.failed_over, status.placement, room.now),
        )
