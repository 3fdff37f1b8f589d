"""Whether a group would cost more on a service than its ceilings allow."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Final

from moorage.core.ceilings import ABOVE, INVALID, NOTHING, UNKNOWN, Ceiling, Cost, Offer
from moorage.core.placement.member import MemberTemplate
from moorage.core.placement.reasons import Reason, Rejection
from moorage.core.services import ServiceView

_REASONS: Final = {
    ABOVE: Reason.PRICE_ABOVE_CEILING,
    UNKNOWN: Reason.PRICE_UNKNOWN,
    INVALID: Reason.CEILING_INVALID,
}


def group_cost(service: str, servers: Iterable[tuple[int, MemberTemplate]]) -> Cost:
    """What so many servers of each template cost there in one hour."""
    costs = (Offer(t.offering.name, t.price, service, t.interruptible).times(count) for count, t in servers)
    return sum(costs, NOTHING)


def above_ceiling(
    ceilings: Sequence[Ceiling], service: ServiceView, servers: Iterable[tuple[int, MemberTemplate]]
) -> Rejection | None:
    """The reason for which the whole group may not be paid for on ``service``, or None."""
    if not ceilings:
        return None
    cost = group_cost(service.name, servers)
    refusal = next((r for c in ceilings if (r := c.refuses(cost)) is not None), None)
    return None if refusal is None else Rejection(_REASONS[refusal.reason], refusal.message)
