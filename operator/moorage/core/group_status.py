"""What a ServerGroup's status says, from the same world that its plan was made of."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import datetime

from moorage.api import conditions as c
from moorage.api.meta import Condition
from moorage.api.names import LABEL_GROUP, LABEL_MEMBER
from moorage.api.placement import Candidate, LastPlacement, Placement
from moorage.api.servergroup import MemberStatus, PolicyState, ScaleStatus, ServerGroupStatus
from moorage.core.exhaustion import remembered
from moorage.core.failover import kept, occasion, remaining
from moorage.core.gate import earlier, is_complete, is_kept, present
from moorage.core.group import GroupPlan, GroupWorld
from moorage.core.limits import cost_limit, growth_refused, scale_limit
from moorage.core.obstacles import Obstacle, together
from moorage.core.rollout import GroupServer, MemberWant

MAX_PENDING = 20
MAX_NAMED = 3

_QUIET_PHASES = frozenset({"Suspended", "DeletionProtected"})


def group_status(world: GroupWorld, plan: GroupPlan, now: datetime) -> ServerGroupStatus:
    """The whole status of the group; times change only together with what they describe."""
    group, old = world.group, world.group.status
    members = tuple(_member(want, world, plan, old.members) for want in world.wants)
    live = [s for s in present(world.servers, plan.placement) if not s.deleting]
    scaled = group.spec.scale.member
    return ServerGroupStatus(
        observed_generation=group.metadata.generation,
        conditions=c.replace(old.conditions, _conditions(world, plan, members, now)),
        policy=_policy(world, now),
        placement=plan.placement,
        candidates=_candidates(world, plan),
        exhausted=remembered(old.exhausted if plan.exhausted is None else plan.exhausted, (), now),
        last_placement=_last_placement(old, plan.placement),
        failed_over=kept((*old.failed_over, *plan.failed_over), world.servers, now),
        failover=occasion(plan.failover, plan.placement),
        placements=max(old.placements, plan.placement.number if plan.placement is not None else 0),
        members=members,
        scale=None if scaled is None else ScaleStatus(replicas=sum(s.member == scaled for s in live)),
        selector=None if scaled is None else f"{LABEL_GROUP}={group.metadata.name},{LABEL_MEMBER}={scaled}",
        replicas=len(live),
        ready_replicas=sum(s.ready for s in live),
        pending=tuple(world.pending[:MAX_PENDING]),
        pending_items=world.pending_items,
    )


def _last_placement(old: ServerGroupStatus, placement: Placement | None) -> LastPlacement | None:
    """Written together with the end of a placement, and kept beside the next one."""
    ended = old.placement
    if ended is None or (placement is not None and placement.number == ended.number):
        return old.last_placement
    return LastPlacement(number=ended.number, service=ended.service, service_uid=ended.service_uid)


def _candidates(world: GroupWorld, plan: GroupPlan) -> tuple[Candidate, ...]:
    """The services that were looked at in vain; a placement has its own."""
    return world.proposal.candidates if plan.placement is None and isinstance(world.proposal, Obstacle) else ()


def _policy(world: GroupWorld, now: datetime) -> PolicyState:
    old = world.group.status.policy
    same = old is not None and old.verdict == world.policy.verdict and old.name == world.policy.name
    return PolicyState(
        name=world.policy.name,
        verdict=world.policy.verdict,
        since=old.since if same and old is not None else now.replace(microsecond=0),
        message=world.policy.message,
        readings=world.policy.readings,
    )


def _member(want: MemberWant, world: GroupWorld, plan: GroupPlan, old: Sequence[MemberStatus]) -> MemberStatus:
    live = [s for s in present(world.servers, plan.placement) if not s.deleting]
    servers = [s for s in live if s.member == want.name]
    before = next((m for m in old if m.name == want.name), None)
    failures = plan.failures.get(want.name, before.failures if before is not None else 0) or None
    offering, interruptible = _offering(want, world, plan, before)
    return MemberStatus(
        name=want.name,
        config=want.config,
        revision=want.revision,
        offering=offering,
        interruptible=interruptible,
        desired=0 if plan.placement is None else world.desired(want),
        current=len(servers),
        instantiated=sum(s.instantiated for s in servers),
        configured=sum(s.configured for s in servers),
        ready=sum(s.ready for s in servers),
        updated=sum(_updated(s, want) for s in servers),
        failures=failures,
        message=want.instead or None,
    )


def _offering(
    want: MemberWant, world: GroupWorld, plan: GroupPlan, before: MemberStatus | None
) -> tuple[str | None, bool | None]:
    """Of what its servers are made, and on which market; what is not known at the moment stays what it was while the
    placement stays."""
    if plan.placement is None:
        return None, None
    last = world.group.status.placement
    if last is not None and plan.placement.number != last.number:
        refuge = world.refuge_of.get(want.name)
        return (None, None) if refuge is None else (refuge.offering, refuge.interruptible)
    if want.offering is not None:
        return want.offering, want.interruptible
    return (None, None) if before is None or last is None else (before.offering, before.interruptible)


def _updated(server: GroupServer, want: MemberWant) -> bool:
    return server.revision == want.revision and not server.outdated


def _conditions(
    world: GroupWorld, plan: GroupPlan, members: Sequence[MemberStatus], now: datetime
) -> tuple[Condition, ...]:
    generation = world.group.metadata.generation

    def make(type_: str, status: bool | None, reason: str, message: str) -> Condition:
        return c.condition(type_, status, reason, message, now, generation)

    stalled = _stalled(world, plan)
    ready, reason, message = _ready(world, plan, stalled)
    result = [
        make(c.POLICY_MET, *_policy_met(world)),
        make(c.PLACED, *_placed(world, plan)),
        make(c.INSTANTIATED, *_counted(world, plan, "instantiated", "Instantiated", "Booting", "run")),
        make(c.CONFIGURED, *_configured(world, plan)),
        make(c.READY, ready, reason, message),
    ]
    for type_, limit in ((c.SCALE_LIMITED, scale_limit(world.group)), (c.COST_LIMITED, cost_limit(world))):
        if limit is not None:
            result.append(make(type_, True, limit.reason, limit.message))
    pending = _failover_pending(world, plan)
    if pending is not None:
        result.append(make(c.FAILOVER_PENDING, True, *pending))
    if stalled is not None:
        result.append(make(c.STALLED, True, stalled.reason, stalled.message))
    elif not ready and plan.phase not in _QUIET_PHASES:
        result.append(make(c.RECONCILING, True, reason, message))
    return tuple(result)


def _failover_pending(world: GroupWorld, plan: GroupPlan) -> tuple[str, str] | None:
    """What of a failover is still to be done, or what keeps it from being done, and what can be done about that."""
    if plan.failover.cause is not None and plan.failover.reason:
        return plan.failover.reason, plan.failover.message
    if plan.placement is None:
        last = max((*world.group.status.failed_over, *plan.failed_over), key=lambda e: e.placement, default=None)
        left = world.servers if last is not None and last.placement == world.group.status.placements else ()
    else:
        left = earlier(world.servers, plan.placement) if plan.placement.overlapping else ()
    if not left:
        return None
    message = f"{len(left)} servers of the service that was left are still there: {remaining(left)}"
    if plan.placement is None and plan.phase == "DeletionProtected":
        return plan.phase, plan.message
    if plan.placement is None:
        message += "; the group is placed again once they are confirmed gone"
    elif all(s.deleting for s in left):
        message += "; they go as soon as their service confirms it"
    elif world.group.spec.deletion_protection:
        message += "; deletionProtection keeps them: set spec.deletionProtection to false to have them removed"
    else:
        message += "; they are removed once the new servers are ready"
    return "EarlierServersRemain", message


def _policy_met(world: GroupWorld) -> tuple[bool | None, str, str]:
    policy = world.policy
    if policy.problem is not None:
        return None, *policy.problem
    status = {"Met": True, "Unmet": False, "Unknown": None}[policy.verdict]
    return status, f"Policy{policy.verdict}", policy.message


def _stalled(world: GroupWorld, plan: GroupPlan) -> Obstacle | None:
    if world.group.metadata.deleting:
        return None
    problem = together(world.problems) if world.problems else None
    if problem is not None and problem.stalled:
        return problem
    if plan.remediation_blocked:
        return Obstacle("RemediationBlocked", plan.remediation_blocked, stalled=True)
    return None


def _placed(world: GroupWorld, plan: GroupPlan) -> tuple[bool, str, str]:
    if plan.placement is not None:
        return True, "Placed", plan.placement.message
    if isinstance(world.proposal, Obstacle):
        return False, world.proposal.reason, world.proposal.message
    if plan.phase in {"Released", "Releasing", "Moving", "FailingOver", "DeletionProtected"}:
        return False, plan.phase, plan.message or "servers of the last placement are going"
    if world.policy.problem is not None:
        return False, world.policy.problem[0], world.policy.problem[1]
    return False, f"Policy{world.policy.verdict}", f"waiting for policy {world.policy.name}: {world.policy.message}"


def _wanted(world: GroupWorld) -> int:
    """As many as a ceiling leaves it; all that are asked for while something else lets it add none."""
    return sum(want.affordable if world.policy.lets_grow else want.replicas for want in world.wants)


def _counted(
    world: GroupWorld, plan: GroupPlan, attribute: str, done: str, waiting: str, verb: str
) -> tuple[bool, str, str]:
    wanted = _wanted(world)
    own = present(world.servers, plan.placement)
    have = sum(bool(getattr(s, attribute)) for s in own if not s.deleting)
    if plan.placement is not None and have >= wanted:
        return True, done, f"{have} of {wanted} servers {verb}"
    if plan.placement is None:
        return False, "NotPlaced", "no hosting service is chosen yet"
    missing = _name_some([s for s in own if not getattr(s, attribute)])
    return False, waiting, f"{have} of {wanted} servers {verb}{missing}"


def _name_some(servers: Sequence[GroupServer]) -> str:
    told = [f"{s.name} ({s.message})" if s.message else s.name for s in sorted(servers, key=lambda s: s.name)]
    if not told:
        return ""
    more = f" and {len(told) - MAX_NAMED} more" if len(told) > MAX_NAMED else ""
    return "; waiting for " + ", ".join(told[:MAX_NAMED]) + more


def _configured(world: GroupWorld, plan: GroupPlan) -> tuple[bool, str, str]:
    status, reason, message = _counted(world, plan, "configured", "Configured", "ItemsPending", "are configured")
    if status or plan.placement is None:
        return status, reason, message
    if plan.placement.gate_opened is None:
        one = world.group.spec.configure_when == "ServerInstantiated"
        which = "a server runs" if one else "all servers of the group run"
        return False, "WaitingForInstantiation", f"configuration flows once {which}"
    if world.pending:
        first = world.pending[0]
        more = f" (and {world.pending_items - 1} more)" if world.pending_items > 1 else ""
        return (
            False,
            reason,
            f"{first.server} waits for item {first.item}: {first.waiting_for}, "
            f"since {first.since:%Y-%m-%dT%H:%M:%SZ}{more}",
        )
    return status, reason, message


def _no_room(world: GroupWorld, placement: Placement) -> list[tuple[bool, str, str]]:
    """That there is no room where the group is, and why it stays there."""
    exhausted = [want for want in world.wants if want.exhausted]
    if not exhausted or not any(s.attempted is not None for s in present(world.servers, placement)):
        return []
    if is_complete(world.group, placement):
        stays = "configuration has flowed, so the group stays where it is"
    elif is_kept(world.group, placement):
        stays = (
            "deletionProtection keeps its servers, some of which have configuration: set spec.deletionProtection to "
            "false to have the group made elsewhere"
        )
    elif earlier(world.servers, placement):
        stays = "servers of an earlier placement are still there, so no third service is looked for"
    elif isinstance(world.elsewhere, Obstacle):
        stays = world.elsewhere.message
    else:
        stays = f"policy {world.policy.name} is not met, so no other service is looked for"
    message = f"{placement.service} has no room for member {exhausted[0].name}: {exhausted[0].exhausted}; {stays}"
    return [(False, "NoRoom", f"{message}; it is tried again there")]


def _growth_waits(world: GroupWorld, missing: int) -> Iterator[tuple[bool, str, str]]:
    """Servers that are not made because of the policy are none that boot."""
    if missing > 0 and world.policy.verdict != "Met":
        yield False, *world.policy.growth_waits


def _ready(world: GroupWorld, plan: GroupPlan, stalled: Obstacle | None) -> tuple[bool, str, str]:
    """Whether everything is as it shall be; if not, the first thing that is waited for."""
    if world.group.metadata.deleting:
        return False, "DeletionProtected" if plan.phase == "DeletionProtected" else "Deleting", plan.message
    if stalled is not None:
        return False, stalled.reason, stalled.message
    if world.problems:
        problem = together(world.problems)
        return False, problem.reason, problem.message
    if plan.placement is None:
        return _placed(world, plan)
    if plan.phase in {"Releasing", "DeletionProtected"}:
        return False, plan.phase, plan.message or "the policy is no longer met; servers are given back"
    wanted = _wanted(world)
    all_counted = present(world.servers, plan.placement) if plan.placement.overlapping else list(world.servers)
    current = [s for s in present(world.servers, plan.placement) if not s.deleting]
    changing = {w.name: w.revision for w in world.wants}
    good = [s for s in current if s.ready and not s.outdated and s.revision == changing.get(s.member)]
    refused = growth_refused(world)
    if len(good) == wanted == len(all_counted) and refused is None:
        return True, "Ready", f"{wanted} of {wanted} servers are ready on {plan.placement.service}"
    if plan.phase == "Suspended":
        return False, "Suspended", f"{len(good)} of {wanted} servers are ready; {plan.message}"
    for status, reason, message in (
        *((False, *want.problem) for want in world.wants if want.problem is not None),
        *(() if refused is None else ((False, refused.reason, refused.message),)),
        *_no_room(world, plan.placement),
        *_growth_waits(world, wanted - len(current)),
        _counted(world, plan, "instantiated", "Instantiated", "Booting", "run"),
        _configured(world, plan),
    ):
        if not status:
            return False, reason, message
    waiting = [s for s in all_counted if s not in good]
    return False, "Progressing", f"{len(good)} of {wanted} servers are ready and up to date{_name_some(waiting)}"
