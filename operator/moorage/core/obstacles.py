"""What keeps a group from getting on: something that a person has to change, or that has to appear."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Final

from moorage.api import conditions as c
from moorage.api.meta import Condition
from moorage.api.placement import Candidate
from moorage.core.problems import joined
from moorage.core.timing import earliest

ABSENCES: Final = frozenset({"ConfigNotFound", "PolicyNotFound"})
APPEARS_WITHIN: Final = timedelta(seconds=10)
"""How long what a group refers to may take to appear before a person is asked for it."""


@dataclass(frozen=True, slots=True)
class Obstacle:
    """Something that a person has to change, or that has to appear. ``stalled``: waiting alone cannot mend it.

    ``until``: when to look again at the latest. ``candidates``: services that were looked at in vain.
    """

    reason: str
    message: str
    stalled: bool
    until: datetime | None = None
    candidates: tuple[Candidate, ...] = ()


def absent(reason: str, message: str, conditions: Iterable[Condition], since: datetime, now: datetime) -> Obstacle:
    """Something that a group of these ``conditions`` refers to, and that is missed ``since`` then.

    Objects that are applied together come in any order: at first it is waited for, and only then is a person asked,
    once: a group that is stalled by that stays so.
    """
    stalled = c.find(conditions, c.STALLED)
    if stalled is not None and stalled.status == "True" and stalled.reason in ABSENCES:
        return Obstacle(reason, message, stalled=True)
    until = since + APPEARS_WITHIN
    return Obstacle(reason, message, stalled=True) if until <= now else Obstacle(reason, message, False, until)


def together(problems: Sequence[Obstacle]) -> Obstacle:
    """Several problems as one, which names them all as far as the space allows: first those that waiting cannot mend.

    Raises ValueError where there is none.
    """
    if not problems:
        raise ValueError("no problem")
    ordered = sorted(problems, key=lambda problem: not problem.stalled)
    until = earliest(*(problem.until for problem in ordered))
    return replace(ordered[0], message=joined(problem.message for problem in ordered), until=until)
