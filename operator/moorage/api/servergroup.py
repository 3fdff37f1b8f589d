"""ServerGroup: servers that belong together, on one hosting service."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

from pydantic import Field

from moorage.api.base import Label, Model, Name, Text, Timestamp, Word, listed, number
from moorage.api.hostingpolicy import Reading, Verdict
from moorage.api.meta import Condition, NameRef, ObjectMeta
from moorage.api.placement import Candidate, Exhausted, FailedOver, FailoverOccasion, LastPlacement, Placement
from moorage.api.quantities import Interval, IntOrPercent, PositiveIntOrPercent, Price, Share, parse_duration
from moorage.api.rules import Rule, unique

DeletionPolicy = Literal["Delete", "Retain"]
DriftPolicy = Literal["Report", "Repair"]
ConfigureWhen = Literal["GroupInstantiated", "ServerInstantiated"]
Replicas = Annotated[int, number(0, 1000, "is not a number of servers", "write a whole number from 0 to 1000")]


class Member(Model):
    """Servers of one configuration."""

    name: Label
    """Its name; the servers are called <group>-<member>-<ordinal>."""
    config_ref: NameRef
    """The VirtualServerConfig."""
    replicas: Replicas | None = None
    """How many servers. Default: 1; for the member of `spec.scale`, the number there."""


class UpdateStrategy(Model):
    """How a change reaches the servers."""

    type: Literal["Rolling", "Recreate", "OnDelete"] = "Rolling"
    """Rolling: some at a time; Recreate: all at once; OnDelete: only when a person deletes a server."""
    max_unavailable: PositiveIntOrPercent = Share(1)
    """With Rolling, how many servers of a member may be not ready at a time: a number or a percentage, at least 1."""


class Remediation(Model):
    """When a server is given up and replaced."""

    boot_timeout: Interval = parse_duration("10m")
    """From the first attempt to make it until the service reports it running."""
    join_timeout: Interval = parse_duration("10m")
    """From then until its agent has joined."""
    unhealthy_for: Interval = parse_duration("5m")
    """How long it may be not ready after it was ready."""
    max_unhealthy: IntOrPercent = Share(40, percent=True)
    """With more unhealthy servers than this in the group, none is replaced: the fault is probably elsewhere."""


class Scale(Model):
    """The member that `kubectl scale` and autoscalers act on."""

    RULES = (
        Rule(
            "has(self.member) || self.replicas == 0",
            "the group has no member to scale",
            "write spec.scale.member: <name of a member> beside replicas",
        ),
        Rule(
            "has(self.member) || (!has(self.minReplicas) && !has(self.maxReplicas))",
            "minReplicas and maxReplicas bound the scaled member, and there is none",
            "write member: <name of a member> beside them",
        ),
        Rule(
            "!has(self.minReplicas) || !has(self.maxReplicas) || self.minReplicas <= self.maxReplicas",
            "minReplicas is above maxReplicas",
            "write a minReplicas that is at most maxReplicas",
            ".minReplicas",
        ),
    )

    member: Label | None = None
    """Its name."""
    replicas: Replicas = 1
    """How many servers are asked for; `kubectl scale` and autoscalers write it. How many it gets is between
    `minReplicas` and `maxReplicas`."""
    min_replicas: Replicas | None = None
    """The fewest servers that it has, whatever is asked for. Default: 0."""
    max_replicas: Replicas | None = None
    """The most servers that it has, whatever is asked for. Services with room for them are chosen before others.
    Default: no bound of its own."""

    @property
    def bounded(self) -> int:
        """How many servers it shall have: what is asked for, within the guards."""
        count = self.replicas if self.max_replicas is None else min(self.replicas, self.max_replicas)
        return count if self.min_replicas is None else max(count, self.min_replicas)

    @property
    def most(self) -> int:
        """How many servers it may come to have without a change of anything but `replicas`, as far as that is told."""
        return max(self.bounded, self.max_replicas or 0)


class ServerGroupSpec(Model):
    """Servers that belong together, and how they live."""

    RULES = (
        Rule(
            "!has(self.scale.member) || self.members.exists(m, m.name == self.scale.member)",
            "scale.member is not a member of this group",
            "write the name of one of spec.members",
            ".scale.member",
        ),
        Rule(
            "!has(self.scale.member) || self.members.all(m, m.name != self.scale.member || !has(m.replicas))",
            "the scaled member has replicas of its own",
            "write its number in spec.scale.replicas and leave replicas out of the member",
            ".members",
        ),
    )

    members: tuple[Member, ...] = listed(
        32, key="name", min_items=1, **unique("name", "members", "write a name of its own for each member")
    )
    """The members; each is one configuration and a number of servers."""
    policy_ref: NameRef
    """The HostingPolicy that says when the servers are made, and where."""
    configure_when: ConfigureWhen = "GroupInstantiated"
    """Configuration flows once all servers of the group run, or for each server as soon as it runs."""
    update_strategy: UpdateStrategy = UpdateStrategy()
    """How a change reaches the servers."""
    remediation: Remediation = Remediation()
    """When a server is given up and replaced."""
    deletion_policy: DeletionPolicy = "Delete"
    """What becomes of servers that the group gives up, at its end or before (scaled down, replaced): they are deleted
    too, or they are released and stay."""
    drift_policy: DriftPolicy = "Report"
    """What is done when a server was stopped, resized, or lost its tags behind our back. Report: it is told (condition
    `Drifted` of the VirtualServer); Repair: it is undone where the service can."""
    deletion_protection: bool = False
    """Whether the servers are kept although a deletion was asked for."""
    suspend: bool = False
    """Whether Moorage leaves the group as it is: no server is made, replaced, moved, removed or repaired. New values
    still reach its servers, and deleting the group still removes them."""
    scale: Scale = Scale(replicas=0)
    """The member that `kubectl scale` and autoscalers act on. Default: none."""
    max_price_per_hour: Price | None = None
    """The most that the group's servers may cost in one hour, a decimal number in quotes. What would cost more is not
    made; what runs is never removed for it. Default: no ceiling but the namespace's."""

    def replicas_of(self, member: Member) -> int:
        """How many servers `member` shall have."""
        if self.scale.member == member.name:
            return self.scale.bounded
        return 1 if member.replicas is None else member.replicas

    def most_replicas_of(self, member: Member) -> int:
        """How many servers `member` may come to have by being scaled, where `maxReplicas` tells."""
        return self.scale.most if self.scale.member == member.name else self.replicas_of(member)

    @property
    def replicas(self) -> int:
        """How many servers the group shall have."""
        return sum(self.replicas_of(m) for m in self.members)


class PolicyState(Model):
    """What the policy says of this group."""

    name: Name
    """The policy."""
    verdict: Verdict
    """Met, Unmet, or Unknown, which decides nothing."""
    since: Timestamp
    """Since when."""
    message: Text = ""
    """Why that is so."""
    readings: tuple[Reading, ...] = listed(32)
    """One for each condition that is this group's own: approvals and votes."""


class MemberStatus(Model):
    """How far a member is."""

    name: Label
    """The member."""
    config: Name
    """Its VirtualServerConfig."""
    revision: Annotated[str, Field(max_length=253)] | None = None
    """The ControllerRevision that its servers shall have."""
    offering: Word | None = None
    """The offering of which its servers are made, as it was last allowed."""
    interruptible: bool | None = None
    """Whether they were allowed as servers that the service may take back at any time, at the price for that."""
    desired: int = 0
    """How many servers it shall have."""
    current: int = 0
    """How many VirtualServers there are."""
    instantiated: int = 0
    """How many run at the service."""
    configured: int = 0
    """How many have their whole configuration."""
    ready: int = 0
    """How many are ready."""
    updated: int = 0
    """How many have `revision`."""
    failures: int | None = None
    """How many of its servers in a row could not be made; the next try waits longer each time."""
    message: Text | None = None
    """Why its servers are made from another offering than the one that comes first, or at its full price, while they
    are."""


class ScaleStatus(Model):
    """The scaled member as it is."""

    replicas: int = 0
    """How many VirtualServers it has."""


class PendingItem(Model):
    """An item that a server does not have yet."""

    server: Name
    """The VirtualServer."""
    item: Annotated[str, Field(max_length=63)]
    """The item."""
    waiting_for: Text = ""
    """What it waits for."""
    since: Timestamp
    """Since when."""


class ServerGroupStatus(Model):
    """How far the group is."""

    observed_generation: int = -1
    """The generation that was last worked on; -1: none yet."""
    conditions: tuple[Condition, ...] = listed(16, key="type")
    """PolicyMet, Placed, Instantiated, Configured, Ready and, while true, FailoverPending, ScaleLimited, CostLimited,
    Reconciling and Stalled."""
    policy: PolicyState | None = None
    """What the policy says of this group."""
    placement: Placement | None = None
    """The service that was chosen, and why."""
    candidates: tuple[Candidate, ...] = listed(20)
    """While no service can take the group: the 20 that come nearest, and why they cannot."""
    last_placement: LastPlacement | None = None
    """The placement before the present one, or the last one while there is none."""
    placements: int = 0
    """How many placements there have been; the next one gets the next number."""
    exhausted: tuple[Exhausted, ...] = listed(40)
    """What turned out to have no room for this group, of late."""
    failed_over: tuple[FailedOver, ...] = listed(20)
    """The services that this group left of late because of a failover."""
    failover: FailoverOccasion | None = None
    """An occasion to fail over that is due and not acted upon."""
    members: tuple[MemberStatus, ...] = listed(32)
    """How far each member is."""
    scale: ScaleStatus | None = None
    """The scaled member as it is."""
    selector: Annotated[str, Field(max_length=512)] | None = None
    """Selects the VirtualServers of the scaled member, for autoscalers."""
    replicas: int | None = None
    """How many VirtualServers the group has."""
    ready_replicas: int | None = None
    """How many of them are ready."""
    pending: tuple[PendingItem, ...] = listed(20)
    """Items that servers wait for, the oldest 20."""
    pending_items: int | None = None
    """How many items servers wait for."""


class ServerGroup(Model):
    """Servers that belong together: placed on one hosting service by a policy, configured in two steps."""

    RULES = (
        Rule(
            "self.spec.members.all(m, size(self.metadata.name) + size(m.name) + 10 <= 63)",
            "the servers would have names longer than 63 characters",
            "write names of the group and the member that have at most 53 characters together",
        ),
        Rule(
            "self.metadata.name.matches('^[a-z0-9]([-a-z0-9]*[a-z0-9])?$')",
            "the name of the group becomes a part of host names and cannot contain dots",
            "write a name of lower-case letters, digits and -",
        ),
    )

    KIND: ClassVar[str] = "ServerGroup"
    PLURAL: ClassVar[str] = "servergroups"

    metadata: ObjectMeta
    spec: ServerGroupSpec
    status: ServerGroupStatus = ServerGroupStatus()
