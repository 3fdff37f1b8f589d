"""What became of servers on a service within the last day: how long they took to run, and which could not be made.

The newest outcomes stand in the service's status, one for each VirtualServer: taking the same one twice changes
nothing, so that it does not matter who saw it, nor how often.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime, timedelta
from statistics import median
from typing import Any, Final

from moorage.api.hostingservice import Measured, Outcome
from moorage.core.exhaustion import NO_ROOM

WITHIN: Final = timedelta(days=1)
KEPT: Final = 50
ENOUGH: Final = 3
"""How many outcomes tell anything."""


def outcome_of(obj: dict[str, Any], tried_at: datetime | None, boot_timeout: timedelta | None) -> Outcome | None:
    """The outcome of a VirtualServer, from the object as the API server has it; None while there is none.

    It runs, it found no room, or it is given up since it did not run within ``boot_timeout`` of the first attempt to
    make it, ``tried_at`` (None: there was none). What is wrong with the request itself says nothing about the service,
    nor does the time for which a server was held before it was asked for.
    """
    spec, meta = obj["spec"], obj["metadata"]
    if spec.get("adopt"):
        return None
    found = {c["type"]: c for c in (obj.get("status") or {}).get("conditions") or ()}
    runs, stalled = found.get("Instantiated"), found.get("Stalled")
    if runs is not None and runs["status"] == "True":
        at = datetime.fromisoformat(runs["lastTransitionTime"])
        start = tried_at or datetime.fromisoformat(meta["creationTimestamp"])
        return Outcome(server=meta["uid"], at=at, seconds=max(0, int((at - start).total_seconds())))
    if stalled is not None and stalled["status"] == "True" and stalled.get("reason") in NO_ROOM:
        at = datetime.fromisoformat(stalled["lastTransitionTime"])
        return Outcome(server=meta["uid"], at=at, failed=stalled["reason"])
    deleted = meta.get("deletionTimestamp")
    if deleted and boot_timeout is not None and tried_at is not None:
        at = datetime.fromisoformat(deleted)
        if at - tried_at >= boot_timeout:
            return Outcome(server=meta["uid"], at=at, failed="BootTimeout")
    return None


def merged(known: Iterable[Outcome], seen: Iterable[Outcome], now: datetime) -> tuple[Outcome, ...]:
    """The newest outcomes of the last day, oldest first; of one server the first that was known stays."""
    found = {outcome.server: outcome for outcome in (*seen, *known)}
    recent = sorted((o for o in found.values() if o.at > now - WITHIN), key=lambda o: (o.at, o.server))
    return tuple(recent[-KEPT:])


def measured(outcomes: Iterable[Outcome]) -> Measured | None:
    """What the outcomes say together; None where they are too few."""
    every = list(outcomes)
    if len(every) < ENOUGH:
        return None
    times = [o.seconds for o in every if o.seconds is not None]
    return Measured(
        servers=len(every),
        boot_seconds=float(median(times)) if len(times) >= ENOUGH else None,
        failure_rate=round(sum(o.failed is not None for o in every) / len(every), 3),
    )
