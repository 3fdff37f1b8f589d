"""A world in which services have no room: a group of `group_world`, several services, zones and settings to try next.

A service has so much room for each of its settings and zones; a server that finds none fails for good. What must hold
in any such world is asserted at each step.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from tests.support.group_world import World

from moorage.api.placement import Placement
from moorage.core.exhaustion import Attempted, Exhaustion, Room
from moorage.core.group import GroupPlan, GroupWorld, PolicyView, wants_elsewhere, wants_placement
from moorage.core.obstacles import Obstacle
from moorage.core.rollout import GroupServer, MemberWant, Template
from moorage.core.zones import Zones, in_own_order

SERVICES = ("one", "two", "three")
OFFERING = "small"
Settings = Mapping[str, Any]


def fallback(type_: str, settings: Settings) -> Settings | None:
    """Spot, then on demand, where the service has that."""
    return {**settings, "market": "demand"} if type_ == "one" and settings.get("market") != "demand" else None


@dataclass
class CapacityWorld(World):
    """`room` is how many servers a service takes, by service and market, or by service and `market@zone`; `zones` are
    the zones of each service."""

    room: dict[tuple[str, str], int] = field(default_factory=dict)
    zones: tuple[str, ...] = ()
    on: dict[str, tuple[str, str]] = field(default_factory=dict)
    moves: list[str] = field(default_factory=list)
    chosen: list[tuple[int, str]] = field(default_factory=list)

    # What decisions see

    def exhaustion(self) -> Exhaustion:
        """What status remembers."""
        return Exhaustion(self.group.status.exhausted, self.now, fallback, lambda _uid, _settings: self._zones())

    def _zones(self) -> Zones:
        return {zone: {"zone": zone} for zone in self.zones}

    def world(self) -> GroupWorld:
        seen = super().world()
        policy = PolicyView("p", self.verdict, "told", self.release)
        wants = [self._with_room(want) for want in seen.wants]
        looks = wants_placement(self.group, policy), wants_elsewhere(self.group, policy, wants, seen.servers)
        proposal = self._propose() if any(looks) else None
        return replace(
            seen,
            wants=wants,
            proposal=proposal if looks[0] else None,
            elsewhere=proposal if looks[1] else None,
        )

    def _with_room(self, want: MemberWant) -> MemberWant:
        placement = self.group.status.placement
        if placement is None or want.template is None:
            return replace(want, template=None)
        left = self.exhaustion().left(placement.service, placement.service, OFFERING, {})
        if isinstance(left, Room):
            zones = in_own_order(left.zones, want.name)
            first = Template(want.template.image, OFFERING, {}, zones=in_own_order(self._zones(), want.name))
            template = Template(want.template.image, OFFERING, left.settings, zones=zones)
            return replace(want, template=template, first=first)
        first = Template(want.template.image, OFFERING, {}, zones=in_own_order(self._zones(), want.name))
        return replace(want, template=first, first=first, exhausted=f"{left.service} is full")

    def _propose(self) -> Placement | Obstacle:
        exhaustion = self.exhaustion()
        for name in SERVICES:
            if isinstance(exhaustion.left(name, name, OFFERING, {}), Room):
                number = self.group.status.placements + 1
                return Placement(number=number, service=name, service_uid=name, time=self.now)
        return Obstacle("NoFeasibleService", "none has room", stalled=False, until=exhaustion.until())

    # What happens

    def happen(self) -> None:
        """Room comes and goes, beside everything else."""
        number = next(self.chaos, None)
        if number is not None:
            self.room[SERVICES[number % 3], self.draw(("", "demand"))] = next(self.chaos, 0) % 7
        super().happen()

    def _better(self, s: GroupServer) -> GroupServer:
        if s.instantiated or s.uid not in self.on:
            return super()._better(s)
        place = self.on[s.uid]
        used = sum(self.on.get(o.uid) == place and o.instantiated for o in self.servers.values())
        service, market = place[0], place[1].partition("@")[0]
        if used < self.room.get(place, self.room.get((service, market), 5)):
            return super()._better(s)
        tried = Attempted(service, service, OFFERING, s.settings, "InsufficientCapacity", "full", self.now)
        return replace(s, failed="InsufficientCapacity", failed_at=self.now, ready=False, attempted=tried)

    # What is done

    def _act(self, plan: GroupPlan) -> None:
        super()._act(plan)
        for creation in plan.creations:
            assert plan.placement is not None
            name, settings = f"g-{creation.member}-{creation.ordinal}", creation.template.settings
            assert bool(self.zones) == ("zone" in settings), "a server is made in a zone, where there are any"
            self.servers[name] = replace(self.servers[name], settings=settings)
            zone = f"@{settings['zone']}" if self.zones else ""
            self.on[self.servers[name].uid] = plan.placement.service, settings.get("market", "") + zone

    def check(self, world: GroupWorld, plan: GroupPlan) -> None:
        """Beside what holds of any plan: two placements never overlap, and none moves once its gate was open."""
        super().check(world, plan)
        before = world.group.status.placement
        assert len({s.placement for s in world.servers}) <= 1, "servers of two placements at once"
        if plan.phase == "Moving":
            assert before is not None
            assert before.completed is None, "all of it has run"
            early = world.group.spec.configure_when == "ServerInstantiated"
            assert early or before.gate_opened is None, "configuration has flowed"
            assert early or not any(s.configured for s in world.servers)
            self.moves.append(before.service)
        if plan.placement is not None and (before is None or before.number != plan.placement.number):
            assert not world.servers, "the servers of the last placement are still there"
            assert plan.placement.number > max((n for n, _ in self.chosen), default=0)
            self.chosen.append((plan.placement.number, plan.placement.service))
        assert len(world.group.status.exhausted) <= 40
