"""What a change of a status is worth telling a person who does not look: from two statuses to Events.

Only what calls for a look, or ends that: a reason that changes within the same truth is no news, except where it is one
of those that nothing but a person ends.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final, Literal

from moorage.api import conditions as c
from moorage.api.placement import Placement
from moorage.core.rollout import Removal

MAX_NAMED: Final = 5

OWN_DOING: Final = frozenset({"GroupDeleted", "ScaledDown", "Released", "Moved", "FailedOver", "MemberRemoved"})
"""Reasons of removals that concern the group's servers together: told once a wave and not once a server."""

Told = Mapping[str, Any]
"""A condition or a reading, as the API server has it."""

FOR_A_PERSON: Final = frozenset({"ScopeChanged", "OvershootFreeze"})
"""Why a service is not available that only a person, or the service itself, ends: nothing is decided there."""

ASKED_FOR: Final = frozenset({"Booting", "Deleting", "PolicyUnmet", "Progressing", "Releasing", "Suspended"})
"""Why a group is not ready any more that somebody asked for, by scaling it, say; a lost server is told by itself."""

NOT_READ_YET: Final = "NotReadYet"


@dataclass(frozen=True, slots=True)
class News:
    """One Event to be recorded."""

    type: Literal["Normal", "Warning"]
    reason: str
    message: str


def group_news(old: Iterable[Told], new: Iterable[Told]) -> Iterator[News]:
    """What the conditions of a ServerGroup tell that they did not tell before."""
    before, after = _by_type(old), _by_type(new)
    known, ready = before.get(c.READY), after.get(c.READY)
    if ready is not None and _changed(known, ready):
        if ready["status"] == "True":
            yield News("Normal", "Ready", ready["message"])
        elif known is not None and known["status"] == "True":
            kind: Literal["Normal", "Warning"] = "Normal" if ready["reason"] in ASKED_FOR else "Warning"
            yield News(kind, "NotReady", f"not ready any more: {ready['reason']}: {ready['message']}")
    for type_ in (c.STALLED, c.FAILOVER_PENDING):
        found = after.get(type_)
        if found is not None and found["status"] == "True" and _changed(before.get(type_), found):
            over = found["reason"] == "EarlierServersRemain"
            yield News("Normal" if over else "Warning", found["reason"], found["message"])


def removal_news(removals: Iterable[Removal]) -> Iterator[News]:
    """Which servers begin to go together, and why; those that are replaced one by one are told one by one."""
    together: dict[tuple[str, str], list[str]] = {}
    for removal in removals:
        if removal.reason in OWN_DOING:
            together.setdefault((removal.reason, removal.message), []).append(removal.name)
    for (reason, message), names in together.items():
        more = f" and {len(names) - MAX_NAMED} more" if len(names) > MAX_NAMED else ""
        servers = "1 server is" if len(names) == 1 else f"{len(names)} servers are"
        told = f"{message}; {servers} removed: {', '.join(sorted(names)[:MAX_NAMED])}{more}"
        yield News("Warning" if reason == "Released" else "Normal", reason, told)


def compared(placement: Placement) -> str:
    """The services that a placement was chosen among, in one line: their scores, or why they could not take it."""
    told = [
        f"{c.service} ({'; '.join([*([f'score {c.score:g}'] if c.score is not None else []), *c.reasons])})"
        for c in placement.candidates
    ]
    return ", ".join([*told, *(f"{number} more: {reason}" for reason, number in placement.rejected.items())]) or "none"


def service_news(old: Iterable[Told], new: Iterable[Told]) -> Iterator[News]:
    """What the conditions of a HostingService tell that they did not tell before."""
    known, found = _by_type(old).get(c.AVAILABLE), _by_type(new).get(c.AVAILABLE)
    if found is None or not _changed(known, found):
        return
    was = known is not None and known["status"] == "True"
    if found["status"] == "True":
        if not was:
            yield News("Normal", "Available", found["message"])
    elif was or found["reason"] in FOR_A_PERSON:
        yield News("Warning", found["reason"], found["message"])


def policy_news(old: Iterable[Told], new: Iterable[Told]) -> Iterator[News]:
    """Which readings of a HostingPolicy became unknown, or are known again: while one is, it decides nothing."""
    before = {reading["name"]: reading for reading in old}
    for reading in new:
        known = before.get(reading["name"])
        if known is None or known["value"] == reading["value"]:
            continue
        told = f"condition {reading['name']}: {reading['reason']}: {reading.get('message', '')}"
        if reading["value"] == "Unknown" and reading["reason"] != NOT_READ_YET:
            yield News("Warning", "ConditionUnknown", told)
        elif known["value"] == "Unknown" and known["reason"] != NOT_READ_YET:
            yield News("Normal", "ConditionKnown", told)


def changed_readings(old: Iterable[Told], new: Iterable[Told]) -> Iterator[str]:
    """A line for each reading whose truth or reason changed, and for each approval given: who, until when and why."""
    before = {reading["name"]: reading for reading in old}
    for reading in new:
        known = before.get(reading["name"])
        parts = ("value", "reason", "message") if reading["reason"] == "Approved" else ("value", "reason")
        if known is None or any(known.get(part) != reading.get(part) for part in parts):
            was = "not read" if known is None else known["value"]
            message = reading.get("message", "")
            yield f"condition {reading['name']}: {was} -> {reading['value']} ({reading['reason']}): {message}"


def _by_type(conditions: Iterable[Told]) -> dict[str, Told]:
    return {condition["type"]: condition for condition in conditions}


def _changed(known: Told | None, found: Told) -> bool:
    return known is None or (known["status"], known["reason"]) != (found["status"], found["reason"])
