"""Which servers of a member are made, replaced, revised and removed now.

Pure: the same wants and servers at the same time give the same plan, whatever happened before.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import Any

from moorage.api.servergroup import Remediation, UpdateStrategy
from moorage.core.exhaustion import Attempted
from moorage.core.timing import earliest
from moorage.core.zones import Zones, emptiest, zone_of

FAILURE_BACKOFF = timedelta(seconds=5)
FAILURE_BACKOFF_MAX = timedelta(minutes=5)


@dataclass(frozen=True, slots=True)
class Template:
    """What a server is made from: a change of any of it takes another server.

    ``interruptible``: it may be taken back at any time, and has the price for that. It follows from the rest.
    ``zones``: those of the service where there may be room; each server is made in one of them, by some of the
    ``zone_settings``.
    """

    image: str
    offering: str
    settings: Mapping[str, Any] = field(default_factory=dict)
    interruptible: bool = field(default=False, compare=False)
    zones: Zones = field(default_factory=dict, compare=False)
    zone_settings: frozenset[str] = field(default=frozenset(), compare=False)

    def own(self, settings: Mapping[str, Any]) -> Mapping[str, Any]:
        """A server's settings without those by which a zone was chosen for it: the ones that this does not name."""
        keys = {*self.zone_settings, *(key for added in self.zones.values() for key in added)}
        chosen = {key for key in keys if self.settings.get(key) is None}
        return {key: value for key, value in settings.items() if key not in chosen}

    def inside(self, zone: str) -> Template:
        """The same in one of its zones."""
        return replace(self, settings={**self.settings, **self.zones[zone]}, zones={})

    def tries(self, settings: Mapping[str, Any]) -> bool:
        """Whether a server of these settings is one that is made from it."""
        return (
            settings == self.settings
            if not self.zones
            else any(self.inside(z).settings == settings for z in self.zones)
        )


def same_but_for_zone(wanted: Template, made: Template) -> bool:
    """Whether a server is made from what is wanted. Its zone was chosen for it, unless the wanted settings name one."""
    return replace(wanted, settings=wanted.own(wanted.settings)) == replace(made, settings=wanted.own(made.settings))


@dataclass(frozen=True, slots=True)
class MemberWant:
    """What a member shall be: ``granted`` is how many servers it already had the policy's leave for.

    ``template`` is None where the chosen service cannot serve the configuration now (``problem`` says why): existing
    servers stay as they are then, and none is made. ``exhausted`` says why no room is expected for it, after all
    settings were tried: servers are tried again with the first, and spaced. ``instead`` says why ``template`` is not
    what comes first, which is ``first``; ``narrowed``, why its zones are not all that there are. ``allowed`` is how
    many servers the cost ceilings leave it (None: they do not bound it), ``offering`` of what, ``interruptible`` on
    which market of that.
    """

    name: str
    config: str
    replicas: int
    granted: int
    revision: str | None
    template: Template | None
    problem: tuple[str, str] | None = None
    failures: int = 0
    exhausted: str = ""
    instead: str = ""
    narrowed: str = ""
    first: Template | None = None
    allowed: int | None = None
    offering: str | None = None
    interruptible: bool = False

    @property
    def affordable(self) -> int:
        """How many servers it shall have, as far as the cost ceilings let it: never fewer than it had leave for."""
        return self.replicas if self.allowed is None else min(self.replicas, max(self.allowed, self.granted))

    def count(self, may_grow: bool) -> int:
        """How many servers it may have; ``may_grow`` is false while the policy is not met."""
        return self.affordable if may_grow else min(self.replicas, self.granted)


@dataclass(frozen=True, slots=True)
class GroupServer:
    """One VirtualServer as its group sees it.

    ``outdated``: its image, size or settings are no longer those of the configuration. ``failed`` is the reason of a
    terminal state, ``attempted`` what it was to be made from, where it found no room. ``repairs``: its driftPolicy is
    Repair. ``unhealthy_since``: since when it has been configured and yet not ready, or stopped. ``service`` is
    where it is, ``image`` and ``settings`` what its backend was told of it, ``zone`` where the service says that
    it is. ``tried_at`` is when the first attempt to make it was recorded, None while there was none.
    """

    name: str
    uid: str
    member: str
    ordinal: int
    placement: int
    revision: str | None
    retain: bool
    created: datetime
    tried_at: datetime | None = None
    deleting: bool = False
    outdated: bool = False
    adopted: bool = False
    repairs: bool = False
    instantiated: bool = False
    instantiated_at: datetime | None = None
    joined: bool = False
    configured: bool = False
    ready: bool = False
    unhealthy_since: datetime | None = None
    failed: str | None = None
    failed_at: datetime | None = None
    message: str = ""
    attempted: Attempted | None = None
    service: str = ""
    image: str = ""
    settings: Mapping[str, Any] = field(default_factory=dict)
    zone: str | None = None


@dataclass(frozen=True, slots=True)
class Creation:
    """A VirtualServer to post."""

    member: str
    ordinal: int
    template: Template
    revision: str


@dataclass(frozen=True, slots=True)
class Removal:
    """A VirtualServer to delete, and why."""

    name: str
    uid: str
    reason: str
    message: str


@dataclass(frozen=True, slots=True)
class Revision:
    """A VirtualServer that gets another revision in place."""

    name: str
    uid: str
    revision: str


@dataclass(frozen=True, slots=True)
class MemberPlan:
    """What is done for one member now, and when to look again at the latest."""

    creations: tuple[Creation, ...] = ()
    removals: tuple[Removal, ...] = ()
    revisions: tuple[Revision, ...] = ()
    wake_at: datetime | None = None
    failures: int = 0


@dataclass(frozen=True, slots=True)
class Sick:
    """A server that remediation would replace, with the reason, and since when."""

    server: GroupServer
    reason: str
    message: str
    since: datetime


def find_sick(
    servers: Sequence[GroupServer], remediation: Remediation, now: datetime
) -> tuple[tuple[Sick, ...], datetime | None]:
    """Servers past one of the time-outs, and when the next one may be."""
    sick: list[Sick] = []
    due: list[datetime] = []
    for server in sorted(servers, key=lambda s: s.name):
        if server.deleting or server.failed is not None:
            continue
        found = _sickness(server, remediation, now)
        if found is None:
            continue
        at, reason, message = found
        if now >= at:
            sick.append(Sick(server, reason, message, at))
        else:
            due.append(at)
    return tuple(sick), earliest(*due)


def _sickness(server: GroupServer, remediation: Remediation, now: datetime) -> tuple[datetime, str, str] | None:
    if not server.instantiated:
        # One that was never asked for is held (its group was suspended, a limit is reached), and not late. Nothing
        # tells of the first attempt: the next look is in time for one that is made right after this one.
        limit, start = remediation.boot_timeout, server.tried_at or now
        return start + limit, "BootTimeout", f"{server.name} did not run within {_seconds(limit)}"
    if server.adopted:
        return None
    if not server.joined:
        limit, start = remediation.join_timeout, server.instantiated_at or server.created
        return start + limit, "JoinTimeout", f"the agent of {server.name} did not join within {_seconds(limit)}"
    if server.unhealthy_since is not None:
        limit = remediation.unhealthy_for
        return server.unhealthy_since + limit, "Unhealthy", f"{server.name} was not ready for {_seconds(limit)}"
    return None


def _seconds(limit: timedelta) -> str:
    return f"{limit.total_seconds():g} s"


def remediation_allowed(sick: int, total: int, remediation: Remediation) -> bool:
    """Whether so few servers are sick that replacing them is likely to help."""
    return sick <= remediation.max_unhealthy.of(total, round_up=True)


def plan_member(
    want: MemberWant,
    servers: Sequence[GroupServer],
    strategy: UpdateStrategy,
    sick: Mapping[str, Sick],
    *,
    placement: int,
    may_grow: bool,
    now: datetime,
) -> MemberPlan:
    """The next changes of one member. ``servers`` are all VirtualServers of the member, deleted ones included.

    ``sick`` holds, by uid, the servers that remediation gives up; ``may_grow`` is false while the policy is not met.
    """
    count = want.count(may_grow)
    mine = [s for s in servers if s.placement == placement and s.ordinal < count]
    there = sum(not s.deleting and s.placement == placement for s in servers)
    removals = [
        Removal(s.name, s.uid, "ScaledDown", f"member {want.name}: {there} -> {count} servers")
        for s in servers
        if not s.deleting and (s.placement != placement or s.ordinal >= count)
    ]
    failed, wake_failed = _give_up(want, mine, sick, now)
    removals += failed
    leaving = {r.uid for r in failed} | {s.uid for s in mine if s.deleting}
    staying = [s for s in mine if s.uid not in leaving]
    replaced, revised = _roll(want, staying, strategy, count)
    creations = _creations(want, {s.ordinal for s in servers if s.placement == placement}, staying, count)
    recovered = len(mine) == count and all(s.instantiated for s in mine)
    never = {s.uid for s in mine if _never_ran(s)}
    failures = sum(r.uid in never and r.reason in {"CreateFailed", "Lost"} for r in failed)
    return MemberPlan(
        creations=creations,
        removals=tuple(sorted([*removals, *replaced], key=lambda r: r.name)),
        revisions=revised,
        wake_at=wake_failed,
        failures=0 if recovered else want.failures + failures,
    )


def _creations(want: MemberWant, taken: set[int], staying: Sequence[GroupServer], count: int) -> tuple[Creation, ...]:
    """The servers that are not there, each in the zone with the fewest of those that stay."""
    if want.template is None or want.revision is None:
        return ()
    missing, template = [o for o in range(count) if o not in taken], want.template
    if not template.zones:
        return tuple(Creation(want.name, o, template, want.revision) for o in missing)
    there = [zone_of(s.settings, template.zones) or s.zone for s in staying if s.failed is None]
    beside = Counter(zone for zone in there if zone is not None)
    found: list[Creation] = []
    for ordinal in missing:
        zone = emptiest(template.zones, ordinal, beside)
        beside[zone] += 1
        found.append(Creation(want.name, ordinal, template.inside(zone), want.revision))
    return tuple(found)


def _give_up(
    want: MemberWant, servers: Sequence[GroupServer], sick: Mapping[str, Sick], now: datetime
) -> tuple[list[Removal], datetime | None]:
    """Servers that ended or are given up. One that could not be made stays a while, so that tries are spaced."""
    removals: list[Removal] = []
    due: list[datetime] = []
    for server in servers:
        if server.deleting:
            continue
        if (following := _next(server, want)) is not None:
            reason, what = following
            message = f"{server.message}; {what} tried next"
            removals.append(Removal(server.name, server.uid, reason, message))
        elif _never_ran(server):
            # One that was made and never appeared counts, too: what takes it away takes the next one as well.
            at = (server.failed_at or server.created) + failure_backoff(want.failures)
            if now >= at:
                reason = "Lost" if server.failed == "Lost" else "CreateFailed"
                removals.append(Removal(server.name, server.uid, reason, server.message))
            else:
                due.append(at)
        elif server.failed is not None:
            removals.append(Removal(server.name, server.uid, server.failed, server.message))
        elif server.uid in sick:
            ill = sick[server.uid]
            removals.append(Removal(server.name, server.uid, ill.reason, ill.message))
    return removals, earliest(*due)


def _never_ran(server: GroupServer) -> bool:
    return server.failed is not None and not server.instantiated


def _next(server: GroupServer, want: MemberWant) -> tuple[str, str] | None:
    """What is tried after a server that found no room, as a reason and in words; None where there is nothing."""
    if server.attempted is None or want.template is None or want.exhausted:
        return None
    tried, template = server.attempted, want.template
    if tried.offering != template.offering:
        return "NextOffering", f"offering {template.offering} is"
    if template.tries(tried.settings):
        return None
    if template.own(tried.settings) == template.own(template.settings):
        return "NextZone", f"{' or '.join(template.zones)} is"
    return "NextSettings", "other settings are"


def failure_backoff(failures: int) -> timedelta:
    """How long a server that could not be made stays before the next try: doubling, at most five minutes."""
    return min(FAILURE_BACKOFF * (1 << min(failures, 10)), FAILURE_BACKOFF_MAX)


def _roll(
    want: MemberWant, servers: Sequence[GroupServer], strategy: UpdateStrategy, count: int
) -> tuple[list[Removal], tuple[Revision, ...]]:
    """Paced changes: servers that are not ready change first and cost nothing, ready ones within maxUnavailable."""
    if strategy.type == "OnDelete" or want.revision is None or want.template is None:
        return [], ()
    behind = [s for s in servers if s.outdated or s.revision != want.revision]
    ready = sum(s.ready for s in servers)
    allowed = max(1, strategy.max_unavailable.of(count, round_up=False))
    budget = len(behind) if strategy.type == "Recreate" else max(0, allowed - (count - ready))
    removals: list[Removal] = []
    revisions: list[Revision] = []
    for server in sorted(behind, key=lambda s: (s.ready, -s.ordinal)):
        if server.ready:
            if budget == 0:
                continue
            budget -= 1
        if server.outdated:
            message = f"image, size or settings of {want.config} changed"
            removals.append(Removal(server.name, server.uid, "Replaced", message))
        else:
            revisions.append(Revision(server.name, server.uid, want.revision))
    return removals, tuple(revisions)


def waves(
    removals: Sequence[Removal], member_of: Mapping[str, str], dependents: Mapping[str, Collection[str]]
) -> list[list[Removal]]:
    """The removals in the order in which they are to be asked for: dependents before what they depend on.

    ``member_of`` gives the member of a server's uid, ``dependents`` the members that go before a member's servers.
    Members that wait for each other (which ``dependents`` should not hold) go together at the end.
    """
    left: dict[str, list[Removal]] = {}
    for removal in sorted(removals, key=lambda r: r.name):
        left.setdefault(member_of.get(removal.uid, ""), []).append(removal)
    found: list[list[Removal]] = []
    while left:
        free = [m for m in left if not any(d in left and d != m for d in dependents.get(m, ()))] or list(left)
        found.append([removal for member in free for removal in left.pop(member)])
    return found
