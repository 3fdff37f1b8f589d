"""Items as status shows them, and the conditions that follow: what each item waits for, since when."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from moorage.api.conditions import Reason as ConditionReason
from moorage.api.servergroup import PendingItem
from moorage.api.virtualserver import ItemState, ItemStatus
from moorage.core.configuration.record import DeliveryRecord
from moorage.core.configuration.resolve import ItemResolution, Resolution
from moorage.core.configuration.words import shorten

CONFIGURED = "Configured"


@dataclass(frozen=True, slots=True)
class Verdict:
    """What a condition says: whether it holds, one word why, and a message that names what is waited for."""

    holds: bool
    reason: str
    message: str


def item_states(
    resolution: Resolution,
    record: DeliveryRecord,
    delivered_revision: int,
    acknowledged_revision: int,
    previous: Iterable[ItemStatus],
    now: datetime,
) -> tuple[ItemStatus, ...]:
    """The items for status, by name. `since` moves to `now` (whole seconds) only where state or reason change.

    Revisions of an agent beyond the record's count as the record's: nothing newer was ever served.
    """
    before = {item.name: item for item in previous}
    delivered = min(delivered_revision, record.revision)
    acknowledged = min(acknowledged_revision, record.revision)
    return tuple(
        _status(item, record, delivered, acknowledged, before.get(name), now)
        for name, item in sorted(resolution.items.items())
    )


def configured(
    resolution: Resolution, states: Sequence[ItemStatus], record: DeliveryRecord, acknowledged_revision: int
) -> Verdict:
    """Whether a server has its configuration: the agent has applied a revision of the present configuration, and
    acknowledged every required item. Items that are not required hold nothing up."""
    required = {name for name, item in resolution.items.items() if item.required}
    waiting = [state for state in states if state.name in required and state.state != "Acknowledged"]
    pending = sorted((s for s in waiting if s.state == "Pending"), key=lambda s: (s.since, s.name))
    if pending:
        first = pending[0]
        message = f"item {first.name}: {first.message}, since {_instant(first.since)}{_more(pending)}"
        return Verdict(False, ConditionReason.PENDING, shorten(message))
    if record.revision < 1:
        return Verdict(False, ConditionReason.WAITING, "configuration has not begun to flow")
    if waiting:
        first = min(waiting, key=lambda s: (s.state != "Resolved", s.since, s.name))
        verb = "fetch" if first.state == "Resolved" else "apply"
        message = f"item {first.name}: waiting for the agent to {verb} revision {first.revision}"
        return Verdict(False, ConditionReason.WAITING, f"{message}, since {_instant(first.since)}{_more(waiting)}")
    if acknowledged_revision < record.controller_revision_since:
        message = f"waiting for the agent to apply revision {record.controller_revision_since}"
        return Verdict(False, ConditionReason.WAITING, message)
    optional = sum(state.state == "Pending" for state in states)
    note = f"; {optional} optional {'item is' if optional == 1 else 'items are'} pending" if optional else ""
    return Verdict(True, CONFIGURED, f"every required item is acknowledged{note}")


def pending_items(servers: Mapping[str, Iterable[ItemStatus]], limit: int = 20) -> tuple[tuple[PendingItem, ...], int]:
    """What the servers of a group wait for: the oldest `limit` items, and how many there are in all."""
    found = [
        PendingItem(server=server, item=state.name, waiting_for=state.message or state.source, since=state.since)
        for server, states in servers.items()
        for state in states
        if state.state == "Pending"
    ]
    found.sort(key=lambda item: (item.since, item.server, item.item))
    return tuple(found[:limit]), len(found)


def group_configured(servers: Mapping[str, Verdict], desired: int) -> Verdict:
    """Whether every server of a group is configured; names the first that is not, and what it waits for."""
    waiting = sorted(name for name, verdict in servers.items() if not verdict.holds)
    if waiting:
        first = servers[waiting[0]]
        more = f" (and {len(waiting) - 1} more)" if len(waiting) > 1 else ""
        return Verdict(False, first.reason, shorten(f"server {waiting[0]}: {first.message}{more}"))
    if len(servers) < desired:
        return Verdict(False, ConditionReason.PROGRESSING, f"{len(servers)} of {desired} servers exist")
    return Verdict(True, CONFIGURED, "every server has its configuration")


def _status(
    item: ItemResolution,
    record: DeliveryRecord,
    delivered: int,
    acknowledged: int,
    before: ItemStatus | None,
    now: datetime,
) -> ItemStatus:
    mark = record.items.get(item.name)
    revision = mark.revision if item.known and mark is not None else 0
    state: ItemState = _state(item, revision, delivered, acknowledged)
    same = before is not None and before.state == state and before.reason == item.reason
    return ItemStatus(
        name=item.name,
        state=state,
        source=item.source,
        since=before.since if before is not None and same else now.replace(microsecond=0),
        reason=item.reason,
        message=item.message,
        stale=item.stale,
        sensitive=item.sensitive,
        revision=revision,
    )


def _state(item: ItemResolution, revision: int, delivered: int, acknowledged: int) -> ItemState:
    if not item.known:
        return "Pending"
    if revision < 1 or revision > delivered:
        return "Resolved"
    return "Acknowledged" if revision <= acknowledged else "Delivered"


def _more(states: Sequence[ItemStatus]) -> str:
    return f" (and {len(states) - 1} more)" if len(states) > 1 else ""


def _instant(time: datetime) -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%SZ")
