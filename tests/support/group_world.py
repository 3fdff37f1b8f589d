"""A small world for the decisions about a group: servers that boot, fail, fall ill and vanish; a policy that turns.

`World.step` decides by `decide_group`, asserts what must hold of any plan, carries it out, writes the status that
`group_status` makes of it, and lets the servers get on. `shuffle` gives everything in another order each time.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from typing import Any, TypeVar

from moorage.api.hostingpolicy import Verdict
from moorage.api.names import server_name
from moorage.api.placement import Placement
from moorage.api.servergroup import ServerGroup
from moorage.core.gate import present
from moorage.core.group import GroupPlan, GroupWorld, PolicyView, decide_group, granted, wants_placement
from moorage.core.group_status import group_status
from moorage.core.rollout import GroupServer, MemberWant, Template

START = datetime(2026, 1, 1, tzinfo=UTC)
S = timedelta(seconds=1)
EVENTS = ("nothing", "fail", "lose", "ill", "unmet", "met", "scale", "revise", "rebuild", "drop", "slow")

Decide = Callable[[GroupWorld, datetime], GroupPlan]


def make_group(**spec: Any) -> ServerGroup:
    """A ServerGroup of the members a and b."""
    members = [{"name": n, "configRef": {"name": n}, "replicas": r} for n, r in (("a", 3), ("b", 2))]
    meta = {"name": "g", "namespace": "ns", "uid": "g-uid", "resourceVersion": "1", "generation": 1}
    return ServerGroup.from_dict(
        {"metadata": meta, "spec": {"policyRef": {"name": "p"}, "members": members, **spec}, "status": {}}
    )


@dataclass
class World:
    """One group with its servers. ``order`` permutes what decisions see; it must not matter."""

    chaos: Iterator[int]
    group: ServerGroup
    decide: Decide = decide_group
    order: Callable[[Sequence[Any]], list[Any]] = list
    verdict: Verdict = "Met"
    release: bool = False
    now: datetime = START
    replicas: dict[str, int] = field(default_factory=lambda: {"a": 3, "b": 2})
    revision: dict[str, int] = field(default_factory=lambda: {"a": 1, "b": 1})
    image: dict[str, int] = field(default_factory=lambda: {"a": 1, "b": 1})
    servers: dict[str, GroupServer] = field(default_factory=dict)
    made_from: dict[str, int] = field(default_factory=dict)
    count: int = 0
    finished: bool = False
    slow: bool = False

    # What decisions see

    def world(self) -> GroupWorld:
        policy = PolicyView("p", self.verdict, "told", self.release)
        proposal = None
        if wants_placement(self.group, policy):
            proposal = Placement(number=self.group.status.placements + 1, service="s", service_uid="su", time=self.now)
        seen = [replace(s, outdated=self.made_from[s.uid] != self.image[s.member]) for s in self.servers.values()]
        wants = [self._want(member.name) for member in self.group.spec.members]
        return GroupWorld(self.group, policy, wants, self.order(seen), proposal=proposal)

    def _want(self, name: str) -> MemberWant:
        member = next(m for m in self.group.spec.members if m.name == name)
        status = next((m for m in self.group.status.members if m.name == name), None)
        return MemberWant(
            name=name,
            config=name,
            replicas=self.replicas[name],
            granted=granted(self.group, member),
            revision=f"{name}-{self.revision[name]}",
            template=Template(f"image-{self.image[name]}", "small"),
            failures=(status.failures or 0) if status is not None else 0,
        )

    # What happens

    def draw(self, choices: Sequence[str]) -> str:
        number = next(self.chaos, None)
        return choices[0] if number is None else choices[number % len(choices)]

    def pick(self) -> GroupServer | None:
        found = sorted(self.servers)
        return self.servers[found[next(self.chaos, 0) % len(found)]] if found else None

    def happen(self) -> None:
        """Something that nobody asked for, or somebody did."""
        event, one = self.draw(EVENTS), self.pick()
        match event:
            case "unmet" | "met":
                self.verdict = "Unmet" if event == "unmet" else "Met"
            case "scale" | "revise" | "rebuild":
                name = ("a", "b")[next(self.chaos, 0) % 2]
                if event == "scale":
                    self.replicas[name] = next(self.chaos, 0) % 5
                elif event == "revise":
                    self.revision[name] += 1
                else:
                    self.image[name] += 1
                    self.revision[name] += 1
            case "slow":
                self.slow = not self.slow
            case "drop" if one is not None:
                self.servers.pop(one.name)
            case "fail" | "lose" | "ill" if one is not None and one.failed is None:
                self.servers[one.name] = self._worse(one, event)
            case _:
                pass

    def _worse(self, one: GroupServer, event: str) -> GroupServer:
        if event == "fail" and not one.instantiated:
            return replace(one, failed="InsufficientCapacity", failed_at=self.now, ready=False)
        if event == "lose" and one.instantiated:
            return replace(one, failed="Lost", failed_at=self.now, ready=False)
        if event == "ill" and one.ready:
            return replace(one, ready=False, unhealthy_since=self.now)
        return one

    def get_on(self) -> None:
        """Servers boot, join, are configured and go, a step at a time."""
        self.now += S
        for name, s in list(self.servers.items()):
            if s.deleting:
                if self.is_gone(s):
                    self.servers.pop(name)
            elif s.failed is None and s.unhealthy_since is None and not self.slow:
                self.servers[name] = self._better(s)

    def is_gone(self, s: GroupServer) -> bool:
        """Whether the end of a server that is to go is confirmed now."""
        return True

    def _better(self, s: GroupServer) -> GroupServer:
        if not s.instantiated:
            return replace(s, instantiated=True, instantiated_at=self.now, joined=True)
        placement = self.group.status.placement
        if placement is None or placement.gate_opened is None or s.placement != placement.number:
            return s
        return replace(s, configured=True, ready=True)

    # What is done

    def step(self) -> GroupPlan:
        """Decide, check, act, report."""
        world = self.world()
        plan = self.decide(world, self.now)
        self.check(world, plan)
        if plan.drop_finalizer:
            self.finished = True
        if not plan.commit:
            self._act(plan)
        status = group_status(self.world() if not plan.commit else world, plan, self.now)
        self.group = self.group.model_copy(update={"status": status})
        return plan

    def _act(self, plan: GroupPlan) -> None:
        for creation in plan.creations:
            assert plan.placement is not None
            self.count += 1
            uid = f"uid-{self.count}"
            name = server_name("g", creation.member, creation.ordinal, plan.placement.suffix)
            assert name not in self.servers, "a name is posted twice"
            self.made_from[uid] = int(creation.template.image.rpartition("-")[2])
            self.servers[name] = GroupServer(
                name=name,
                uid=uid,
                member=creation.member,
                ordinal=creation.ordinal,
                placement=plan.placement.number,
                revision=creation.revision,
                retain=False,
                created=self.now,
                tried_at=self.now,
                service=plan.placement.service,
            )
        for revision in plan.revisions:
            self.servers[revision.name] = replace(
                self.servers[revision.name], revision=revision.revision, configured=False, ready=False
            )
        for name, _, keep in plan.retain:
            self.servers[name] = replace(self.servers[name], retain=keep)
        for removal in plan.removals:
            self.servers[removal.name] = replace(self.servers[removal.name], deleting=True, ready=False)

    def check(self, world: GroupWorld, plan: GroupPlan) -> None:
        """What must hold of any plan."""
        group = world.group
        changes = (*plan.creations, *plan.removals, *plan.revisions)
        if group.spec.suspend and not group.metadata.deleting:
            assert not changes, "a suspended group is changed"
        if group.spec.deletion_protection and (group.metadata.deleting or world.policy.when_unmet_release):
            reasons = {r.reason for r in plan.removals}
            assert not reasons & {"GroupDeleted", "Released"}, "a protected server is removed"
        if plan.drop_finalizer:
            assert group.metadata.deleting
            assert not world.servers, "the finalizer goes while there are servers"
        named = [r.uid for r in plan.removals] + [r.uid for r in plan.revisions]
        assert len(set(named)) == len(named), "two changes of one server"
        for want in world.wants:
            self._check_member(world, plan, want)

    def _check_member(self, world: GroupWorld, plan: GroupPlan, want: MemberWant) -> None:
        count = want.replicas if world.policy.verdict == "Met" else min(want.replicas, want.granted)
        made = [c for c in plan.creations if c.member == want.name]
        assert all(c.ordinal < count for c in made), "made above what is wanted and granted"
        own = present(world.servers, world.group.status.placement)
        there = {s.ordinal for s in own if s.member == want.name}
        assert not there & {c.ordinal for c in made}, "made although it is there"
        mine = [s for s in own if s.member == want.name and s.ordinal < count]
        ready = {s.uid for s in mine if s.ready and not s.deleting}
        touched = {r.uid for r in plan.removals if r.reason == "Replaced"} | {r.uid for r in plan.revisions}
        strategy = world.group.spec.update_strategy
        if strategy.type == "OnDelete":
            assert not touched & {s.uid for s in mine}, "OnDelete, and yet changed"
        if strategy.type == "Rolling" and touched & ready:
            allowed = max(1, strategy.max_unavailable.of(count, round_up=False))
            down = count - len(ready) + len(touched & ready)
            assert down <= allowed, f"{down} of {count} are down by our own doing, {allowed} may be"


def quiet(plan: GroupPlan) -> bool:
    """Whether the plan changes nothing."""
    return not (plan.commit or plan.creations or plan.removals or plan.revisions or plan.retain)


W = TypeVar("W", bound=World)


def run(world: W, limit: int = 500) -> W:
    """Chaos first, then a fair world until nothing changes. Raises AssertionError where that takes too long."""
    still = 0
    for number in range(limit):
        fair = number >= 40
        if fair:
            world.chaos, world.slow = iter(()), False
        else:
            world.happen()
        plan = world.step()
        if world.finished:
            return world
        world.get_on()
        if fair and quiet(plan) and plan.wake_at is not None:
            world.now = max(world.now, plan.wake_at)
        still = still + 1 if fair and quiet(plan) and plan.wake_at is None else 0
        if still >= 4:
            return world
    raise AssertionError("no fixed point")
