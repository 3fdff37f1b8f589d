"""A world in which services cease to answer, servers fall ill, policies change, and the controller is killed anywhere.

A group of `group_world` over several services. What a service does and what is known of it are different things:
status tells what some process saw, and a process that was just started knows nothing by itself. A plan is carried out
action by action, and the process may die between any two, or before its status is written. What must hold in any such
world is asserted at each step.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any

from tests.support.group_world import S, World

from moorage.api.failover import Failover
from moorage.api.hostingpolicy import Verdict
from moorage.api.placement import Placement
from moorage.core.failover import UNKNOWN, Reach, avoided, order
from moorage.core.group import GroupPlan, GroupWorld, PolicyView, judge_failover, wants_placement
from moorage.core.group_status import group_status
from moorage.core.obstacles import Obstacle
from moorage.core.rollout import GroupServer

SERVICES = ("one", "two", "three")
LIMIT = 5 * S
VERDICTS: tuple[Verdict, ...] = ("Met", "Unmet", "Unknown")
TURNS = (
    "nothing",
    "down",
    "up",
    "ill",
    "restart",
    "down",
    "ill",
    "edit",
    "approve",
    "forbid",
    "refuse",
    "verdict",
    "policy",
    "heal",
)


def failover(action: str = "Rebuild", overlap: str = "Allowed", avoid: str = "60s") -> Failover:
    """Both occasions, after five seconds."""
    when = {"unreachableFor": "5s", "unhealthyShare": "50%", "unhealthyFor": "5s"}
    return Failover.from_dict({"when": when, "action": action, "overlap": overlap, "avoidFor": avoid})


class Killed(Exception):
    """The controller died."""


@dataclass
class FailoverWorld(World):
    """`down` are the services that do not answer; `since` is what their status says; `looked` what this process saw.

    `refusing` are those that answer and confirm nothing: revoked credentials, another account, a freeze. `listed` is
    when the last complete inventory of each began.
    """

    rule: Failover | None = field(default_factory=failover)
    missing: bool = False
    down: set[str] = field(default_factory=set)
    refusing: set[str] = field(default_factory=set)
    listed: dict[str, datetime] = field(default_factory=dict)
    since: dict[str, datetime] = field(default_factory=dict)
    looked: set[str] = field(default_factory=set)
    seen_up: dict[str, datetime] = field(default_factory=dict)
    """When anybody last saw the service answer."""
    deadly: bool = False
    """Whether the controller may be killed."""
    kills: int = 0
    moves: list[tuple[str, str]] = field(default_factory=list)
    held: set[str] = field(default_factory=set)

    # What decisions see

    def look(self) -> None:
        """This process looks at every service, and writes what it saw."""
        for name in SERVICES:
            self.looked.add(name)
            if name in self.down:
                self.since.setdefault(name, self.now)
            else:
                self.since.pop(name, None)
                self.seen_up[name] = self.now
                if name not in self.refusing:
                    self.listed[name] = self.now

    def reach(self) -> Reach:
        """Of the service that the group is on."""
        placement = self.group.status.placement
        if placement is None:
            return UNKNOWN
        name, doubt = placement.service, "it refuses us" if placement.service in self.refusing else ""
        return Reach(name in self.looked, self.since.get(name), doubt=doubt, looked=self.listed.get(name))

    def world(self) -> GroupWorld:
        problem = ("PolicyNotFound", "there is no HostingPolicy") if self.missing else None
        verdict = "Unknown" if self.missing else self.verdict
        policy = PolicyView("p", verdict, "told", problem=problem, failover=None if self.missing else self.rule)
        seen = replace(super().world(), policy=policy, proposal=None, reach=self.reach())
        told = {s.name: replace(s, message="it is being deleted") for s in seen.servers if s.deleting}
        seen = replace(seen, servers=self.order([told.get(s.name, s) for s in seen.servers]))
        if wants_placement(self.group, policy):
            seen = replace(seen, proposal=self._propose())
        if judge_failover(seen, self.now).go:
            seen = replace(seen, refuge=self._propose())
        return seen

    def _propose(self) -> Placement | Obstacle:
        status = self.group.status
        left = avoided(status.failed_over, status.placement, self.now)
        for name in SERVICES:
            if name in self.looked and name not in self.since and name not in self.refusing | set(left):
                return Placement(number=status.placements + 1, service=name, service_uid=name, time=self.now)
        ends = [e.until for e in status.failed_over if e.until > self.now]
        return Obstacle("NoFeasibleService", "no service can take it", stalled=False, until=min(ends, default=None))

    # What happens

    def happen(self) -> None:
        """Something that nobody asked for, or somebody did."""
        event, number = self.draw(TURNS), next(self.chaos, 0)
        name = SERVICES[number % 3]
        match event:
            case "down" | "up" | "refuse":
                self._turn(name, event)
            case "restart":
                self.restart()
            case "ill":
                for server in sorted(self.servers)[: 1 + number % 5]:
                    one = self.servers[server]
                    self.servers[server] = self._worse(one, "ill")
            case "heal":
                self.heal()
            case "edit" | "forbid":
                overlap = "Forbidden" if event == "forbid" else ("Allowed", "Forbidden")[number % 2]
                self.rule = failover(("Rebuild", "Ask", "Wait")[number % 3], overlap)
            case "verdict":
                self.verdict = VERDICTS[number % 3]
            case "policy":
                self.missing = number % 2 == 0
            case "approve":
                self.approve()
            case _:
                super().happen()
        if number % 4:
            self.look()

    def _turn(self, name: str, event: str) -> None:
        """A service ceases to answer, refuses us, or is itself again."""
        self.down.discard(name)
        self.refusing.discard(name)
        if event != "up":
            (self.down if event == "down" else self.refusing).add(name)

    def approve(self) -> None:
        """A person says yes to what status tells."""
        told = self.group.status.failover
        if told is not None:
            note = {"moorage.dev/failover": order(told.placement, told.since)}
            meta = self.group.metadata.model_copy(update={"annotations": note})
            self.group = self.group.model_copy(update={"metadata": meta})

    def heal(self) -> None:
        """Every server is well again."""
        for name, s in self.servers.items():
            self.servers[name] = replace(s, unhealthy_since=None)

    def restart(self) -> None:
        """Another process knows nothing but what the API server tells."""
        self.looked.clear()
        self.listed.clear()

    def is_gone(self, s: GroupServer) -> bool:
        return s.service not in self.down | self.refusing

    # What is done

    def step(self) -> GroupPlan:
        """Decide, check, act, report; killed anywhere, the next process goes on from what was written."""
        world = self.world()
        plan = self.decide(world, self.now)
        self.check(world, plan)
        try:
            self._point()
            if not plan.commit:
                self._piecemeal(plan)
            # What is written rests on what was looked at; servers may have changed since.
            status = group_status(world if plan.commit else self.world(), plan, self.now)
            self._point()
            self.group = self.group.model_copy(update={"status": status})
            self.held |= {c.reason for c in status.conditions if c.type == "FailoverPending"}
        except Killed:
            self.kills += 1
            self.restart()
        self.check_generations()
        return plan

    def _point(self) -> None:
        if self.deadly and next(self.chaos, 1) % 5 == 0:
            raise Killed

    def _piecemeal(self, plan: GroupPlan) -> None:
        bare = replace(plan, creations=(), removals=(), revisions=(), retain=())
        parts = [replace(bare, retain=(one,)) for one in plan.retain]
        parts += [replace(bare, revisions=(one,)) for one in plan.revisions]
        parts += [replace(bare, creations=(one,)) for one in plan.creations]
        parts += [replace(bare, removals=(one,)) for one in plan.removals]
        for part in parts:
            self._act(part)
            self._point()

    # What must hold

    def check(self, world: GroupWorld, plan: GroupPlan) -> None:
        super().check(world, plan)
        before = world.group.status.placement
        if plan.phase in {"FailedOver", "FailingOver"}:
            assert before is not None
            self._check_failover(world, plan, before)
        if plan.placement is not None and (before is None or before.number != plan.placement.number):
            left = {e.service for e in world.group.status.failed_over if e.until > self.now}
            assert plan.placement.service not in left, "back on the service that was left a moment ago"
            assert plan.placement.number == world.group.status.placements + 1
            assert plan.placement.overlapping or not world.servers, "made beside old servers without leave"
        if world.group.spec.deletion_protection:
            assert not any(r.reason in {"FailedOver", "Moved"} for r in plan.removals), "a protected server is removed"

    def _check_failover(self, world: GroupWorld, plan: GroupPlan, before: Placement) -> None:
        assert world.policy.problem is None, "moved without a policy"
        assert world.policy.verdict == "Met", "moved although the policy does not say so"
        spec, cause = world.policy.failover, plan.failed_over[0]
        assert spec is not None
        assert spec.action != "Wait"
        if spec.action == "Ask":
            assert world.group.metadata.annotations["moorage.dev/failover"].startswith(f"{before.number}@")
        unreachable = before.service in self.since
        if cause.reason == "ServiceUnreachable":
            assert before.service in self.looked, "moved on the word of another process alone"
            since = self.since[before.service]
            assert self.now - since >= LIMIT, "moved too early"
            assert self.seen_up.get(before.service, since - S) < since, "it answered meanwhile"
        else:
            ill = [s for s in world.servers if s.unhealthy_since is not None and not s.deleting]
            assert len([s for s in ill if self.now - (s.unhealthy_since or self.now) >= LIMIT]) * 2 >= sum(
                s.placement == before.number and not s.deleting for s in world.servers
            )
        if spec.overlap == "Forbidden":
            assert before.service in self.looked, "left without knowing whether it answers"
            assert not unreachable, "left a service that cannot be reached"
            assert before.service not in self.refusing, "left a service that confirms no server's end"
            assert self.listed[before.service] > cause_due(world, before), "given up on an inventory from before"
            assert plan.placement is None
        else:
            assert plan.placement is not None
            assert plan.placement.service != before.service
        self.moves.append((before.service, cause.reason))

    def check_generations(self) -> None:
        """Never more than two, and on two services only where the placement was made with leave for that."""
        placement = self.group.status.placement
        numbers = {s.placement for s in self.servers.values()}
        numbers |= {placement.number} if placement is not None else set()
        assert len(numbers) <= 2, f"three generations: {numbers}"
        services = {s.service for s in self.servers.values()}
        if len(services) > 1:
            last = placement.number if placement is not None else max(numbers)
            assert last in self.overlapped or (placement is not None and placement.overlapping), "on two services"
        if placement is not None and placement.overlapping:
            self.overlapped.add(placement.number)

    overlapped: set[int] = field(default_factory=set)


def cause_due(world: GroupWorld, placement: Placement) -> datetime:
    """When half of the servers had been ill for long enough."""
    ill = sorted(s.unhealthy_since for s in world.servers if s.unhealthy_since is not None and not s.deleting)
    own = [s for s in world.servers if s.placement == placement.number and not s.deleting]
    return ill[-(-len(own) // 2) - 1] + LIMIT


def settle(world: FailoverWorld, limit: int = 600) -> None:
    """A fair world: all services answer, the controller lives, nobody is ill; until nothing changes any more."""
    world.chaos, world.slow, world.deadly, world.missing, world.verdict = iter(()), False, False, False, "Met"
    world.down.clear()
    world.refusing.clear()
    still = 0
    for _ in range(limit):
        world.look()
        world.heal()
        plan = world.step()
        world.get_on()
        if plan.wake_at is not None:
            world.now = max(world.now, plan.wake_at)
        quiet = not (plan.commit or plan.creations or plan.removals or plan.revisions or plan.retain)
        still = still + 1 if quiet and not any(s.deleting for s in world.servers.values()) else 0
        if still >= 4:
            return
    raise AssertionError("no fixed point")


def until(world: FailoverWorld, seconds: int, *, look: bool = True) -> Any:
    """Let time pass with a living controller; gives the last plan."""
    plan = None
    for _ in range(seconds):
        if look:
            world.look()
        plan = world.step()
        world.get_on()
    return plan
