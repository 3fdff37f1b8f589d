"""One ServerGroup: from its world to what is done now, what its status says, and when to look again."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime

from moorage.api.failover import Failover
from moorage.api.hostingpolicy import Reading, Verdict
from moorage.api.placement import Exhausted, FailedOver, Placement
from moorage.api.servergroup import Member, PendingItem, ServerGroup
from moorage.core.ceilings import NOTHING, Allowance, Cost
from moorage.core.exhaustion import NO_ROOM, key_of, remembered
from moorage.core.failover import NOTHING as NO_OCCASION
from moorage.core.failover import UNKNOWN, Case, Judgement, Reach, asked_by, entry, judge, remaining, without_refuge
from moorage.core.gate import earlier, is_complete, is_kept, opened, present, wanted
from moorage.core.obstacles import Obstacle
from moorage.core.rollout import (
    Creation,
    GroupServer,
    MemberPlan,
    MemberWant,
    Removal,
    Revision,
    Sick,
    Template,
    find_sick,
    plan_member,
    remediation_allowed,
)
from moorage.core.timing import earliest
from moorage.core.troubles import troubles


@dataclass(frozen=True, slots=True)
class PolicyView:
    """What the group's policy says. ``problem`` is set where there is no such policy or it cannot be read.

    ``when_unmet_release`` also says that what is unmet is a reason to release. ``readings`` are those of the group's
    own conditions; ``wake_at`` is when one of them can change by itself. ``unapproved``: an approval is missing, or no
    policy is there that could ask for one, so that no member goes on to another configuration than it had leave for.
    """

    name: str
    verdict: Verdict
    message: str
    when_unmet_release: bool = False
    problem: tuple[str, str] | None = None
    readings: tuple[Reading, ...] = ()
    wake_at: datetime | None = None
    failover: Failover | None = None
    unapproved: bool = False

    @property
    def lets_grow(self) -> bool:
        """Whether servers may be added on its word."""
        return self.verdict == "Met" and self.problem is None

    @property
    def growth_waits(self) -> tuple[str, str]:
        """Reason and message of servers that are not added because the policy is not met."""
        return f"Policy{self.verdict}", f"growth waits for policy {self.name}: {self.message}"


@dataclass(frozen=True, slots=True)
class GroupWorld:
    """Everything that is decided upon for one group.

    ``proposal`` is the placement that would be recorded now (its number included), or the reason why there is none;
    it is looked for only where `wants_placement` says so. ``elsewhere`` is the same for a group that is placed where
    there turned out to be no room (`wants_elsewhere`), ``refuge`` for one that is to leave a service that fails it
    (`judge_failover`), with what its members are made of in ``refuge_of``; ``reach`` is whether that service answers.
    ``pending`` are the items that its servers wait for.
    """

    group: ServerGroup
    policy: PolicyView
    wants: Sequence[MemberWant]
    servers: Sequence[GroupServer]
    problems: Sequence[Obstacle] = ()
    proposal: Placement | Obstacle | None = None
    elsewhere: Placement | Obstacle | None = None
    refuge: Placement | Obstacle | None = None
    refuge_of: Mapping[str, Template] = field(default_factory=dict)
    reach: Reach = UNKNOWN
    pending: Sequence[PendingItem] = ()
    pending_items: int = 0
    allowance: Allowance | None = None
    cost: Cost = NOTHING

    def desired(self, want: MemberWant) -> int:
        """How many servers a member of the placed group shall have now, with all that bounds it."""
        held = self.group.spec.suspend or self.group.metadata.deleting
        return want.granted if held else want.count(self.policy.lets_grow)


@dataclass(frozen=True, slots=True)
class GroupPlan:
    """What is done for a group now.

    In this order: a ``placement`` (or its end, or the opened gate) is written to status before anything that rests on
    it; then ``retain`` and ``revisions`` are patched, servers posted and deleted.
    """

    placement: Placement | None
    commit: bool = False
    creations: tuple[Creation, ...] = ()
    removals: tuple[Removal, ...] = ()
    revisions: tuple[Revision, ...] = ()
    retain: tuple[tuple[str, str, bool], ...] = ()
    drop_finalizer: bool = False
    sick: tuple[Sick, ...] = ()
    remediation_blocked: str = ""
    failures: Mapping[str, int] = field(default_factory=dict)
    wake_at: datetime | None = None
    phase: str = ""
    message: str = ""
    exhausted: tuple[Exhausted, ...] | None = None
    """What is remembered to have no room from now on; None: as before."""
    failover: Judgement = NO_OCCASION
    failed_over: tuple[FailedOver, ...] = ()
    """What is remembered of services that were left, beside what status tells already."""


def wants_placement(group: ServerGroup, policy: PolicyView) -> bool:
    """Whether a placement is looked for: once the policy is met, and only while none is recorded."""
    return (
        not group.metadata.deleting and not group.spec.suspend and group.status.placement is None and policy.lets_grow
    )


def wants_elsewhere(
    group: ServerGroup, policy: PolicyView, wants: Sequence[MemberWant], servers: Sequence[GroupServer]
) -> bool:
    """Whether another service is looked for: there turned out to be no room, and the group was never complete."""
    placement = group.status.placement
    return (
        placement is not None
        and not is_complete(group, placement)
        and not is_kept(group, placement)
        # Who may go on to a third generation must first be rid of the first.
        and not earlier(servers, placement)
        and not group.metadata.deleting
        and not group.spec.suspend
        and policy.lets_grow
        and _without_room(placement, wants, servers) is not None
    )


def judge_failover(world: GroupWorld, now: datetime) -> Judgement:
    """Whether the group is to leave its service because that, or its servers there, fail it."""
    group, policy = world.group, world.policy
    placement = group.status.placement
    held = group.metadata.deleting or group.spec.suspend
    if placement is None or policy.failover is None or policy.problem is not None or held:
        return NO_OCCASION
    size = sum(min(want.replicas, want.granted) for want in world.wants)
    case = Case(group, placement, policy.failover, policy.name, policy.verdict, world.reach, tuple(world.servers), size)
    judgement = judge(case, now)
    if not judgement.go:
        return judgement
    if isinstance(world.refuge, Placement) and world.refuge.service_uid != placement.service_uid:
        return replace(judgement, refuge=world.refuge)
    why = world.refuge.message if isinstance(world.refuge, Obstacle) else "no other service was looked for yet"
    return replace(without_refuge(judgement, why), wake_at=getattr(world.refuge, "until", None))


def _without_room(
    placement: Placement, wants: Sequence[MemberWant], servers: Sequence[GroupServer]
) -> tuple[GroupServer, MemberWant] | None:
    """The first server that found no room where the group is, of a member that has nothing else to try there."""
    exhausted = {want.name: want for want in wants if want.exhausted}
    found = [s for s in servers if s.attempted is not None and s.placement == placement.number and not s.deleting]
    first = min((s for s in found if s.member in exhausted), key=lambda s: s.name, default=None)
    return None if first is None else (first, exhausted[first.member])


def granted(group: ServerGroup, member: Member) -> int:
    """How many servers of a member the policy has allowed so far, as status recorded it."""
    return next((m.desired for m in group.status.members if m.name == member.name), 0)


def decide_group(world: GroupWorld, now: datetime) -> GroupPlan:
    """The next changes of one group. The same world at the same time gives the same plan."""
    plan = _decide(world, now)
    plan = replace(plan, wake_at=earliest(plan.wake_at, world.policy.wake_at))
    # What becomes of a server is settled before its deletion begins, or one that is to be retained could be destroyed.
    unsettled = {uid for _, uid, _ in plan.retain}
    return replace(plan, removals=tuple(r for r in plan.removals if r.uid not in unsettled)) if unsettled else plan


def _decide(world: GroupWorld, now: datetime) -> GroupPlan:
    group, placement = world.group, world.group.status.placement
    if group.metadata.deleting:
        return _deletion(world)
    if group.spec.suspend:
        return GroupPlan(
            placement, phase="Suspended", message="suspend is set: no server is made, replaced, moved or removed"
        )
    if placement is None:
        return _place(world)
    if world.policy.verdict == "Unmet" and world.policy.when_unmet_release and world.policy.problem is None:
        return _release(world, placement)
    judgement = judge_failover(world, now)
    exhausted = _newly_exhausted(world, placement, now)
    if exhausted is not None:
        return GroupPlan(placement, commit=True, exhausted=exhausted, failover=judgement)
    if (move := _move(world, placement)) is not None:
        return move
    if judgement.refuge is not None:
        return _fail_over(world, placement, judgement, judgement.refuge, now)
    places = wanted(world.wants, may_grow=world.policy.lets_grow)
    if (further := opened(world.group, placement, world.servers, places, now)) is not None:
        return GroupPlan(further, commit=True, failover=judgement)
    return _members(world, placement, judgement, now)


def _newly_exhausted(world: GroupWorld, placement: Placement, now: datetime) -> tuple[Exhausted, ...] | None:
    """What is to be remembered before anything rests on it; None where nothing is new."""
    attempts = [s.attempted for s in world.servers if s.attempted is not None and s.placement == placement.number]
    attempts += troubles(world.wants, world.servers, placement, world.group.spec.remediation, now)
    known = remembered(world.group.status.exhausted, (), now)
    found = remembered(known, attempts, now)
    return found if {key_of(e) for e in found} - {key_of(e) for e in known} else None


def _move(world: GroupWorld, placement: Placement) -> GroupPlan | None:
    """Give the placement up for one elsewhere. What was made is removed before the next one is recorded."""
    there = world.elsewhere
    if not isinstance(there, Placement) or there.service_uid == placement.service_uid:
        return None
    if not wants_elsewhere(world.group, world.policy, world.wants, world.servers):
        return None
    found = _without_room(placement, world.wants, world.servers)
    why = found[1].exhausted if found is not None else ""
    return GroupPlan(
        None,
        commit=True,
        phase="Moving",
        message=f"{placement.service} has no room for the group: {why}; {there.service} can take it",
        failures={want.name: 0 for want in world.wants},
    )


def _fail_over(
    world: GroupWorld, placement: Placement, judgement: Judgement, refuge: Placement, now: datetime
) -> GroupPlan:
    """Leave the service: at once for the next one where both may be there, else when the old servers are gone.

    Written before anything is made or removed: what comes after follows from it, whoever looks next.
    """
    spec, cause = world.policy.failover, judgement.cause
    if spec is None or cause is None:
        raise ValueError("nothing to fail over for")
    overlaps = spec.overlap == "Allowed"
    by = asked_by(world.group, spec)
    why = f"{cause.message}; {by} let it leave" if by else cause.message
    message = f"failed over from {placement.service}: {why}; {refuge.message}"
    following = refuge.model_copy(update={"overlapping": True, "message": message[:1024]})
    return GroupPlan(
        following if overlaps else None,
        commit=True,
        phase="FailedOver" if overlaps else "FailingOver",
        message=message if overlaps else f"failing over from {placement.service}: {why}",
        failures={want.name: 0 for want in world.wants},
        failed_over=(entry(placement, cause, spec, now),),
    )


def _place(world: GroupWorld) -> GroupPlan:
    """No placement is recorded: record one, or say why not. Servers of an earlier one are cleared away first."""
    moves = bool(any(e.reason in NO_ROOM for e in world.group.status.exhausted) or world.group.status.failed_over)
    leftovers = _removals(world.servers, "Moved" if moves else "Released", "the group has no placement")
    if leftovers and _protects_leftovers(world):
        message = (
            f"deletionProtection keeps the servers of the last placement: {remaining(world.servers)}; "
            "set spec.deletionProtection to false to have them removed, and the group placed again"
        )
        return GroupPlan(None, retain=_retain(world), phase="DeletionProtected", message=message)
    if world.servers:
        message = f"servers of the last placement are going: {remaining(world.servers)}"
        return GroupPlan(None, removals=leftovers, retain=_retain(world), phase="Releasing", message=message)
    if isinstance(world.proposal, Placement):
        return GroupPlan(world.proposal, commit=True)
    until = (problem.until for problem in (*world.problems, world.proposal) if problem is not None)
    return GroupPlan(None, phase="Unplaced", wake_at=earliest(*until))


def _protects_leftovers(world: GroupWorld) -> bool:
    """Whether deletionProtection, set since the placement was given up, keeps what is left of it: servers of a service
    that the group is to fail over from, or that have configuration. Others hold nothing yet."""
    status = world.group.status
    fails_over = any(left.placement == status.placements for left in status.failed_over)
    return _protected(world) and (fails_over or any(s.configured and not s.deleting for s in world.servers))


def _removals(servers: Sequence[GroupServer], reason: str, message: str) -> tuple[Removal, ...]:
    return tuple(
        Removal(s.name, s.uid, reason, message) for s in sorted(servers, key=lambda s: s.name) if not s.deleting
    )


def _retain(world: GroupWorld) -> tuple[tuple[str, str, bool], ...]:
    """Servers whose deletionPolicy has to follow the group's, as (name, uid, retain)."""
    keep = world.group.spec.deletion_policy == "Retain"
    return tuple(sorted((s.name, s.uid, keep) for s in world.servers if s.retain != keep and not s.adopted))


def _protected(world: GroupWorld) -> bool:
    return world.group.spec.deletion_protection


def _release(world: GroupWorld, placement: Placement) -> GroupPlan:
    if _protected(world):
        message = "the policy is unmet and asks for release, but deletionProtection keeps the servers"
        return GroupPlan(placement, phase="DeletionProtected", message=message)
    if world.servers:
        why = f"the policy is no longer met (whenUnmet: Release): {world.policy.message}"
        removals = _removals(world.servers, "Released", why)
        return GroupPlan(placement, removals=removals, retain=_retain(world), phase="Releasing")
    return GroupPlan(None, commit=True, phase="Released", message="the policy is no longer met; servers were released")


def _deletion(world: GroupWorld) -> GroupPlan:
    placement = world.group.status.placement
    if _protected(world) and any(not s.deleting for s in world.servers):
        message = "deletion was asked for, but deletionProtection is set: set spec.deletionProtection to false to go on"
        return GroupPlan(placement, phase="DeletionProtected", message=message)
    if not world.servers:
        return GroupPlan(placement, drop_finalizer=True, phase="Deleting")
    return GroupPlan(
        placement,
        removals=_removals(world.servers, "GroupDeleted", "the group is being deleted"),
        retain=_retain(world),
        phase="Deleting",
        message=f"{len(world.servers)} servers are still there: {remaining(world.servers)}",
    )


def _members(world: GroupWorld, placement: Placement, judgement: Judgement, now: datetime) -> GroupPlan:
    spec = world.group.spec
    live = present(world.servers, placement)
    sick, wake_sick = find_sick(live, spec.remediation, now)
    blocked = ""
    # Those that fell ill as well and are not past their time yet count too: what they share began a moment ago.
    unhealthy = len({s.server.uid for s in sick} | {s.uid for s in live if s.unhealthy_since and not s.deleting})
    if sick and not remediation_allowed(unhealthy, len(live), spec.remediation):
        blocked = (
            f"{unhealthy} of {len(live)} servers are unhealthy, more than maxUnhealthy "
            f"({spec.remediation.max_unhealthy}): none is replaced; look for a common cause"
        )
    given_up = {} if blocked else {s.server.uid: s for s in sick}
    may_grow = world.policy.lets_grow
    known = {want.name for want in world.wants}
    plans = [
        plan_member(
            want,
            [s for s in live if s.member == want.name],
            spec.update_strategy,
            given_up,
            placement=placement.number,
            may_grow=may_grow,
            now=now,
        )
        for want in world.wants
    ]
    strays = [s for s in live if s.member not in known]
    return GroupPlan(
        placement,
        creations=tuple(c for plan in plans for c in plan.creations),
        removals=tuple(r for plan in plans for r in plan.removals)
        + _removals(strays, "MemberRemoved", "the group has no such member any more")
        + _earlier(world, placement),
        revisions=tuple(r for plan in plans for r in plan.revisions),
        retain=_retain(world),
        sick=sick,
        failover=judgement,
        remediation_blocked=blocked,
        failures=_failures(world.wants, plans),
        wake_at=earliest(
            wake_sick, judgement.wake_at, *(plan.wake_at for plan in plans), *(p.until for p in world.problems)
        ),
    )


def _earlier(world: GroupWorld, placement: Placement) -> tuple[Removal, ...]:
    """Servers of the placement before: they go once those of this one are ready, and a person's protection is off."""
    ready = {(s.member, s.ordinal) for s in present(world.servers, placement) if s.ready and not s.deleting}
    if placement.overlapping and (
        _protected(world) or not wanted(world.wants, may_grow=world.policy.lets_grow) <= ready
    ):
        return ()
    return _removals(
        earlier(world.servers, placement), "FailedOver", f"the group has failed over to {placement.service}"
    )


def _failures(wants: Sequence[MemberWant], plans: Sequence[MemberPlan]) -> dict[str, int]:
    return {want.name: plan.failures for want, plan in zip(wants, plans, strict=True)}
