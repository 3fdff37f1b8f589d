"""Votes: how many of a group's own servers say `true` in an output, against how many have to.

What is not known is not counted against anybody: as long as the servers that have said nothing could turn the outcome,
it is Unknown, and decides nothing.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Final

from moorage.api.groupconditions import VoteCondition
from moorage.api.hostingpolicy import Reading
from moorage.api.virtualserver import OutputState
from moorage.core.policy.hysteresis import Settled
from moorage.core.policy.readings import WRONG_VOTE, RawReading, spell
from moorage.core.timing import earliest

NO_SERVERS: Final = "NoServers"


@dataclass(frozen=True, slots=True)
class Voter:
    """A server that runs where the group is placed, with what it has published."""

    member: str
    outputs: Mapping[str, OutputState]


@dataclass(frozen=True, slots=True)
class Constituency:
    """A member of the group: how many servers it shall have, and for each output declared whether it is sensitive.

    ``outputs`` is None where the member's configuration is not known.
    """

    name: str
    replicas: int
    outputs: Mapping[str, bool] | None


@dataclass(frozen=True, slots=True)
class Votes:
    """Who may vote. ``placed`` says whether the group has a place for servers at all."""

    placed: bool
    members: Sequence[Constituency] = ()
    voters: Sequence[Voter] = field(default=())


@dataclass(frozen=True, slots=True)
class Tally:
    """How the votes stand: ``needed`` of ``total`` have to say yes; ``odd`` said neither true nor false."""

    yes: int
    no: int
    odd: int
    total: int
    needed: int

    def __str__(self) -> str:
        silent = self.total - self.yes - self.no - self.odd
        more = f", {silent} have said nothing" if silent else ""
        more += f", {self.odd} said neither true nor false" if self.odd else ""
        return f"{self.yes} of {self.total} servers said true, {self.needed} have to{more}"


def read_vote(vote: VoteCondition, votes: Votes) -> RawReading:
    """What the servers say now."""
    electing = [m for m in votes.members if vote.member in (None, m.name)]
    if not electing:
        message = f"the group has no member {vote.member}; correct vote.member, or leave it out"
        return RawReading("Unknown", "NoSuchMember", message)
    electing = [m for m in electing if m.outputs is None or vote.output in m.outputs]
    if not electing:
        message = f"no configuration of its members declares the output {vote.output}; add it, or correct vote.output"
        return RawReading("Unknown", "OutputUndeclared", message)
    sensitive = [m.name for m in electing if m.outputs is not None and m.outputs[vote.output]]
    if sensitive:
        message = (
            f"the output {vote.output} of member {sensitive[0]} is sensitive: votes are shown; take another output"
        )
        return RawReading("Unknown", "OutputSensitive", message)
    if not votes.placed:
        return RawReading("Unmet", NO_SERVERS, "the group is not placed, so it has no servers that could vote")
    return _outcome(count(vote, electing, votes.voters))


def count(vote: VoteCondition, electing: Iterable[Constituency], voters: Iterable[Voter]) -> Tally:
    """Count the votes of the servers of those members."""
    members = {m.name: m.replicas for m in electing}
    said = [_said(v.outputs.get(vote.output)) for v in voters if v.member in members]
    total = max(len(said), sum(members.values())) if vote.of == "Desired" else len(said)
    return Tally(
        yes=said.count("true"),
        no=said.count("false"),
        odd=said.count("odd"),
        total=total,
        needed=max(1, -(-vote.share * total // 100)),
    )


def _said(output: OutputState | None) -> str:
    """An output that could not be read again has an old value, which is no vote."""
    if output is None or output.error is not None or (output.value is None and not output.in_secret):
        return ""
    value = (output.value or "").strip()
    return value if value in {"true", "false"} else "odd"


def _outcome(tally: Tally) -> RawReading:
    if tally.total == 0:
        return RawReading("Unknown", "VotesMissing", "no server runs that could vote")
    if tally.yes >= tally.needed:
        return RawReading("Met", "VotedFor", str(tally))
    if tally.total - tally.no < tally.needed:
        return RawReading("Unmet", "VotedAgainst", str(tally))
    return RawReading("Unknown", "VotesMissing", str(tally))


def calmed(vote: VoteCondition, settled: Settled, previous: Reading | None, now: datetime) -> Settled:
    """The reading that stays as it was until it has been so for `calm`: the least time between two changes.

    Nothing is kept of a time without servers, nor against a condition that is wrong itself.
    """
    reading = settled.reading
    if previous is None or previous.value in {"Unknown", reading.value} or reading.reason in WRONG_VOTE | {NO_SERVERS}:
        return settled
    until = previous.since + vote.calm
    if previous.since > now:
        return settled
    if until <= now:
        # It was due earlier perhaps, but became so no sooner than it might: the next calm counts from there.
        late = reading.model_copy(update={"since": max(reading.since, until.replace(microsecond=0))})
        return Settled(late, settled.next_check)
    kept = reading.model_copy(
        update={
            "value": previous.value,
            "reason": "Calm",
            "message": f"{previous.value.lower()} until {spell(until)} at least, now {reading.message}"[:1024],
            "since": previous.since,
            # What `holdFor` counts from; it must not begin anew when the calm is over.
            "last_true": reading.last_true or previous.last_true,
        }
    )
    return Settled(kept, earliest(settled.next_check, until))
