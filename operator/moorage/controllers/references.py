"""What a group refers to by name: its policy and its members' configurations, and what is wrong with each."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime

from moorage.api.hostingpolicy import HostingPolicy, Reading
from moorage.api.meta import NameRef
from moorage.api.servergroup import Member, ServerGroup
from moorage.api.virtualserverconfig import VirtualServerConfig
from moorage.controllers.derived import Derived
from moorage.controllers.tables import Tables
from moorage.core.group import PolicyView, granted
from moorage.core.obstacles import Obstacle, absent
from moorage.core.placement import invalid_expressions
from moorage.core.policy import (
    GroupFacts,
    Votes,
    group_verdict,
    lacks_approval,
    may_release,
    never_met,
    own_conditions,
    read_own,
    waits_for_servers,
    why_never_met,
)
from moorage.core.policy.hysteresis import MESSAGE_LENGTH
from moorage.core.policy.required import with_required_approval
from moorage.core.problems import joined
from moorage.core.template import did_you_mean
from moorage.core.timing import earliest
from moorage.kube.errors import InvalidObject
from moorage.kube.store import Obj

REMEMBERED = 1000
"""Groups that miss something, beyond which those that are gone are forgotten."""
COMPARED_NAMES = 500
"""With how many names one that does not exist is compared."""


@dataclass(frozen=True, slots=True)
class MemberConfig:
    """A member with its configuration, or why it has none."""

    member: Member
    config: VirtualServerConfig | None
    problem: Obstacle | None = None


@dataclass(frozen=True, slots=True)
class GroupPolicy:
    """A group's policy, what it says of the group, and what is wrong with it."""

    policy: HostingPolicy | None
    view: PolicyView
    problem: Obstacle | None = None


class References:
    """Follows names within a namespace, from caches alone."""

    def __init__(self, tables: Tables, derived: Derived) -> None:
        self._tables = tables
        self._derived = derived
        self._missed: dict[str, dict[tuple[str, str], datetime]] = {}

    def policy(self, group: ServerGroup, now: datetime, votes: Callable[[], Votes]) -> GroupPolicy:
        """The group's policy, with the verdict for the group; readings of an older generation of it say nothing.

        ``votes`` is asked only where the policy has the group's servers vote.
        """
        name, namespace = group.spec.policy_ref.name, group.metadata.namespace
        try:
            policy = self._tables.policies.parsed(namespace, name)
        except InvalidObject as error:
            message = f"HostingPolicy {name!r} exists but cannot be read: {error}; correct it"
            return _unusable(name, Obstacle("PolicyInvalid", message, stalled=True))
        if policy is None or policy.metadata.deleting:
            similar = _similar(name, self._tables.policies.by_index("namespace", namespace))
            message = f"there is no HostingPolicy {name!r}{similar}; create it or change policyRef"
            if policy is not None:
                message = (
                    f"HostingPolicy {name!r} is being deleted; create it again once it is gone, or change policyRef"
                )
            return _unusable(name, self._absent("PolicyNotFound", name, message, group, now))
        self._found(group, ("PolicyNotFound", name))
        current = policy.status.observed_generation == policy.metadata.generation
        return self._judged(group, policy, policy.status.readings if current else (), votes, now)

    def _judged(
        self,
        group: ServerGroup,
        policy: HostingPolicy,
        shared: tuple[Reading, ...],
        votes: Callable[[], Votes],
        now: datetime,
    ) -> GroupPolicy:
        """What a policy with these readings says of the group."""
        name, when, before = policy.metadata.name, policy.spec.when, group.status.policy
        votes_count = any(c.vote is not None for c in own_conditions(when))
        facts = GroupFacts(group.metadata, votes()) if votes_count else GroupFacts(group.metadata)
        known = before if before is not None and before.name == name else None
        own = read_own(when, facts, known, now, policy.metadata.uid)
        state = group_verdict(name, when, shared, before, now, own.readings)
        readings = (*shared, *own.readings)
        ruling = with_required_approval(state.verdict, state.message, self._annotations(group), group.metadata, now)
        release = policy.spec.when_unmet == "Release" and may_release(when, readings)
        view = PolicyView(
            name,
            ruling.verdict,
            ruling.message[:MESSAGE_LENGTH],
            release,
            readings=own.readings,
            wake_at=earliest(own.next_check, ruling.next_check),
            failover=policy.spec.failover,
            unapproved=ruling.unapproved or (state.verdict != "Met" and lacks_approval(when, own.readings)),
        )
        if group.status.placement is None and (wrong := invalid_expressions(policy.spec.select)):
            message = f"HostingPolicy {name} cannot choose a service: {joined(wrong)}"
            return GroupPolicy(policy, view, Obstacle("PolicyInvalid", message, stalled=True))
        if not _waits_for_policy(group):
            return GroupPolicy(policy, view)
        why = why_never_met(readings) if never_met(when, readings) else ""
        waiting = waits_for_servers(when, own.readings)
        if not why and waiting:
            why = (
                f"before the group is placed it has no servers that could vote for {', '.join(waiting)}; "
                "let something else place it, such as another condition beside it in any"
            )
        if not why:
            return GroupPolicy(policy, view)
        message = f"HostingPolicy {name} can never be met: {why}"
        return GroupPolicy(policy, view, Obstacle("PolicyInvalid", message, stalled=True))

    def _annotations(self, group: ServerGroup) -> Mapping[str, str] | None:
        """Those of the group's namespace; None while it was not seen yet. Who sees no namespace at all has not got any
        (it only looks, and may not read them), and takes them as empty."""
        name = group.metadata.namespace
        unseen = self._tables.namespaces.get(None, name) is None and len(self._tables.namespaces) > 0
        return None if unseen else self._tables.namespace_annotations(name)

    def readable_policy(self, group: ServerGroup) -> HostingPolicy | None:
        """The group's policy; None where there is none that can be read."""
        try:
            return self._tables.policies.parsed(group.metadata.namespace, group.spec.policy_ref.name)
        except InvalidObject:
            return None

    def member(self, group: ServerGroup, member: Member, now: datetime) -> MemberConfig:
        """A member's configuration, or why it cannot be used."""
        name, namespace = member.config_ref.name, group.metadata.namespace
        try:
            config = self._tables.configs.parsed(namespace, name)
        except InvalidObject as error:
            return MemberConfig(member, None, Obstacle("ConfigInvalid", str(error), stalled=True))
        if config is None or config.metadata.deleting:
            similar = _similar(name, self._tables.configs.by_index("namespace", namespace))
            message = (
                f"member {member.name}: there is no VirtualServerConfig {name}{similar}; create it or change configRef"
            )
            if config is not None:
                message = (
                    f"member {member.name}: VirtualServerConfig {name} is being deleted; create it again once it is "
                    "gone, or change configRef"
                )
            return MemberConfig(member, None, self._absent("ConfigNotFound", name, message, group, now))
        self._found(group, ("ConfigNotFound", name))
        return MemberConfig(member, config, self._derived.of_config(config).problem)

    def approved(
        self, group: ServerGroup, members: list[MemberConfig], now: datetime
    ) -> tuple[list[MemberConfig], list[Obstacle]]:
        """The members with the configurations that a placed group had leave for, and what is held back thereby."""
        recorded = {m.name: m.config for m in group.status.members if m.desired}
        found, held = list(members), []
        for number, m in enumerate(members):
            asked, had = m.member.config_ref.name, recorded.get(m.member.name)
            if group.status.placement is None or had is None or had == asked:
                continue
            before = m.member.model_copy(update={"config_ref": NameRef(name=had)})
            found[number] = self.member(group, before, now)
            policy = group.spec.policy_ref.name
            message = (
                f"member {m.member.name}: configuration {asked} waits until policy {policy} allows it; until then its "
                f"servers stay what they are, and are made again from {had}"
            )
            held.append(Obstacle("ConfigNotApproved", message, stalled=False))
        return found, held

    def _absent(self, reason: str, name: str, message: str, group: ServerGroup, now: datetime) -> Obstacle:
        """Counted from when this process missed it; a clock that was set back begins anew."""
        missed = self._missed.setdefault(group.metadata.uid, {})
        since = missed[reason, name] = min(now, missed.get((reason, name), now))
        if len(self._missed) > REMEMBERED:
            self._missed = {uid: kept for uid, kept in self._missed.items() if self._tables.groups.by_uid(uid)}
        return absent(reason, message, group.status.conditions, since, now)

    def _found(self, group: ServerGroup, what: tuple[str, str]) -> None:
        missed = self._missed.get(group.metadata.uid)
        if missed is not None:
            missed.pop(what, None)
            if not missed:
                del self._missed[group.metadata.uid]

    def config(self, namespace: str, name: str) -> VirtualServerConfig | None:
        """A configuration; None where there is none that can be read and stays."""
        try:
            config = self._tables.configs.parsed(namespace, name)
        except InvalidObject:
            return None
        return None if config is None or config.metadata.deleting else config


def _unusable(name: str, problem: Obstacle) -> GroupPolicy:
    told = problem.reason, problem.message
    return GroupPolicy(None, PolicyView(name, "Unknown", problem.message, problem=told, unapproved=True), problem)


def _waits_for_policy(group: ServerGroup) -> bool:
    """Whether anything of the group is still to be allowed: what was allowed runs on without a policy, too."""
    return group.status.placement is None or any(
        group.spec.replicas_of(member) > granted(group, member) for member in group.spec.members
    )


def _similar(name: str, objects: Iterable[Obj]) -> str:
    names = sorted(obj["metadata"]["name"] for obj in objects if not obj["metadata"].get("deletionTimestamp"))
    return did_you_mean(name, names[:COMPARED_NAMES])
