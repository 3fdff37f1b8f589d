"""Types and reasons of conditions, and the pure functions that change a list of them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime

from moorage.api.meta import Condition, ConditionStatus

READY = "Ready"
RECONCILING = "Reconciling"
STALLED = "Stalled"
AVAILABLE = "Available"
CATALOGUE_READ = "CatalogueRead"
VALID = "Valid"
POLICY_MET = "PolicyMet"
PLACED = "Placed"
INSTANTIATED = "Instantiated"
CONFIGURED = "Configured"
DRIFTED = "Drifted"
SCALE_LIMITED = "ScaleLimited"
COST_LIMITED = "CostLimited"
FAILOVER_PENDING = "FailoverPending"

ABNORMAL = frozenset({RECONCILING, STALLED, DRIFTED, SCALE_LIMITED, COST_LIMITED, FAILOVER_PENDING})
"""Abnormal-true types (kstatus): present only while true, so that no client reads their absence as a state."""

_ORDER = {
    t: i
    for i, t in enumerate(
        (
            READY,
            AVAILABLE,
            CATALOGUE_READ,
            VALID,
            POLICY_MET,
            PLACED,
            INSTANTIATED,
            CONFIGURED,
            DRIFTED,
            SCALE_LIMITED,
            COST_LIMITED,
            FAILOVER_PENDING,
            RECONCILING,
            STALLED,
        )
    )
}


class Reason:
    """Reasons used by more than one kind; others are beside the decision that gives them."""

    READY = "Ready"
    PROGRESSING = "Progressing"
    DELETING = "Deleting"
    SUSPENDED = "Suspended"
    INVALID = "Invalid"
    NOT_FOUND = "NotFound"
    UNAVAILABLE = "Unavailable"
    WAITING = "Waiting"
    PENDING = "Pending"
    FAILED = "Failed"
    LOST = "Lost"
    SCOPE_CHANGED = "ScopeChanged"
    OVERSHOOT = "Overshoot"
    NO_CAPACITY = "InsufficientCapacity"
    QUOTA = "QuotaExceeded"
    AUTHENTICATION = "AuthenticationFailed"
    TIMED_OUT = "TimedOut"
    POLICY_UNMET = "PolicyUnmet"
    POLICY_UNKNOWN = "PolicyUnknown"


def condition(
    type_: str,
    status: bool | ConditionStatus | None,
    reason: str,
    message: str,
    now: datetime,
    generation: int | None = None,
) -> Condition:
    """A condition as of `now`; `status` None is Unknown."""
    word: ConditionStatus = _status(status)
    return Condition(
        type=type_,
        status=word,
        reason=reason,
        message=message,
        last_transition_time=now.replace(microsecond=0),
        observed_generation=generation,
    )


def merge(old: Iterable[Condition], new: Iterable[Condition]) -> tuple[Condition, ...]:
    """`old` with every condition of `new` put in its place, in a fixed order.

    A `lastTransitionTime` stays unless the status changes. Abnormal types that are not true are dropped.
    """
    known = {c.type: c for c in old}
    for c in new:
        before = known.get(c.type)
        if before is not None and before.status == c.status:
            c = c.model_copy(update={"last_transition_time": before.last_transition_time})
        known[c.type] = c
    kept = (c for c in known.values() if c.type not in ABNORMAL or c.status == "True")
    return tuple(sorted(kept, key=lambda c: (_ORDER.get(c.type, len(_ORDER)), c.type)))


def replace(old: Iterable[Condition], new: Sequence[Condition]) -> tuple[Condition, ...]:
    """Exactly the conditions of `new`, with the transition times of `old` where the status did not change."""
    types = {c.type for c in new}
    return merge((c for c in old if c.type in types), new)


def set_condition(
    old: Iterable[Condition],
    type_: str,
    status: bool | ConditionStatus | None,
    reason: str,
    message: str,
    now: datetime,
    generation: int | None = None,
) -> tuple[Condition, ...]:
    """`merge` of a single condition."""
    return merge(old, (condition(type_, status, reason, message, now, generation),))


def find(conditions: Iterable[Condition], type_: str) -> Condition | None:
    """The condition of that type, if it is there."""
    return next((c for c in conditions if c.type == type_), None)


def is_true(conditions: Iterable[Condition], type_: str) -> bool:
    """Whether the condition of that type is there and true."""
    found = find(conditions, type_)
    return found is not None and found.status == "True"


def _status(status: bool | ConditionStatus | None) -> ConditionStatus:
    if status is None:
        return "Unknown"
    if isinstance(status, bool):
        return "True" if status else "False"
    return status
