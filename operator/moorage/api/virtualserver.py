"""VirtualServer: at most one server at a hosting service, for ever."""

from __future__ import annotations

from typing import Annotated, Any, ClassVar, Literal

from pydantic import Field

from moorage.api.base import ItemName, Label, Model, Name, Text, Timestamp, Word, free_form, listed, number
from moorage.api.meta import Condition, NameRef, ObjectMeta
from moorage.api.rules import Rule, immutable
from moorage.api.servergroup import DeletionPolicy, DriftPolicy

ItemState = Literal["Pending", "Resolved", "Delivered", "Acknowledged"]
StepState = Literal["Waiting", "Running", "Succeeded", "Failed"]
ManagementPolicy = Literal["Manage", "Observe"]
Uid = Annotated[str, Field(max_length=64)]


class ServiceRef(Model):
    """The hosting service that a server is on."""

    name: Name
    """The HostingService."""
    uid: Uid | None = None
    """Its uid; written by the group, so that a service made anew under the same name is not mistaken for it."""


class GroupRef(Model):
    """The group that a server belongs to."""

    name: Name
    """The ServerGroup."""
    uid: Uid
    """Its uid."""


class Adopt(Model):
    """An existing server to take over."""

    provider_id: Annotated[str, Field(min_length=1, max_length=512)]
    """Its id at the hosting service."""


_ALWAYS = frozenset({"serviceRef", "ordinal", "placement"})
_IMMUTABLE = ("member", "ordinal", "placement", "image", "offering", "settings", "configRef", "adopt")


class VirtualServerSpec(Model):
    """One server, fully resolved. Immutable except `revision`, `deletionPolicy`, `driftPolicy`, and `managementPolicy`
    from Observe to Manage."""

    RULES = (
        Rule(
            " && ".join(
                f"({immutable(name, optional=name not in _ALWAYS)})" for name in ("serviceRef", "group", *_IMMUTABLE)
            ),
            "a server is never turned into another one; only revision, deletionPolicy and driftPolicy can change",
            "write the change into the group's VirtualServerConfig, or a new VirtualServer",
        ),
        Rule(
            "!has(self.adopt) || !has(self.group)",
            "an adopted server cannot belong to a group",
            "write adopt without group, and configRef if it shall be configured",
        ),
        Rule(
            "has(self.adopt) || has(self.group)",
            "servers are made by groups",
            "write a ServerGroup to make one, or adopt: {providerID: ...} to take over one that exists",
        ),
        Rule(
            "!has(self.group) || (has(self.member) && has(self.image) && has(self.offering))",
            "a server of a group is fully resolved",
            "write member, image and offering",
        ),
        Rule(
            "!has(self.configRef) || has(self.adopt)",
            "the configuration of a group's server comes from the group",
            "write configRef only beside adopt",
            ".configRef",
        ),
        Rule(
            "self.managementPolicy != 'Observe' || has(self.adopt)",
            "a server of a group is not only observed: its group makes and deletes it",
            "write managementPolicy: Observe only beside adopt, or leave it out",
            ".managementPolicy",
        ),
        Rule(
            "oldSelf.managementPolicy != 'Manage' || self.managementPolicy == 'Manage'",
            "a server that was taken over carries this object's tags and cannot go back to being observed",
            "write managementPolicy: Manage; to let the server go, delete this object with deletionPolicy: Retain",
            ".managementPolicy",
        ),
        Rule(
            "self.managementPolicy != 'Observe' || self.driftPolicy != 'Repair'",
            "nothing is repaired on a server that is only observed",
            "write driftPolicy: Report, or managementPolicy: Manage",
            ".driftPolicy",
        ),
    )

    service_ref: ServiceRef
    """The hosting service that it is on."""
    group: GroupRef | None = None
    """The group that made it."""
    member: Label | None = None
    """The member of the group."""
    ordinal: Annotated[int, number(0, None, "is not an ordinal", "write 0 or more")] = 0
    """Its number within the member."""
    placement: Annotated[int, number(0, None, "is not a placement's number", "write 0 or more")] = 0
    """The number of the group's placement that it belongs to."""
    image: Annotated[str, Field(max_length=512)] | None = None
    """The boot image, as the service names it."""
    offering: Word | None = None
    """The offering, as the service names it."""
    settings: dict[str, Any] = free_form()
    """Settings of the backend."""
    revision: Annotated[str, Field(max_length=253)] | None = None
    """The ControllerRevision with its configuration."""
    config_ref: NameRef | None = None
    """The VirtualServerConfig of an adopted server."""
    deletion_policy: DeletionPolicy | None = None
    """Whether the server is deleted with this object or released. Default: Delete, and Retain for adopted servers."""
    adopt: Adopt | None = None
    """An existing server to take over, instead of making one."""
    management_policy: ManagementPolicy = "Manage"
    """Manage: the server is taken over. Observe: it is only looked at; nothing of it is ever changed, neither now nor
    with the deletion of this object. Observe can become Manage, not the other way round."""
    drift_policy: DriftPolicy = "Report"
    """What is done when the server was stopped, resized, or lost its tags behind our back. Report: it is told
    (condition `Drifted`); Repair: it is undone where the service can. The group's, for a server of a group."""

    @property
    def observes(self) -> bool:
        """Whether the server is only looked at."""
        return self.management_policy == "Observe"

    @property
    def retains(self) -> bool:
        """Whether the server outlives this object."""
        if self.deletion_policy is None:
            return self.adopt is not None
        return self.deletion_policy == "Retain"


class Address(Model):
    """An address of the server."""

    type: Literal["Internal", "External"]
    """Internal: within the service's network; External: from anywhere."""
    address: Annotated[str, Field(max_length=253)]
    """An IP address or a name."""


class OutputState(Model):
    """An output that the server has published, or why it could not."""

    name: ItemName
    """The output."""
    value: Annotated[str, Field(max_length=4096)] | None = None
    """The value, unless it is sensitive or large."""
    in_secret: bool = False
    """Whether the value is in the Secret <uid>-outputs."""
    version: int = 0
    """Grows with every change of the value."""
    error: Annotated[str, Field(max_length=128)] | None = None
    """Why there is no new value, as one CamelCase word."""
    message: Text | None = None
    """Why there is no new value, for people; never the value."""


class StepResult(Model):
    """How a step went."""

    name: Label
    """The step."""
    state: StepState
    """Waiting for items, running, or done."""
    exit_code: int | None = None
    """The script's exit code."""
    message: Text | None = None
    """Why it failed, or what it waits for."""
    attempts: int = 0
    """How many times it was tried with its present inputs."""


class AgentState(Model):
    """What the server's agent last reported. Written by the configuration channel alone."""

    sequence: int = 0
    """Grows with every report."""
    joined_at: Timestamp | None = None
    """When the agent joined."""
    delivered_revision: int = 0
    """The revision of the configuration that the agent has."""
    acknowledged_revision: int = 0
    """The revision of which everything applicable has been applied."""
    ready: bool = False
    """Whether the readiness probe succeeds."""
    outputs: tuple[OutputState, ...] = listed(32)
    """What it has published."""
    steps: tuple[StepResult, ...] = listed(32)
    """How its steps went."""
    message: Text | None = None
    """What else it has to say."""


class ItemStatus(Model):
    """One item of the configuration; never its value."""

    name: ItemName
    """The item."""
    state: ItemState
    """Pending: not known yet; Resolved: known; Delivered: the agent has it; Acknowledged: it is in force."""
    source: Text = ""
    """Where the value comes from."""
    since: Timestamp
    """Since when it is in this state."""
    reason: Annotated[str, Field(max_length=128)] = ""
    """Why, as one CamelCase word."""
    message: Text = ""
    """Why, for people: what it waits for."""
    stale: bool = False
    """Whether the value in force is the last known one of a source that is away."""
    sensitive: bool = False
    """Whether the value is shown nowhere."""
    revision: int = 0
    """The revision of the configuration that first carried the present value."""


class ConfigurationState(Model):
    """The configuration as it was last rendered for this server."""

    revision: int = 0
    """Grows with every change."""
    controller_revision: Annotated[str, Field(max_length=253)] | None = None
    """The ControllerRevision that it was rendered from."""
    items: tuple[ItemStatus, ...] = listed(128)
    """Its items."""


class VirtualServerStatus(Model):
    """What is known of the server."""

    observed_generation: int = -1
    """The generation that was last worked on; -1: none yet."""
    conditions: tuple[Condition, ...] = listed(16, key="type")
    """Instantiated, Configured, Ready and, while true, Drifted, Reconciling and Stalled."""
    provider_id: Annotated[str, Field(max_length=512)] | None = None
    """The server's id at the hosting service."""
    offering: Annotated[str, Field(max_length=253)] | None = None
    """The offering it is to have, as the service names it: the one it was first seen with, or an adopted one's in spec.
    Another one is drift."""
    zone: Annotated[str, Field(max_length=253)] | None = None
    """The service's zone that it was last seen in (an availability zone, a location, a cluster member), where the
    service tells one."""
    addresses: tuple[Address, ...] = listed(16)
    """Its addresses."""
    state: Annotated[str, Field(max_length=64)] | None = None
    """Its state when it was last seen at the service."""
    lost: bool | None = None
    """Whether the server is gone for good without having been deleted."""
    unhealthy_since: Timestamp | None = None
    """Since when, without a break, it has been configured and yet not ready, or stopped after it ran."""
    recorded_at: Timestamp | None = None
    """When `providerID` was recorded as this object's own; absent for a server that is only observed."""
    agent: AgentState | None = None
    """What its agent last reported."""
    configuration: ConfigurationState | None = None
    """Its configuration."""
    dependents: tuple[Annotated[str, Field(max_length=127)], ...] = listed(64)
    """Members (`member`, or `group/member` of another group) whose servers need this one's outputs: they go first."""


class VirtualServer(Model):
    """At most one server at a hosting service, for ever; made by a ServerGroup, or by a person to adopt a server."""

    RULES = (
        Rule(
            "self.metadata.name.matches('^[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?$')",
            "the name of a server is a host name of at most 63 characters",
            "write lower-case letters, digits and -, without dots",
        ),
    )

    KIND: ClassVar[str] = "VirtualServer"
    PLURAL: ClassVar[str] = "virtualservers"

    metadata: ObjectMeta
    spec: VirtualServerSpec
    status: VirtualServerStatus = VirtualServerStatus()
