"""Short ways to write configurations and the facts about servers that publish outputs."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Any

import yaml

from moorage.api.channel import Document
from moorage.api.virtualserver import ItemStatus
from moorage.api.virtualserverconfig import VirtualServerConfigSpec
from moorage.core.configuration import (
    CompiledConfig,
    Delivery,
    DeliveryRecord,
    GroupFacts,
    MemberFacts,
    OwnFacts,
    PublishedOutput,
    Rendered,
    ServerInput,
    StoredObject,
    UpstreamServer,
    Values,
    compile_config,
    item_states,
    next_revision,
    remembered_values,
    render,
)

KEY = b"the installation's own key"
NOW = datetime(2026, 11, 22, 20, 0, tzinfo=UTC)


def spec(text: str) -> VirtualServerConfigSpec:
    """A VirtualServerConfig's spec from YAML; `images` need not be written."""
    return VirtualServerConfigSpec.from_dict({"images": [{"image": "debian"}], **(yaml.safe_load(text) or {})})


def compiled(text: str) -> CompiledConfig:
    return compile_config(spec(text))


def server(
    name: str, *, uid: str = "", away: bool = False, errors: Mapping[str, str] | None = None, **outputs: Any
) -> UpstreamServer:
    """`server("g-db-0", address="10.0.0.1")`; a value may be a PublishedOutput."""
    published = {
        key: value if isinstance(value, PublishedOutput) else PublishedOutput(1, value)
        for key, value in outputs.items()
    }
    ordinal = int(name.rsplit("-", 1)[1])
    return UpstreamServer(name, uid or f"uid-{name}", ordinal, published, errors or {}, away)


def member(*servers: UpstreamServer, replicas: int = 1, declared: Mapping[str, bool] | None = None) -> MemberFacts:
    return MemberFacts(replicas, servers, declared)


def given(config: CompiledConfig, revision: str = "web-1", **members: MemberFacts) -> ServerInput:
    """The input of server g-web-0 of group g with these members beside it."""
    own = OwnFacts(name="g-web-0", namespace="shop", uid="uid-g-web-0", group="g", member="web", service="east")
    return ServerInput(config, revision, own, {"g": GroupFacts({"web": MemberFacts(1), **members})})


def with_secret(facts: ServerInput, name: str, version: str = "1", keys: frozenset[str] | None = None) -> ServerInput:
    return replace(facts, secrets={**facts.secrets, name: StoredObject(f"uid-{name}", version, keys)})


@dataclass
class Channel:
    """Renders again and again as a controller would, and keeps what it would keep in the server's Secret."""

    record: DeliveryRecord = field(default_factory=DeliveryRecord)
    configuration: bytes | None = None
    values: bytes | None = None
    states: tuple[ItemStatus, ...] = ()
    delivered: int = 0
    acknowledged: int = 0

    def render(
        self, facts: ServerInput, secrets: Mapping[str, Mapping[str, bytes]] | None = None
    ) -> tuple[Rendered, Delivery]:
        remembered = remembered_values(self.configuration, self.values)
        rendered = render(replace(facts, record=self.record), Values(secrets or {}, {}, remembered))
        delivery = next_revision(self.record, rendered, KEY, facts.revision)
        self.record = DeliveryRecord.from_object(json.loads(json.dumps(delivery.record.to_object())))
        assert self.record == delivery.record
        if delivery.configuration is not None:
            self.configuration = delivery.configuration
            Document.model_validate_json(self.configuration)
        if delivery.values is not None:
            self.values = delivery.values
        return rendered, delivery

    def observe(self, rendered: Rendered, now: datetime = NOW) -> dict[str, ItemStatus]:
        self.states = item_states(rendered.resolution, self.record, self.delivered, self.acknowledged, self.states, now)
        return {state.name: state for state in self.states}

    def acknowledge(self) -> None:
        self.delivered = self.acknowledged = self.record.revision

    @property
    def document(self) -> Any:
        assert self.configuration is not None
        return json.loads(self.configuration)
