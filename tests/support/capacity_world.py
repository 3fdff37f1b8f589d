"""A world in which services have no room: a group of `group_world`, several services, settings to try next.

A service has so much room for each of its settings; a server that finds none fails for good. What must hold in any such
world is asserted at each step.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from tests.support.group_world import World

from moorage.api.placement import Exhausted, Placement
from moorage.core.exhaustion import Attempted, Exhaustion
from moorage.core.group import GroupPlan, GroupWorld, PolicyView, wants_elsewhere, wants_placement
from moorage.core.obstacles import Obstacle
from moorage.core.rollout import GroupServer, MemberWant, Template

SERVICES = ("one", "two", "three")
OFFERING = "small"
Settings = Mapping[str, Any]


def fallback(type_: str, settings: Settings) -> Settings | None:
    """Spot, then on demand, where the service has that."""
    return {"market": "demand"} if type_ == "one" and settings.get("market") != "demand" else None


@dataclass
class CapacityWorld(World):
    """`room` is how many servers a service takes, by service and market."""

    room: dict[tuple[str, str], int] = field(default_factory=dict)
    on: dict[str, tuple[str, str]] = field(default_factory=dict)
    moves: list[str] = field(default_factory=list)
    chosen: list[tuple[int, str]] = field(default_factory=list)

    # What decisions see

    def exhaustion(self) -> Exhaustion:
        """What status remembers."""
        return Exhaustion(self.group.status.exhausted, self.now, fallback)

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
        if isinstance(left, Exhausted):
            return replace(want, exhausted=f"{left.service} is full")
        return replace(want, template=Template(want.template.image, OFFERING, left))

    def _propose(self) -> Placement | Obstacle:
        exhaustion = self.exhaustion()
        for name in SERVICES:
            if not isinstance(exhaustion.left(name, name, OFFERING, {}), Exhausted):
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
        if used < self.room.get(place, 5):
            return super()._better(s)
        service, market = place
        settings = {"market": market} if market else {}
        tried = Attempted(service, service, OFFERING, settings, "InsufficientCapacity", "full", self.now)
        return replace(s, failed="InsufficientCapacity", failed_at=self.now, ready=False, attempted=tried)

    # What is done

    def _act(self, plan: GroupPlan) -> None:
        super()._act(plan)
        for creation in plan.creations:
            assert plan.placement is not None
            uid = self.servers[f"g-{creation.member}-{creation.ordinal}"].uid
            self.on[uid] = plan.placement.service, creation.template.settings.get("market", "")

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
