"""What a condition is found to be at one moment, before hysteresis.

A kind of condition is one function from its spec and what was observed to a `RawReading`. A new kind adds its field to
`PolicyCondition`, its facts to `Observed` and its case to `read`; nothing else changes.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final

from moorage.api.hostingpolicy import PolicyCondition, ServiceExpression, Verdict
from moorage.core import expressions
from moorage.core.policy.schedule import INVALID_SCHEDULE, Window, read_schedule

INVALID_CONDITION: Final = "InvalidCondition"
WRONG_VOTE: Final = frozenset({"NoSuchMember", "OutputUndeclared", "OutputSensitive"})
INVALID_REASONS: Final = (
    frozenset({INVALID_SCHEDULE, INVALID_CONDITION, expressions.INVALID, expressions.TOO_EXPENSIVE}) | WRONG_VOTE
)
"""Reasons of an Unknown reading that only an edit can end: of the policy, or of what a vote refers to."""


@dataclass(frozen=True, slots=True)
class Observed:
    """What conditions are read from: the time (aware) and the services that the policy may choose from."""

    now: datetime
    services: expressions.Services


@dataclass(frozen=True, slots=True)
class RawReading:
    """What a condition is right now.

    ``since`` is the instant at which it became so, where it is known; unless ``exact``, it may have been so for longer.
    ``next_check`` is the instant at which it may
    change although nothing else does, None where only a change of the facts can change it.
    """

    value: Verdict
    reason: str
    message: str
    since: datetime | None = None
    exact: bool = False
    next_check: datetime | None = None


def read(condition: PolicyCondition, observed: Observed) -> RawReading:
    """The condition's raw reading. Never raises: what is wrong with the condition is an Unknown reading."""
    match condition:
        case PolicyCondition(schedule=None, service=None):
            return RawReading(
                "Unknown", INVALID_CONDITION, "the condition has no kind; give it `schedule` or `service`"
            )
        case PolicyCondition(schedule=None, service=ServiceExpression(expression=text)):
            return _read_service(text, observed.services)
        case PolicyCondition(schedule=schedule, service=None) if schedule is not None:
            return _from_window(read_schedule(schedule, observed.now))
        case _:
            message = "the condition has both `schedule` and `service`; make it two conditions of `all`"
            return RawReading("Unknown", INVALID_CONDITION, message)


def _read_service(text: str, services: expressions.Services) -> RawReading:
    try:
        holds = expressions.evaluate(expressions.compile_expression(text), services)
    except expressions.ExpressionError as error:
        return RawReading("Unknown", error.reason, error.message)
    if holds:
        return RawReading("Met", "ExpressionTrue", "the expression is true")
    return RawReading("Unmet", "ExpressionFalse", "the expression is false")


def _from_window(window: Window) -> RawReading:
    if window.problem:
        return RawReading("Unknown", INVALID_SCHEDULE, window.problem)
    if window.inside:
        message = f"within its schedule until {spell(window.edge)}" if window.edge else "within its schedule"
        return RawReading("Met", "InSchedule", message, window.since, window.exact, window.check)
    message = f"outside its schedule until {spell(window.edge)}" if window.edge else "its schedule is over"
    return RawReading("Unmet", "OutOfSchedule", message, window.since, window.exact, window.check)


def spell(instant: datetime) -> str:
    """An instant for people: to the second, UTC."""
    return instant.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
