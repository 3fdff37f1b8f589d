"""How far a placement is: which servers belong to it, whether configuration flows, whether all of it ever ran."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime

from moorage.api.placement import Placement
from moorage.api.servergroup import ServerGroup
from moorage.core.rollout import GroupServer, MemberWant

Place = tuple[str, int]
"""(member, ordinal)."""


def present(servers: Iterable[GroupServer], placement: Placement | None) -> list[GroupServer]:
    """The servers of the placement; all there are where there is none."""
    return [s for s in servers if placement is None or s.placement == placement.number]


def earlier(servers: Iterable[GroupServer], placement: Placement | None) -> list[GroupServer]:
    """The servers of the placement before, which are to go."""
    return [] if placement is None else [s for s in servers if s.placement != placement.number]


def wanted(wants: Iterable[MemberWant], *, may_grow: bool) -> set[Place]:
    """The servers that the group shall have, as far as its policy and its cost ceilings have allowed them."""
    return {(want.name, ordinal) for want in wants for ordinal in range(want.count(may_grow))}


def is_complete(group: ServerGroup, placement: Placement) -> bool:
    """Whether all servers of the placement have run: from then on it is left by failover only.

    Where configuration flows once all run, the open gate says the same.
    """
    if placement.completed is not None:
        return True
    return placement.gate_opened is not None and group.spec.configure_when == "GroupInstantiated"


def is_kept(group: ServerGroup, placement: Placement) -> bool:
    """Whether deletionProtection keeps the placement's servers, though there is no room for all of them: configuration
    has flowed to some. Before that no server holds anything yet."""
    return group.spec.deletion_protection and placement.gate_opened is not None


def opened(
    group: ServerGroup, placement: Placement, servers: Sequence[GroupServer], places: set[Place], now: datetime
) -> Placement | None:
    """The placement with what came true of it just now: that configuration flows, that all its servers ran.

    Configuration flows once every server of the original set runs, or the first, where the group asks for that.
    """
    own = present(servers, placement)
    running = {(s.member, s.ordinal) for s in own if s.instantiated and not s.deleting and s.failed is None}
    whole, moment = bool(places) and places <= running, now.replace(microsecond=0)
    early = group.spec.configure_when == "ServerInstantiated" and bool(running)
    news: dict[str, datetime] = {}
    if placement.gate_opened is None and (whole or early):
        news["gate_opened"] = moment
    if whole and not is_complete(group, placement):
        news["completed"] = moment
    return placement.model_copy(update=news) if news else None
