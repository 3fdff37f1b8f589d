"""What a condition is found to be at one moment, before hysteresis.

A kind of condition is one function from its spec and what was observed to a `RawReading`. A new kind adds its field to
`PolicyCondition`, its facts to `Observed` and its case to `read`; nothing else changes.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Final, Literal

from moorage.api.hostingpolicy import KINDS_OF_CONDITION, PolicyCondition, Schedule, ServiceExpression, Verdict
from moorage.api.rules import spoken
from moorage.core import expressions
from moorage.core.policy.data_age import DATA_TOO_OLD, reads_offerings
from moorage.core.policy.resource import INVALID_RESOURCES
from moorage.core.policy.samples import INVALID_CA_BUNDLE, Sample
from moorage.core.policy.schedule import INVALID_SCHEDULE, Window, read_schedule

INVALID_CONDITION: Final = "InvalidCondition"
WRONG_VOTE: Final = frozenset({"NoSuchMember", "OutputUndeclared", "OutputSensitive"})
DUPLICATE_NAME: Final = "DuplicateName"
TOO_MANY: Final = "TooManyConditions"
TOO_LONG: Final = "ExpressionsTooLong"
NOT_READ_YET: Final = "NotReadYet"
INVALID_REASONS: Final = frozenset(
    {
        INVALID_SCHEDULE,
        INVALID_CONDITION,
        INVALID_CA_BUNDLE,
        DUPLICATE_NAME,
        TOO_MANY,
        TOO_LONG,
        expressions.INVALID,
        expressions.TOO_EXPENSIVE,
        *INVALID_RESOURCES,
        *WRONG_VOTE,
    }
)
"""Reasons of an Unknown reading that only an edit can end: of the policy, or of what a vote refers to."""


@dataclass(frozen=True, slots=True)
class Observed:
    """What conditions are read from: the time (aware), the services that the policy may choose from, and what was
    learnt outside, by the condition's name. ``too_old``: what of the services' offerings is too old to decide by.
    ``unread``: some of them this process has still to look at. ``left_out``: whose offerings are not told, and why."""

    now: datetime
    services: expressions.Services
    samples: Mapping[str, Sample] = field(default_factory=dict)
    too_old: str = ""
    unread: bool = False
    left_out: str = ""


@dataclass(frozen=True, slots=True)
class RawReading:
    """What a condition is right now.

    ``since`` is the instant at which it became so, where it is known; unless ``exact``, it may have been so for longer.
    ``next_check`` is the instant at which it may change although nothing else does, None where only a change of the
    facts can change it; ``look_again`` is when to look where that instant is too far away to tell. ``memory`` is what
    an Unknown reading leaves of what was known before: Kept where nobody has looked since the process began; Weighed is
    the rule.
    """

    value: Verdict
    reason: str
    message: str
    since: datetime | None = None
    exact: bool = False
    next_check: datetime | None = None
    look_again: datetime | None = None
    memory: Literal["Weighed", "Kept"] = "Weighed"


def read(condition: PolicyCondition, observed: Observed) -> RawReading:
    """The condition's raw reading. Never raises: what is wrong with the condition is an Unknown reading."""
    given = [kind for kind in KINDS_OF_CONDITION if getattr(condition, kind) is not None]
    if len(given) != 1:
        what = f"has {spoken(given)}; make it several conditions" if given else "has no kind; give it `schedule`, say"
        return RawReading("Unknown", INVALID_CONDITION, f"the condition {what}")
    match condition:
        case PolicyCondition(service=ServiceExpression(expression=text)):
            return _read_service(text, observed)
        case PolicyCondition(schedule=Schedule() as schedule):
            return _from_window(read_schedule(schedule, observed.now))
        case _:
            return _from_sample(observed.samples.get(condition.name))


def _read_service(text: str, observed: Observed) -> RawReading:
    try:
        expression = expressions.compile_expression(text)
        if observed.unread:
            message = "the services are still to be looked at after the controller's start"
            return RawReading("Unknown", NOT_READ_YET, message, memory="Kept")
        if observed.too_old and reads_offerings(text):
            return RawReading("Unknown", DATA_TOO_OLD, observed.too_old)
        holds = expressions.evaluate(expression, observed.services)
    except expressions.ExpressionError as error:
        missing = error.reason == expressions.FAILED and reads_offerings(text) and observed.left_out
        return RawReading("Unknown", error.reason, f"{error.message}; {missing}" if missing else error.message)
    if holds:
        return RawReading("Met", "ExpressionTrue", "the expression is true")
    nothing = "" if observed.services.sizes.services else ": the policy may choose from no service (select.services)"
    return RawReading("Unmet", "ExpressionFalse", f"the expression is false{nothing}")


def _from_sample(sample: Sample | None) -> RawReading:
    if sample is None:
        return RawReading("Unknown", NOT_READ_YET, "there is no answer yet", memory="Kept")
    value: Verdict = "Unknown" if sample.holds is None else "Met" if sample.holds else "Unmet"
    return RawReading(value, sample.reason, sample.message, sample.at)


def _from_window(window: Window) -> RawReading:
    if window.problem:
        return RawReading("Unknown", INVALID_SCHEDULE, window.problem)
    if window.inside:
        message = f"within its schedule until {spell(window.edge)}" if window.edge else "within its schedule"
        again = window.check if window.edge is None else None
        return RawReading("Met", "InSchedule", message, window.since, window.exact, window.edge, again)
    message = f"outside its schedule until {spell(window.edge)}" if window.edge else "its schedule is over"
    return RawReading("Unmet", "OutOfSchedule", message, window.since, window.exact, window.edge)


def spell(instant: datetime) -> str:
    """An instant for people: to the second, UTC."""
    return instant.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
