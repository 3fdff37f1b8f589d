"""Conditions of a policy that each group meets or not for itself: a person's approval, its own servers' votes."""

from __future__ import annotations

from typing import Annotated, Literal

from moorage.api.base import ItemName, Label, Model, number
from moorage.api.quantities import Duration, Interval, parse_duration


class ApprovalCondition(Model):
    """Holds while a person has approved the group as it is now: `moorage approve GROUP`."""

    max_age: Interval | None = None
    """How long an approval counts at most, whatever it says itself. Default: as long as it says."""


class VoteCondition(Model):
    """Holds while enough of the group's own servers say so, by an output with the value true or false."""

    output: ItemName
    """The output; a sensitive one is not counted."""
    member: Label | None = None
    """Only servers of this member vote. Default: those of every member whose configuration has the output."""
    share: Annotated[int, number(1, 100, "is not a share", "write a percentage from 1 to 100, such as share: 60")]
    """How many of them have to say true, in percent, rounded up."""
    of: Literal["Running", "Desired"] = "Running"
    """Of which number: of the servers that run, or of those that the group shall have."""
    calm: Duration = parse_duration("0s")
    """For how long the outcome stays, once it was met or unmet, whatever is voted meanwhile."""
