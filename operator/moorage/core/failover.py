"""Whether a placed group has to leave its service: from what the API's objects say, never from what was not looked at.

The occasions are read off the service's status and the conditions of the group's servers, so that a restart changes
nothing. What only a person may allow is an annotation that names the very occasion it is for.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Final

from moorage.api.failover import Failover
from moorage.api.hostingpolicy import Verdict
from moorage.api.names import ANNOTATION_FAILOVER
from moorage.api.placement import FailedOver, FailoverOccasion, Placement
from moorage.api.quantities import format_duration
from moorage.api.servergroup import ServerGroup
from moorage.core.rollout import GroupServer
from moorage.core.timing import earliest

MAX_REMEMBERED: Final = 20
_NAMED: Final = 3


@dataclass(frozen=True, slots=True)
class Reach:
    """Whether the service that a group is on answers.

    ``known`` is false until this process itself has looked: what another one wrote may be long over.
    ``unreachable_since`` is None while it answers. ``doubt`` is why its word on the end of a server could not be taken
    now, "" where it could; ``looked`` is when its last complete inventory began.
    """

    known: bool = False
    unreachable_since: datetime | None = None
    message: str = ""
    doubt: str = ""
    looked: datetime | None = None


UNKNOWN: Final = Reach()


@dataclass(frozen=True, slots=True)
class Cause:
    """An occasion to fail over: a reason, a sentence, since when it has been so, and when that is long enough."""

    reason: str
    message: str
    since: datetime
    due: datetime


@dataclass(frozen=True, slots=True)
class Judgement:
    """What is to be said of failing over. ``go``: nothing is missing but another service; ``refuge`` is that one.

    Where there is a ``cause`` and it does not come to that, ``reason`` and ``message`` say what keeps it.
    ``newer_than``: what keeps it is that no complete inventory of the service began after that moment.
    """

    cause: Cause | None = None
    reason: str = ""
    message: str = ""
    wake_at: datetime | None = None
    go: bool = False
    refuge: Placement | None = None
    newer_than: datetime | None = None


NOTHING: Final = Judgement()


@dataclass(frozen=True, slots=True)
class Case:
    """A placed group, with all that is looked at. ``size`` is how many servers it has leave for."""

    group: ServerGroup
    placement: Placement
    spec: Failover
    policy: str
    verdict: Verdict
    reach: Reach
    servers: Sequence[GroupServer]
    size: int

    @property
    def current(self) -> list[GroupServer]:
        """The servers of the present placement that are there to stay."""
        return [s for s in self.servers if s.placement == self.placement.number and not s.deleting]


def judge(case: Case, now: datetime) -> Judgement:
    """Whether an occasion is due, and what keeps the group from leaving; the same case gives the same answer."""
    cause, wake_at = find_cause(case, now)
    if cause is None:
        return Judgement(wake_at=wake_at)
    held = _held(case, cause)
    if held is not None:
        reason, message = held
        awaited = cause.due if reason == "InventoryAwaited" else None
        return Judgement(cause, reason, f"{cause.message}; {message}", wake_at, newer_than=awaited)
    return Judgement(cause, wake_at=wake_at, go=True)


def find_cause(case: Case, now: datetime) -> tuple[Cause | None, datetime | None]:
    """The occasion that is due, that the service cannot be reached first; or None, and when the next one may be."""
    due: list[datetime] = []
    for cause in (_unreachable(case), _unhealthy(case)):
        if cause is None:
            continue
        if now >= cause.due:
            return cause, None
        due.append(cause.due)
    return None, earliest(*due)


def _unreachable(case: Case) -> Cause | None:
    limit, since, name = case.spec.when.unreachable_for, case.reach.unreachable_since, case.placement.service
    if limit is None or since is None or not case.reach.known:
        return None
    message = f"{name} has not answered since {_at(since)}, more than {format_duration(limit)} ago"
    message = f"{message} ({case.reach.message})" if case.reach.message else message
    return Cause("ServiceUnreachable", message, since, since + limit)


def _unhealthy(case: Case) -> Cause | None:
    share, limit = case.spec.when.unhealthy_share, case.spec.when.unhealthy_for
    if share is None or limit is None:
        return None
    ill = sorted(
        (s.unhealthy_since, s.name) for s in case.current if s.unhealthy_since is not None and s.failed is None
    )
    total = max(case.size, len(case.current))
    needed = max(1, share.of(total, round_up=True))
    if len(ill) < needed:
        return None
    since = ill[needed - 1][0]
    names = ", ".join(sorted(name for _, name in ill)[:_NAMED])
    more = f" and {len(ill) - _NAMED} more" if len(ill) > _NAMED else ""
    message = (
        f"{len(ill)} of {total} servers are unhealthy ({names}{more}), {needed} of them since {_at(since)} or longer, "
        f"more than {format_duration(limit)} ago (unhealthyShare: {share})"
    )
    return Cause("ServersUnhealthy", message, _still(case, "ServersUnhealthy") or since, since + limit)


def _still(case: Case, reason: str) -> datetime | None:
    """Since when the same occasion has been told: one server that is well for a moment makes no other one of it, and
    what a person said of it holds as long as it is due without a break."""
    told = case.group.status.failover
    return told.since if told is not None and (told.placement, told.reason) == (case.placement.number, reason) else None


def _held(case: Case, cause: Cause) -> tuple[str, str] | None:
    """The first thing that keeps the group where it is, with what can be done about it."""
    spec, name = case.spec, case.placement.service
    before = [s for s in case.servers if s.placement != case.placement.number]
    if before:
        told = f"{len(before)} servers of an earlier placement are still there ({remaining(before)})"
        return (
            "EarlierServersRemain",
            f"{told}, and a group has never more than two generations: it stays until they go",
        )
    if case.verdict != "Met":
        return f"Policy{case.verdict}", f"it stays while policy {case.policy} is {case.verdict.lower()}"
    if spec.action == "Wait":
        return (
            "FailoverWaits",
            f"policy {case.policy} says failover.action: Wait, so nothing is done; Rebuild or Ask would",
        )
    if case.group.spec.deletion_protection and spec.overlap == "Forbidden":
        return "DeletionProtected", (
            "deletionProtection keeps its servers: to have it made anew elsewhere, set spec.deletionProtection to "
            f"false, or failover.overlap: Allowed in policy {case.policy}"
        )
    if spec.overlap == "Forbidden" and (unconfirmed := _unconfirmed(case, cause)) is not None:
        return unconfirmed
    if spec.action == "Ask" and not approved(case.group, case.placement, cause):
        return "FailoverNotApproved", (
            f"a person decides whether it leaves {name}: moorage failover {case.group.metadata.name} "
            f"--namespace {case.group.metadata.namespace}{_misread(case.group)}"
        )
    return None


def _unconfirmed(case: Case, cause: Cause) -> tuple[str, str] | None:
    """Why no server's end could be confirmed now: to give any up would leave the group with none, here or elsewhere."""
    reach, name = case.reach, case.placement.service
    first = "nothing is made elsewhere before its servers are confirmed gone"
    if not reach.known or reach.unreachable_since is not None:
        why = "cannot be reached" if reach.known else "was not looked at yet"
        return "OverlapForbidden", (
            f"{first}, and {name} {why}: it stays until {name} answers; "
            f"set failover.overlap: Allowed in policy {case.policy} to have it made anew meanwhile"
        )
    if reach.doubt:
        return "OverlapForbidden", (
            f"{first}, and {name} could confirm none now ({reach.doubt}): it stays until that is mended; "
            f"set failover.overlap: Allowed in policy {case.policy} to have it made anew meanwhile"
        )
    if reach.looked is None or reach.looked <= cause.due:
        return "InventoryAwaited", (
            f"{first}, and whether {name} still tells what is there, an inventory shows that begins after "
            f"{_at(cause.due)}: it is being taken"
        )
    return None


# What a person says


_BY: Final = " by "
MAX_NAME: Final = 128


def order(placement: int, since: datetime, by: str = "") -> str:
    """The value of the annotation that lets the group leave, for exactly this occasion; ``by`` is who says so."""
    name = _printable(by)
    return f"{placement}@{_at(since)}{_BY if name else ''}{name}"


def approved(group: ServerGroup, placement: Placement, cause: Cause) -> bool:
    """Whether a person has said so for this placement and this occasion; of an earlier one it says nothing."""
    text = group.metadata.annotations.get(ANNOTATION_FAILOVER, "")
    return text.partition(_BY)[0] == order(placement.number, cause.since)


def asked_by(group: ServerGroup, spec: Failover) -> str:
    """Who let the group leave, by their own account, where a person was asked; "" where nobody is named."""
    if spec.action != "Ask":
        return ""
    return _printable(group.metadata.annotations.get(ANNOTATION_FAILOVER, "").partition(_BY)[2])


def _printable(name: str) -> str:
    return " ".join("".join(c if c.isprintable() else " " for c in name[:MAX_NAME]).split())


def _misread(group: ServerGroup) -> str:
    text = group.metadata.annotations.get(ANNOTATION_FAILOVER)
    return "" if text is None else f" (the annotation {ANNOTATION_FAILOVER} that is there is for another occasion)"


# What is remembered


def entry(placement: Placement, cause: Cause, spec: Failover, now: datetime) -> FailedOver:
    """That the group left: it does not go back there for a while."""
    until = now.replace(microsecond=0) + spec.avoid_for
    return FailedOver(
        service=placement.service,
        service_uid=placement.service_uid,
        placement=placement.number,
        reason=cause.reason,
        message=cause.message[:256],
        until=until,
    )


def kept(entries: Iterable[FailedOver], servers: Iterable[GroupServer], now: datetime) -> tuple[FailedOver, ...]:
    """Those that still hold, the newest 20: for their time, and while servers of what was left are there. That these
    are what a failover left is no less so, and protects them no less, for how long they take to go."""
    there = {s.placement for s in servers}
    held = (e for e in entries if e.until > now or e.placement in there)
    return tuple(sorted(held, key=lambda e: e.placement))[-MAX_REMEMBERED:]


def avoided(entries: Iterable[FailedOver], placement: Placement | None, now: datetime) -> Mapping[str, str]:
    """Why services are not chosen, by uid: those that were left of late, and the one that is to be left."""
    found = {
        e.service_uid: f"the group failed over from it ({e.message}); not chosen again before {_at(e.until)}"
        for e in entries
        if e.until > now
    }
    if placement is not None:
        found[placement.service_uid] = "the group is to leave it"
    return found


def occasion(judgement: Judgement, placement: Placement | None) -> FailoverOccasion | None:
    """The occasion that is due, as status tells it."""
    if judgement.cause is None or placement is None:
        return None
    return FailoverOccasion(
        placement=placement.number, reason=judgement.cause.reason, since=judgement.cause.since.replace(microsecond=0)
    )


def without_refuge(judgement: Judgement, why: str) -> Judgement:
    """There is nowhere to go."""
    message = f"{judgement.cause.message if judgement.cause else ''}; it stays, for {why}"
    return replace(judgement, reason="NoCandidate", message=message)


def remaining(servers: Sequence[GroupServer]) -> str:
    """Servers that are to go, with what each waits for."""
    told = [f"{s.name} on {s.service}{f': {s.message}' if s.message else ''}" for s in sorted(servers, key=_by_name)]
    more = f" and {len(told) - _NAMED} more" if len(told) > _NAMED else ""
    return ", ".join(told[:_NAMED]) + more


def _by_name(server: GroupServer) -> str:
    return server.name


def _at(moment: datetime) -> str:
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
