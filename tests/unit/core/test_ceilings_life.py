"""A group lives under a ceiling that changes with its sizes and its servers: decided by the whole of `decide_group`."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from decimal import Decimal

from hypothesis import given, settings
from hypothesis import strategies as st
from tests.support.group_world import World, make_group, run

from moorage.api import conditions as c
from moorage.api.servergroup import Member
from moorage.core.ceilings import NOTHING, OWN, Allowance, Bill, Ceiling, Cost, Offer, allow
from moorage.core.group import GroupPlan, GroupWorld, granted
from moorage.core.limits import within
from moorage.core.rollout import Template

PRICES = {"small": Decimal(1), "big": Decimal(3)}
FAULTS = {"BootTimeout", "JoinTimeout", "Unhealthy", "CreateFailed", "Lost"}
CHAOS = st.lists(st.integers(0, 109), max_size=80)


def offer(name: str) -> Offer:
    return Offer(name, PRICES[name])


@dataclass
class CeilingWorld(World):
    """`size` is the offering that each member asks for, `of` what each server was made of."""

    limit: Decimal = Decimal(9)
    size: dict[str, str] = field(default_factory=lambda: {"a": "small", "b": "small"})
    of: dict[str, str] = field(default_factory=dict)
    committed: Cost = NOTHING

    def world(self) -> GroupWorld:
        seen = super().world()
        if self.group.status.placement is None:
            return replace(seen, wants=[replace(w, offering=self.size[w.name]) for w in seen.wants])
        wants = [
            replace(w, template=Template(w.template.image, self.size[w.name])) if w.template else w for w in seen.wants
        ]
        allowance = self.allowance(seen)
        servers = [replace(s, outdated=s.outdated or self.of[s.uid] != self.size[s.member]) for s in seen.servers]
        return replace(seen, wants=[within(w, allowance) for w in wants], servers=servers, allowance=allowance)

    def allowance(self, seen: GroupWorld) -> Allowance:
        recorded = {m.name: m.offering for m in self.group.status.members}
        bills = []
        for member in self.group.spec.members:
            costs = [offer(self.of[s.uid]).times(1) for s in self.servers.values() if s.member == member.name]
            before, asked = recorded.get(member.name), offer(self.size[member.name])
            allowed = None if before is None else offer(before)
            wanted = self.replicas[member.name]
            have = granted(self.group, member)
            bills.append(Bill(member.name, wanted, have, len(costs), sum(costs, NOTHING), allowed, asked))
        self.committed = sum((bill.committed() for bill in bills), NOTHING)
        return allow(bills, [Ceiling(self.limit, OWN)], may_grow=self.verdict == "Met")

    def happen(self) -> None:
        number = next(self.chaos, None)
        if number is not None and number % 3 == 0:
            self.limit = Decimal(number % 13)
        if number is not None and number % 7 == 0:
            name = ("a", "b")[number % 2]
            self.size[name] = "big" if self.size[name] == "small" else "small"
            self.revision[name] += 1
        super().happen()

    def cost(self) -> Cost:
        return sum((offer(self.of[s.uid]).times(1) for s in self.servers.values()), NOTHING)

    def _act(self, plan: GroupPlan) -> None:
        before = set(self.servers)
        super()._act(plan)
        for creation in plan.creations:
            name = f"g-{creation.member}-{creation.ordinal}"
            assert name not in before
            self.of[self.servers[name].uid] = creation.template.offering

    def check(self, world: GroupWorld, plan: GroupPlan) -> None:
        """No server is made beyond what the ceilings leave, and none is removed for them."""
        super().check(world, plan)
        if world.allowance is None:
            return
        made = sum((offer(creation.template.offering).times(1) for creation in plan.creations), NOTHING)
        assert not (self.cost() + made).exceeds(world.allowance.cost), "it costs more than was decided"
        if world.allowance.cost.exceeds(self.committed):
            assert world.allowance.cost.known <= self.limit, "the ceiling is passed"
        reasons = {r.reason for r in plan.removals}
        assert reasons <= {"ScaledDown", "Replaced", *FAULTS}, "something is removed for its cost"
        for removal in plan.removals:
            member = next(s.member for s in world.servers if s.uid == removal.uid)
            if removal.reason == "ScaledDown":
                ordinal = int(removal.name.rpartition("-")[2])
                assert ordinal >= min(self.replicas[member], granted(self.group, self._member_of(member)))
            if removal.reason == "Replaced":
                assert member not in world.allowance.held, "a server goes although there is none to come"

    def _member_of(self, name: str) -> Member:
        return next(m for m in self.group.spec.members if m.name == name)


@settings(max_examples=30)
@given(CHAOS)
def test_a_group_never_costs_more_than_was_decided_and_loses_nothing_to_a_ceiling(chaos: list[int]) -> None:
    w = run(CeilingWorld(iter(chaos), make_group(remediation={"maxUnhealthy": "100%"})))
    there = {name: sum(s.member == name for s in w.servers.values()) for name in w.replicas}
    limited = c.find(w.group.status.conditions, c.COST_LIMITED)
    if w.verdict == "Met" and there != w.replicas:
        assert limited is not None, "it has fewer than it asks for, and nothing says why"
        assert limited.reason == "PriceAboveCeiling"
        assert not c.is_true(w.group.status.conditions, c.READY), "it is ready with fewer than it asks for"
    if w.verdict == "Met" and limited is None:
        assert w.cost().known <= w.limit
        assert c.is_true(w.group.status.conditions, c.READY)


def test_a_group_that_gets_less_than_it_asks_for_is_not_ready_and_says_why() -> None:
    w = run(CeilingWorld(iter(()), make_group()))
    assert c.is_true(w.group.status.conditions, c.READY)
    w.replicas["a"] = 9
    run(w)
    ready = c.find(w.group.status.conditions, c.READY)
    assert sum(s.ready for s in w.servers.values()) == 9
    assert ready is not None
    assert (ready.status, ready.reason) == ("False", "PriceAboveCeiling")
    assert c.is_true(w.group.status.conditions, c.INSTANTIATED)
    w.limit = Decimal(11)
    run(w)
    assert c.is_true(w.group.status.conditions, c.READY)


def test_a_group_that_may_not_grow_is_not_ready_under_a_ceiling_either() -> None:
    w = run(CeilingWorld(iter(()), make_group()))
    w.verdict = "Unmet"
    w.replicas["a"] = 4
    run(w)
    ready = c.find(w.group.status.conditions, c.READY)
    assert ready is not None
    assert (ready.status, ready.reason) == ("False", "PolicyUnmet")
    w.verdict = "Met"
    run(w)
    assert c.is_true(w.group.status.conditions, c.READY)
