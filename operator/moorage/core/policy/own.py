"""Conditions that are each group's own, approvals and votes: read in the group's reconcile, kept in its status."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Final

from moorage.api.hostingpolicy import MAX_CONDITIONS, PolicyCondition, Reading, When
from moorage.api.meta import ObjectMeta
from moorage.api.servergroup import PolicyState
from moorage.core.policy.approval import read_approval
from moorage.core.policy.faults import structural_faults
from moorage.core.policy.hysteresis import PENDING_ANEW, Settled, settle
from moorage.core.policy.question import marked, question_of, remembered
from moorage.core.policy.readings import RawReading
from moorage.core.policy.verdict import All, AnyOf, Node, Not, decide, tree
from moorage.core.policy.vote import NO_SERVERS, Votes, calmed, read_vote
from moorage.core.timing import earliest

DECIDED_BY_GROUPS: Final = "decided for each group"


@dataclass(frozen=True, slots=True)
class GroupFacts:
    """What a group's own conditions are read from."""

    meta: ObjectMeta
    votes: Votes = field(default_factory=lambda: Votes(placed=False))


@dataclass(frozen=True, slots=True)
class OwnReadings:
    """A group's own readings, and when one can change by itself (None: never)."""

    readings: tuple[Reading, ...] = ()
    next_check: datetime | None = None


def is_own(condition: PolicyCondition) -> bool:
    """Whether the condition is decided for each group rather than for all of them together."""
    return condition.approval is not None or condition.vote is not None


def own_conditions(when: When) -> tuple[PolicyCondition, ...]:
    """Those of the policy's conditions that are each group's own: one of each name, and no more than a status takes."""
    return tuple({c.name: c for c in when.conditions if is_own(c)}.values())[:MAX_CONDITIONS]


def read_own(when: When, facts: GroupFacts, previous: PolicyState | None, now: datetime, uid: str = "") -> OwnReadings:
    """Read the group's own conditions. ``previous`` is what its status says of a policy of this name, None of another
    one; ``uid`` is the policy's, which tells it from one of the same name before it."""
    before = {r.name: r for r in previous.readings} if previous is not None else {}
    faults = structural_faults(when)
    settled = []
    for condition in own_conditions(when):
        question = question_of(uid, condition)
        known = remembered(before.get(condition.name), question)
        settled.append(_settle(condition, facts, known, now, faults.get(condition.name), question))
    return OwnReadings(tuple(s.reading for s in settled), earliest(*(s.next_check for s in settled)))


def _settle(
    condition: PolicyCondition,
    facts: GroupFacts,
    previous: Reading | None,
    now: datetime,
    fault: RawReading | None,
    question: str,
) -> Settled:
    if fault is not None:
        return marked(settle(condition, fault, previous, now), question)
    if condition.approval is not None:
        # Held beyond its end, an approval would allow what was written after it.
        unheld = condition.model_copy(update={"hold_for": timedelta(0)})
        return marked(settle(unheld, read_approval(condition.approval, facts.meta, now), previous, now), question)
    vote = condition.vote
    assert vote is not None  # noqa: S101 - one of the two, see is_own
    raw = read_vote(vote, facts.votes)
    if previous is not None and (previous.reason == NO_SERVERS) != (raw.reason == NO_SERVERS):
        previous = None  # servers of another placement voted, or none did: their memory is not these servers'
    steadied = calmed(vote, settle(condition, raw, previous, now), previous, now)
    return _quiet(marked(steadied, question), previous)


def _quiet(settled: Settled, previous: Reading | None) -> Settled:
    """Numbers alone are no news: the message is that of when the outcome or its reason changed."""
    if previous is None:
        return settled
    same = settled.reading.model_copy(update={"message": previous.message})
    return Settled(same, settled.next_check) if same == previous else settled


def may_release(when: When, readings: Iterable[Reading]) -> bool:
    """Whether an unmet policy may take a placed group's servers away (`whenUnmet: Release`).

    An approval decides what may be made, never what is taken away: it counts as Unknown here, whatever it is for
    growth, and under a `not` as well. So does what is true and only waits for its `for`, where nobody has seen it
    false: after an edit of the question, its first answer would otherwise release what runs. What is unmet all the same
    is so because of others.
    """
    approvals = {c.name for c in when.conditions if c.approval is not None}

    def counts(reading: Reading) -> Reading:
        anew = reading.reason == PENDING_ANEW and reading.value == "Unmet"
        return reading.model_copy(update={"value": "Unknown"}) if anew or reading.name in approvals else reading

    counted = {r.name: counts(r) for r in readings}
    return decide(tree(when), counted).verdict == "Unmet"


def lacks_approval(when: When, own: Iterable[Reading]) -> bool:
    """Whether an approval that the policy asks for is not there."""
    approvals = {c.name for c in when.conditions if c.approval is not None}
    return any(r.name in approvals and r.value != "Met" for r in own)


def waits_for_servers(when: When, own: Iterable[Reading]) -> tuple[str, ...]:
    """The votes without which the policy cannot be met before it has placed the group: it never will."""
    votes = {r.name for r in own if r.reason == NO_SERVERS}
    if not votes or _can_be(tree(when), votes, met=True):
        return ()
    return tuple(c.name for c in when.conditions if c.name in votes)


def _can_be(node: Node, votes: set[str], *, met: bool) -> bool:
    """Whether something can make `node` met (or unmet), given that these votes stay unmet."""
    match node:
        case str():
            return not met or node not in votes
        case Not(part=part):
            return _can_be(part, votes, met=not met)
        case All(parts=parts):
            return (all if met else any)(_can_be(p, votes, met=met) for p in parts)
        case AnyOf(parts=parts):
            return (any if met else all)(_can_be(p, votes, met=met) for p in parts)


def shared_message(when: When, readings: Mapping[str, Reading]) -> str:
    """What the readings that groups share decide together, and what they leave to each group."""
    own = {c.name for c in own_conditions(when)}
    decided = decide(tree(when), readings)
    left = [name for name in decided.deciding if name in own]
    if decided.verdict != "Unknown" or not left:
        return decided.message
    others = [f"{n} was not read yet" for n in decided.deciding if n not in own and n not in readings]
    others += [f"{n} ({readings[n].message})" for n in decided.deciding if n in readings and n not in own]
    more = f"; unknown: {'; '.join(others)}" if others else ""
    return f"{DECIDED_BY_GROUPS}: {', '.join(left)}{more}"
