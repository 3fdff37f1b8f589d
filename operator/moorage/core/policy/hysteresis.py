"""Hysteresis: `for` delays a condition's becoming met, `holdFor` delays its ceasing to be.

What must be remembered is in the reading itself (`trueSince`, `lastTrue`), so that a restart changes nothing.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final

from moorage.api.hostingpolicy import PolicyCondition, Reading, Verdict
from moorage.core.policy.readings import RawReading, spell

MESSAGE_LENGTH = 1024
PENDING: Final = "Pending"
"""It is true, and not yet for as long as `for` asks."""
PENDING_ANEW: Final = "PendingAnew"
"""The same, and nobody has seen it false before: the question is a new one, or there was no answer until now."""


@dataclass(frozen=True, slots=True)
class Settled:
    """A reading after hysteresis, and when it can next change by itself (None: not without a change of facts)."""

    reading: Reading
    next_check: datetime | None


def settle(condition: PolicyCondition, raw: RawReading, previous: Reading | None, now: datetime) -> Settled:
    """The reading that follows from the previous one and from what the condition is right now.

    A raw value that became true counts as met once it has been true for `for` without a break; one that ceased to be
    true after it was met counts as met until `holdFor` has passed. Unknown does not end a hold. It breaks a `for` that
    still runs, but what was met before it became unknown is met again as soon as it is known to be true: nobody saw it
    end, and an outage of whoever is asked must not look like an end that came and went.
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
    already = previous is not None and _was_met(previous)
    met_from = since + condition.for_
    if already or met_from <= now:
        reading = _reading(condition.name, "Met", raw.reason, raw.message, previous, met_from, now)
        return Settled(reading.model_copy(update={"true_since": remembered}), raw.next_check)
    message = f"true since {spell(since)}, counts as met from {spell(met_from)}: {raw.message}"
    seen_false = previous is not None and previous.value == "Unmet" and previous.reason != PENDING_ANEW
    reason = PENDING if seen_false else PENDING_ANEW
    reading = _reading(condition.name, "Unmet", reason, message, previous, since, now)
    return Settled(reading.model_copy(update={"true_since": since}), _earliest(raw.next_check, met_from))


def _settle_not_true(condition: PolicyCondition, raw: RawReading, previous: Reading | None, now: datetime) -> Settled:
    true_since, last_true = _unbroken(raw, previous), _last_true(raw, previous, now)
    changed = raw.since or now
    if previous is not None and previous.value == "Met" and last_true is not None and condition.hold_for:
        until = last_true + condition.hold_for
        if now < until:
            message = f"last true at {spell(last_true)}, counts as met until {spell(until)}: {raw.message}"
            reading = _reading(condition.name, "Met", "Held", message, previous, now, now)
            memory = {"last_true": last_true, "true_since": true_since}
            return Settled(reading.model_copy(update=memory), _earliest(raw.next_check, until))
        changed = until
    reading = _reading(condition.name, raw.value, raw.reason, raw.message, previous, changed, now)
    if true_since is not None:
        reading = reading.model_copy(update={"last_true": last_true, "true_since": true_since})
    return Settled(reading, raw.next_check)


def _was_met(previous: Reading) -> bool:
    """Whether it counted as met when it was last known."""
    return previous.value == "Met" or (previous.value == "Unknown" and previous.last_true is not None)


def _unbroken(raw: RawReading, previous: Reading | None) -> datetime | None:
    """Since when it has been true, as far as anybody knows: None once it was known to be otherwise."""
    if raw.value != "Unknown" or previous is None:
        return None
    return previous.true_since if raw.memory == "Kept" or _was_met(previous) else None


def _last_true(raw: RawReading, previous: Reading | None, now: datetime) -> datetime | None:
    """When the condition was last true: remembered, or else now, at the first look that finds it otherwise."""
    if previous is None or not _was_met(previous):
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
