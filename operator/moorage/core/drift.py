"""Drift: what was changed of a server behind our back, and what is done about it.

A server of ours that stopped, has another offering, or lost its tags is told by the condition `Drifted`; with
`driftPolicy: Repair` it is started, resized, or tagged again, where the service can. One whose tags name another
owner, or say that it was released, is never taken back: its new owner may have configured it since. A server that is
gone is no drift to repair but a loss (`moorage.core.lifecycle`), and its group makes another one.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta

from moorage.api.servergroup import DriftPolicy
from moorage.core.evidence import still_paused
from moorage.core.facts import RELEASED, RepairTries, Seen, SeenState, ServerFacts, ServiceFacts
from moorage.core.rollout import GroupServer
from moorage.core.steps import Ask, Remedy, Repair, Wait

FIRST_PAUSE = 30.0
LAST_PAUSE = 600.0
"""Seconds until the same drift is repaired again: doubling from try to try up to this many."""
CALM = 1800.0
"""Seconds after which a repair is forgotten: what drifts again later starts with the shortest pause."""
LOOKS = (2.0, 30.0)
"""Seconds between two looks at what a repair has led to: growing with its age between these."""


@dataclass(frozen=True, slots=True)
class Drift:
    """One thing that is not as it should be; `remedy` is None where it is never undone."""

    reason: str
    message: str
    remedy: Remedy | None = None


def find_drifts(f: ServerFacts, seen: Seen | None) -> tuple[Drift, ...]:
    """What differs from what should be, the gravest first. Nothing is told of a server that is on its way out."""
    if seen is None or f.deleting_since is not None or seen.state is SeenState.TERMINATING:
        return ()
    found = [] if f.observes or f.provider_id is None else [_tags(f, seen)]
    if seen.state is SeenState.STOPPED and f.ran:
        found.append(Drift("Stopped", "it was stopped", Remedy.START))
    if f.offering is not None and seen.offering is not None and seen.offering != f.offering:
        found.append(Drift("Resized", f"its offering is {seen.offering} instead of {f.offering}", Remedy.RESIZE))
    return tuple(drift for drift in found if drift is not None)


def _tags(f: ServerFacts, seen: Seen) -> Drift | None:
    owner = seen.owner
    if owner == RELEASED:
        return Drift("Released", "its tags say that it was released, so it is not taken back: adopt it anew")
    if owner is not None and owner.endswith("/"):
        owner = None  # a tag that was emptied, where none can be taken off
    if owner is None and f.adopt_id is None and seen.key not in {None, f.identity.key}:
        return Drift("OwnerChanged", "it carries another server's key, so it is not taken back: look whose it is")
    if owner is None:
        return Drift("TagsChanged", "the tag moorage-server is gone", Remedy.RETAG)
    installation, _, server = owner.partition("/")
    ours, _, uid = f.identity.owner.partition("/")
    if server != uid or installation not in {"", ours}:
        return Drift("OwnerChanged", "its tags name another owner, so it is not taken back: restore them by hand")
    wrong = [
        name
        for name, is_right in (
            ("moorage-installation", installation == ours),
            ("moorage-namespace", seen.namespace == f.namespace),
            ("moorage-service", f.service is None or seen.service == f.service.uid),
        )
        if not is_right
    ]
    if not wrong:
        return None
    return Drift("TagsChanged", f"{' and '.join(wrong)} not as written by Moorage", Remedy.RETAG)


def cannot(service: ServiceFacts, remedy: Remedy) -> str:
    """Why the service cannot undo that kind of drift; "" where it can."""
    match remedy:
        case Remedy.START:
            return "" if service.can_power else f"{service.name} cannot start servers"
        case Remedy.RESIZE:
            return "" if service.can_resize else f"{service.name} cannot resize servers"
        case Remedy.RETAG:
            return "" if service.can_retag else f"{service.name} cannot write tags"


def pause_after(tries: int) -> float:
    """Seconds from the last of so many tries in a row to the next."""
    return min(FIRST_PAUSE * float(1 << min(max(tries, 1) - 1, 10)), LAST_PAUSE)


def is_remembered(tries: RepairTries | None, steady: float) -> bool:
    """Whether an earlier repair of the same kind still counts."""
    return tries is not None and steady < tries.at + CALM


def decide_repair(
    f: ServerFacts, service: ServiceFacts, seen: Seen | None, now: datetime
) -> Repair | Ask | Wait | None:
    """The next step against the drifts of a recorded server; None where nothing is to be done about any."""
    if not f.repairs or f.held or f.provider_id is None:
        return None
    drifts = [d for d in find_drifts(f, seen) if d.remedy is not None and not cannot(service, d.remedy)]
    if not drifts:
        return None
    due = {drift.reason: _due(f, drift) for drift in drifts}
    first = min(drifts, key=lambda drift: due[drift.reason])
    assert first.remedy is not None  # noqa: S101 - those without were left out
    if due[first.reason] <= f.steady:
        return still_paused(f.failure, now) or Repair(f.provider_id, first.remedy)
    return _follow(f, first, due[first.reason], now)


def _due(f: ServerFacts, drift: Drift) -> float:
    tries = f.tries.get(drift.reason)
    return f.steady if tries is None or not is_remembered(tries, f.steady) else tries.at + pause_after(tries.count)


def _follow(f: ServerFacts, drift: Drift, due: float, now: datetime) -> Ask | Wait:
    """Look whether the last repair has led to anything, until it is tried again."""
    assert f.provider_id is not None  # noqa: S101 - the caller has looked
    if (paused := still_paused(f.failure, now)) is not None:
        return paused
    age = f.steady - f.tries[drift.reason].at
    look = (f.lookup.steady if f.lookup is not None else f.steady) + min(max(LOOKS[0], age / 2), LOOKS[1])
    if f.lookup is None or look <= f.steady:
        return Ask(f.provider_id)
    until = now + timedelta(seconds=min(look, due) - f.steady, milliseconds=1)
    return Wait("Repairing", f"{drift.message}; this is being undone", until)


def handed_down(policy: DriftPolicy, servers: Iterable[GroupServer]) -> tuple[tuple[str, str], ...]:
    """Name and uid of each server of a group whose driftPolicy is not the group's."""
    wanted = policy == "Repair"
    return tuple(sorted((s.name, s.uid) for s in servers if s.repairs != wanted and not s.deleting))


def told(f: ServerFacts, drifts: tuple[Drift, ...]) -> tuple[str, str] | None:
    """Reason and message of the condition `Drifted`: what drifted, and what becomes of each."""
    if not drifts:
        return None
    parts = [
        f"{drift.message} ({treatment})" if (treatment := _treatment(f, drift)) else drift.message for drift in drifts
    ]
    return drifts[0].reason, "; ".join(parts)


def _treatment(f: ServerFacts, drift: Drift) -> str:
    if f.observes:
        return "only observed"
    if drift.remedy is None:
        return ""
    if not f.repairs:
        return "driftPolicy: Report"
    refusal = f.held or (cannot(f.service, drift.remedy) if f.service is not None else "")
    if refusal:
        return f"not repaired: {refusal}"
    tries = f.tries.get(drift.reason)
    if tries is None or not is_remembered(tries, f.steady):
        return "it is being repaired"
    times = "once" if tries.count == 1 else f"{tries.count} times in a row"
    return f"repaired {times}" if not tries.problem else f"tried {times}: {tries.problem}"
