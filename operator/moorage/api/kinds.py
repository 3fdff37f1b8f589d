"""The five kinds as the API server is told of them: names, scope, scale and what `kubectl get` prints."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from moorage.api.base import Model
from moorage.api.hostingpolicy import HostingPolicy
from moorage.api.hostingservice import HostingService
from moorage.api.servergroup import ServerGroup
from moorage.api.virtualserver import VirtualServer
from moorage.api.virtualserverconfig import VirtualServerConfig


@dataclass(frozen=True, slots=True)
class Column:
    """A column of `kubectl get`; a `wide` one is printed with `-o wide` only."""

    name: str
    path: str
    description: str
    type: Literal["string", "integer", "number", "boolean", "date"] = "string"
    wide: bool = False


@dataclass(frozen=True, slots=True)
class KindInfo:
    """One kind."""

    model: type[Model]
    kind: str
    plural: str
    short_name: str
    namespaced: bool
    columns: tuple[Column, ...]
    scale: bool = False
    worded: bool = True
    """Whether patterns and bounds are rules with words of their own, which the API server looks at with each write, the
    writes of a status included. Not for VirtualServers: the controller writes them, and ten times each."""


def _condition(type_: str, part: str) -> str:
    return f'.status.conditions[?(@.type=="{type_}")].{part}'


_READY = Column("Ready", _condition("Ready", "status"), "Whether it does what it is for.")
_REASON = Column("Reason", _condition("Ready", "reason"), "Why it is ready, or is not.")
_MESSAGE = Column("Message", _condition("Ready", "message"), "What it waits for, of whom, since when.", wide=True)
_AGE = Column("Age", ".metadata.creationTimestamp", "How long ago it was created.", "date")

HOSTING_SERVICE = KindInfo(
    HostingService,
    HostingService.KIND,
    HostingService.PLURAL,
    "hs",
    namespaced=False,
    columns=(
        Column("Type", ".spec.type", "The kind of service."),
        Column("Region", ".spec.region", "The region in which servers are made."),
        Column("Available", _condition("Available", "status"), "Whether servers can be made on it now."),
        Column("Reason", _condition("Available", "reason"), "Why it is available, or is not."),
        Column("Servers", ".status.servers", "How many VirtualServers are on it.", "integer"),
        Column("Room", ".status.capacity.available", "Room for that many more, where it is known.", "integer"),
        Column("Circuit", ".status.circuit.state", "Whether the service is asked at all.", wide=True),
        Column("Orphans", ".status.orphanCount", "Servers without a VirtualServer.", "integer", wide=True),
        Column("Endpoint", ".spec.endpoint", "The URL of the service's API.", wide=True),
        Column("Message", _condition("Available", "message"), "What the service said.", wide=True),
        _AGE,
    ),
)

VIRTUAL_SERVER_CONFIG = KindInfo(
    VirtualServerConfig,
    VirtualServerConfig.KIND,
    VirtualServerConfig.PLURAL,
    "vsc",
    namespaced=True,
    columns=(
        Column("Valid", _condition("Valid", "status"), "Whether its references and templates fit together."),
        Column("Reason", _condition("Valid", "reason"), "Why it is valid, or is not."),
        Column("Image", ".spec.images[0].image", "The first of its boot images."),
        Column("Groups", ".status.usedBy.groups", "Groups that use it.", "integer"),
        Column("Servers", ".status.usedBy.servers", "Servers made from it.", "integer"),
        Column("Revision", ".status.currentRevision", "The ControllerRevision of this generation.", wide=True),
        Column("Message", _condition("Valid", "message"), "What is wrong with it.", wide=True),
        _AGE,
    ),
)

HOSTING_POLICY = KindInfo(
    HostingPolicy,
    HostingPolicy.KIND,
    HostingPolicy.PLURAL,
    "hp",
    namespaced=True,
    columns=(
        _READY,
        _REASON,
        Column("When unmet", ".spec.whenUnmet", "What happens to placed groups when it is no longer met."),
        Column("Next check", ".status.nextCheckTime", "When a condition can next change by itself."),
        Column("Message", _condition("Ready", "message"), "What its conditions were found to be.", wide=True),
        _AGE,
    ),
)

SERVER_GROUP = KindInfo(
    ServerGroup,
    ServerGroup.KIND,
    ServerGroup.PLURAL,
    "sg",
    namespaced=True,
    scale=True,
    columns=(
        _READY,
        _REASON,
        Column("Policy", ".status.policy.verdict", "What the policy says of the group."),
        Column("Service", ".status.placement.service", "The hosting service that was chosen."),
        Column("Servers", ".status.replicas", "How many VirtualServers it has.", "integer"),
        Column("Up", ".status.readyReplicas", "How many of them are ready.", "integer"),
        Column("Pending", ".status.pendingItems", "How many items servers wait for.", "integer"),
        Column("Why there", ".status.placement.message", "Why this service was chosen.", wide=True),
        _MESSAGE,
        _AGE,
    ),
)

VIRTUAL_SERVER = KindInfo(
    VirtualServer,
    VirtualServer.KIND,
    VirtualServer.PLURAL,
    "vs",
    namespaced=True,
    worded=False,
    columns=(
        _READY,
        _REASON,
        Column("Service", ".spec.serviceRef.name", "The hosting service that it is on."),
        Column("Address", ".status.addresses[0].address", "Its first address."),
        Column("State", ".status.state", "Its state when it was last seen at the service."),
        Column("Drifted", _condition("Drifted", "reason"), "What was changed behind our back.", wide=True),
        Column("Policy", ".spec.managementPolicy", "Whether it is managed or only observed.", wide=True),
        Column("Provider ID", ".status.providerID", "Its id at the hosting service.", wide=True),
        Column("Offering", ".spec.offering", "Its size, as the service names it.", wide=True),
        Column("Zone", ".status.zone", "The service's zone that it is in.", wide=True),
        Column("Revision", ".status.configuration.revision", "Of its configuration.", "integer", wide=True),
        _MESSAGE,
        _AGE,
    ),
)

KINDS = (HOSTING_SERVICE, VIRTUAL_SERVER_CONFIG, HOSTING_POLICY, SERVER_GROUP, VIRTUAL_SERVER)
