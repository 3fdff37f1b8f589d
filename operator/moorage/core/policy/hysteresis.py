"""Hysteresis: `for` delays a condition's becoming met, `holdFor` delays its ceasing to be.

What must be remembered is in the reading itself (`trueSince`, `lastTrue`), so that a restart changes nothing.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime

from moorage.api.hostingpolicy import PolicyCondition, Reading, Verdict
from moorage.core.policy.readings import RawReading, spell

MESSAGE_LENGTH = 1024


@dataclass(frozen=True, slots=True)
class Settled:
    """A reading after hysteresis, and when it can next change by itself (None: not without a change of facts)."""

    reading: Reading
    next_check: datetime | None


def settle(condition: PolicyCondition, raw: RawReading, previous: Reading | None, now: datetime) -> Settled:
    """The reading that follows from the previous one and from what the condition is right now.

    A raw value that became true counts as met once it has been true for `for` without a break; one that ceased to be
    true after it was met counts as met until `holdFor` has passed. Unknown breaks `for` and does not end a hold.
    A previous time that lies in the future (the clock was set back) is taken as now.
    """
    if raw.value == "Met":
        return _settle_true(condition, raw, previous, now)
    return _settle_not_true(condition, raw, previous, now)


def _settle_true(condition: PolicyCondition, raw: RawReading, previous: Reading | None, now: datetime) -> Settled:
    since = _second(raw.since or now)
    if not raw.exact and previous is not None and previous.true_since is not None:
        since = min(since, previous.true_since)
    since = min(since, _second(now))
    remembered = since if condition.for_ or condition.hold_for else None
    already = previous is not None and previous.value == "Met"
    met_from = since + condition.for_
    if already or met_from <= now:
        reading = _reading(condition.name, "Met", raw.reason, raw.message, previous, met_from, now)
        return Settled(reading.model_copy(update={"true_since": remembered}), raw.next_check)
    message = f"true since {spell(since)}, counts as met from {spell(met_from)}: {raw.message}"
    reading = _reading(condition.name, "Unmet", "Pending", message, previous, since, now)
    return Settled(reading.model_copy(update={"true_since": since}), _earliest(raw.next_check, met_from))


def _settle_not_true(condition: PolicyCondition, raw: RawReading, previous: Reading | None, now: datetime) -> Settled:
    last_true = _last_true(raw, previous, now) if condition.hold_for else None
    if previous is not None and previous.value == "Met" and last_true is not None:
        until = last_true + condition.hold_for
        if now < until:
            message = f"last true at {spell(last_true)}, counts as met until {spell(until)}: {raw.message}"
            reading = _reading(condition.name, "Met", "Held", message, previous, now, now)
            return Settled(reading.model_copy(update={"last_true": last_true}), _earliest(raw.next_check, until))
        changed = until
    else:
        changed = raw.since or now
    reading = _reading(condition.name, raw.value, raw.reason, raw.message, previous, changed, now)
    return Settled(reading, raw.next_check)


def _last_true(raw: RawReading, previous: Reading | None, now: datetime) -> datetime | None:
    """When the condition was last true: remembered, or else now, at the first look that finds it otherwise."""
    if previous is None or previous.value != "Met":
        return None
    if previous.last_true is not None:
        return min(previous.last_true, _second(now))
    return _second(min(raw.since or now, now))


def _reading(
    name: str, value: Verdict, reason: str, message: str, previous: Reading | None, changed: datetime, now: datetime
) -> Reading:
    """``since`` stays while the value does; a change is dated at the instant it became due, never before the last."""
    if previous is not None and previous.value == value:
        since = min(previous.since, _second(now))
    else:
        since = _second(min(changed, now))
        if previous is not None and previous.since <= now:
            since = max(since, previous.since)
    return Reading(name=name, value=value, reason=reason, message=message[:MESSAGE_LENGTH], since=since)


def _second(instant: datetime) -> datetime:
    return instant.astimezone(UTC).replace(microsecond=0)


def _earliest(*instants: datetime | None) -> datetime | None:
    return min((i for i in instants if i is not None), default=None)
