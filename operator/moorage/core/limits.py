"""What bounds a group: the guards of its scaled member, and the ceilings of its cost. As conditions that say so."""

from __future__ import annotations

from dataclasses import dataclass, replace

from moorage.api.servergroup import ServerGroup
from moorage.core.ceilings import Allowance, Refusal
from moorage.core.group import GroupWorld
from moorage.core.obstacles import Obstacle
from moorage.core.placement import Reason
from moorage.core.problems import joined
from moorage.core.rollout import MemberWant, Template

_CEILINGS = (Reason.CEILING_INVALID, Reason.PRICE_ABOVE_CEILING, Reason.PRICE_UNKNOWN)


def within(want: MemberWant, allowance: Allowance | None) -> MemberWant:
    """The want within what the cost ceilings leave it."""
    if allowance is None:
        return made_of(want, want.template)
    held, offer = allowance.held.get(want.name), allowance.offers.get(want.name)
    bounded = replace(
        want,
        allowed=allowance.counts.get(want.name),
        offering=None if offer is None else offer.offering,
        interruptible=offer is not None and offer.interruptible,
    )
    return bounded if held is None else _held(bounded, held)


def _held(want: MemberWant, refusal: Refusal) -> MemberWant:
    """The want that a ceiling refuses what is asked for now.

    Where that was the way out because what comes first has no room, nothing is left to try on the service: the first
    is tried again, spaced, and another service may be looked for.
    """
    if not want.instead:
        return replace(want, template=None, problem=(refusal.reason, refusal.message))
    why = f"{want.instead}; but {refusal.message}"
    first = want.first
    known = first is not None and (first.offering, first.interruptible) == (want.offering, want.interruptible)
    return replace(want, template=first if known else None, problem=(refusal.reason, why), exhausted=why, instead="")


def made_of(want: MemberWant, template: Template | None) -> MemberWant:
    """The want, with what its servers are made of."""
    if template is None:
        return replace(want, offering=None, interruptible=False)
    return replace(want, offering=template.offering, interruptible=template.interruptible)


def scale_limit(group: ServerGroup) -> Refusal | None:
    """That the scaled member was asked to have more or fewer servers than its guards allow."""
    scale = group.spec.scale
    if scale.member is None or scale.bounded == scale.replicas:
        return None
    above = scale.replicas > scale.bounded
    guard = f"maxReplicas is {scale.max_replicas}" if above else f"minReplicas is {scale.min_replicas}"
    message = (
        f"spec.scale.replicas asks for {scale.replicas} servers of member {scale.member}, and gets {scale.bounded}"
    )
    return Refusal("AboveMaximum" if above else "BelowMinimum", f"{message}: {guard}")


def cost_limit(world: GroupWorld) -> Refusal | None:
    """That a ceiling keeps the group from what it asks for, or is below what it costs already."""
    if world.allowance is None:
        return None
    if (refused := growth_refused(world)) is not None:
        return refused
    over = world.allowance.over
    if over and world.group.status.placement is not None:
        message = joined(refusal.message for refusal in over)
        return Refusal(over[0].reason, f"{message}; nothing is removed for it, and nothing added")
    proposal = world.proposal
    if isinstance(proposal, Obstacle):
        found = next((r for r in _CEILINGS if any(_says(c.reasons, r) for c in proposal.candidates)), None)
        return None if found is None else Refusal(str(found), proposal.message)
    return None


@dataclass(frozen=True, slots=True)
class Withheld:
    """A member of a placed group that gets fewer servers than it asks for, and what keeps them from it."""

    member: str
    asked: int
    gets: int
    reason: str
    message: str


def withheld(world: GroupWorld) -> tuple[Withheld, ...]:
    """What a placed group asks for and is not to have now: nothing of it is made, whatever room and prices are."""
    if world.group.status.placement is None or world.group.metadata.deleting:
        return ()
    short = ((want, world.desired(want)) for want in world.wants)
    return tuple(
        Withheld(want.name, want.replicas, gets, *_withheld_by(world, want))
        for want, gets in short
        if gets < want.replicas
    )


def _withheld_by(world: GroupWorld, want: MemberWant) -> tuple[str, str]:
    """What keeps the member from growing, in the words of the group's status: the first of what bounds it."""
    policy = world.policy
    if world.group.spec.suspend:
        return "Suspended", "suspend is set"
    if policy.problem is not None:
        return policy.problem
    if not policy.lets_grow:
        return policy.growth_waits
    refused = growth_refused(world)
    if refused is not None:
        return refused.reason, refused.message
    # Where nobody can say of what its servers would be made, nobody can say what they would cost either.
    return want.problem or ("PriceUnknown", "what its servers would cost is not known")


def growth_refused(world: GroupWorld) -> Refusal | None:
    """That a ceiling keeps a placed group from what it asks for."""
    if world.allowance is None or not world.allowance.refusals:
        return None
    refusals = world.allowance.refusals
    return Refusal(refusals[0].reason, joined(refusal.message for refusal in refusals))


def _says(reasons: tuple[str, ...], reason: Reason) -> bool:
    return any(text.startswith(f"{reason}:") for text in reasons)
