"""What the resolution of one server's configuration rests on: immutable facts, gathered by the edges.

No value that may be sensitive shows in a repr. What was not observed is absent; absent is never taken for empty.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from moorage.api.names import outputs_secret
from moorage.api.virtualserver import Address, VirtualServer
from moorage.core.configuration.compiled import CompiledConfig
from moorage.core.configuration.record import DeliveryRecord


@dataclass(frozen=True, slots=True)
class PublishedOutput:
    """A value that a server has published. `value` None: it is in the server's Secret `<uid>-outputs`.

    `version` grows with every change of the value. `error` is why a newer value was not taken, if that is so.
    """

    version: int
    value: str | None = field(default=None, repr=False)
    sensitive: bool = False
    error: str = ""


@dataclass(frozen=True, slots=True)
class UpstreamServer:
    """One server whose outputs others use. `errors`: per output, why there is no value at all.

    `away`: it is being deleted or replaced, or is lost: what it published counts for those who have it, for nobody new.
    """

    name: str
    uid: str
    ordinal: int
    outputs: Mapping[str, PublishedOutput] = field(default_factory=dict)
    errors: Mapping[str, str] = field(default_factory=dict)
    away: bool = False
    placement: int = 0

    @property
    def rank(self) -> tuple[bool, int, str, str]:
        """Of several servers of one ordinal, the highest counts."""
        return (not self.away, self.placement, self.name, self.uid)

    @property
    def outputs_secret(self) -> str:
        """The name of the Secret with its sensitive and large outputs."""
        return outputs_secret(self.uid)

    @classmethod
    def from_virtual_server(
        cls, server: VirtualServer, declared: Mapping[str, bool] | None = None, *, away: bool | None = None
    ) -> UpstreamServer:
        """The facts of a VirtualServer; `declared` says which outputs are sensitive.

        `away` None: where it is being deleted or lost.
        """
        states = server.status.agent.outputs if server.status.agent else ()
        sensitive = declared or {}
        return cls(
            name=server.metadata.name,
            uid=server.metadata.uid,
            ordinal=server.spec.ordinal,
            outputs={
                state.name: PublishedOutput(
                    state.version, state.value, sensitive.get(state.name, False), state.error or ""
                )
                for state in states
                if state.value is not None or state.in_secret
            },
            errors={s.name: s.error for s in states if s.error and s.value is None and not s.in_secret},
            away=(server.metadata.deleting or bool(server.status.lost)) if away is None else away,
            placement=server.spec.placement,
        )


@dataclass(frozen=True, slots=True)
class MemberFacts:
    """A member: how many servers it shall have, those that it has, and its declared outputs (name -> sensitive).

    `declared` None: its configuration is not known. `suffix` is what the names of its servers end in, if in anything.
    """

    replicas: int
    servers: tuple[UpstreamServer, ...] = ()
    declared: Mapping[str, bool] | None = None
    suffix: int | None = None

    def by_ordinal(self) -> dict[int, UpstreamServer]:
        """Of each ordinal the server that counts: one that is there to stay before one that is away, then the newest
        placement's."""
        chosen: dict[int, UpstreamServer] = {}
        for server in self.servers:
            other = chosen.get(server.ordinal)
            if other is None or server.rank > other.rank:
                chosen[server.ordinal] = server
        return chosen


@dataclass(frozen=True, slots=True)
class GroupFacts:
    """A group by the members that it has."""

    members: Mapping[str, MemberFacts]


@dataclass(frozen=True, slots=True)
class StoredObject:
    """A Secret or ConfigMap by its version. `keys` None: not known before it is read."""

    uid: str
    resource_version: str
    keys: frozenset[str] | None = None

    @property
    def version(self) -> str:
        """Identifies its content."""
        return f"{self.uid}/{self.resource_version}"


@dataclass(frozen=True, slots=True)
class OwnFacts:
    """The server's own facts. `address` and `provider_id` are None until they are known."""

    name: str
    namespace: str
    uid: str = ""
    group: str | None = None
    member: str | None = None
    ordinal: int = 0
    service: str = ""
    region: str = ""
    address: str | None = None
    provider_id: str | None = None

    def field_value(self, name: str) -> str | None:
        """The value of a `valueFrom.field`; None while it is not known."""
        match name:
            case "ordinal":
                return str(self.ordinal)
            case "providerID":
                return self.provider_id
            case _:
                value: str | None = getattr(self, name)
                return value

    @classmethod
    def from_virtual_server(cls, server: VirtualServer, region: str = "") -> OwnFacts:
        """The facts of a VirtualServer; `region` is its service's."""
        return cls(
            name=server.metadata.name,
            namespace=server.metadata.namespace,
            uid=server.metadata.uid,
            group=server.spec.group.name if server.spec.group else None,
            member=server.spec.member,
            ordinal=server.spec.ordinal,
            service=server.spec.service_ref.name,
            region=region,
            address=primary_address(server.status.addresses),
            provider_id=server.status.provider_id,
        )


def primary_address(addresses: tuple[Address, ...]) -> str | None:
    """The address that other servers of the group use: the first internal one, else the first of any kind."""
    for address in addresses:
        if address.type == "Internal":
            return address.address
    return addresses[0].address if addresses else None


@dataclass(frozen=True, slots=True)
class ServerInput:
    """Everything that the resolution of one server's configuration depends on, but for the values in Secrets.

    `revision` names the ControllerRevision of `config`. `groups`, `secrets` and `config_maps` hold what exists, by
    name, of the server's namespace; only what `config` refers to need be there. `record` is what was rendered before.
    """

    config: CompiledConfig = field(repr=False)
    revision: str
    own: OwnFacts
    groups: Mapping[str, GroupFacts] = field(default_factory=dict)
    secrets: Mapping[str, StoredObject] = field(default_factory=dict)
    config_maps: Mapping[str, StoredObject] = field(default_factory=dict)
    record: DeliveryRecord = field(default_factory=DeliveryRecord)


@dataclass(frozen=True, slots=True)
class Values:
    """The content of the Secrets and ConfigMaps that a resolution needs, and the values remembered beside the
    document."""

    secrets: Mapping[str, Mapping[str, bytes]] = field(default_factory=dict, repr=False)
    config_maps: Mapping[str, Mapping[str, str | bytes]] = field(default_factory=dict, repr=False)
    remembered: Mapping[str, str] = field(default_factory=dict, repr=False)
