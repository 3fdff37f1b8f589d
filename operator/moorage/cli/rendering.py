"""Gathers what the configuration of one server rests on, and renders it with its sensitive values masked."""

from __future__ import annotations

import asyncio
import base64
import json
from collections.abc import Mapping
from typing import Any

from moorage.api.names import ANNOTATION_STATE, server_secret
from moorage.api.servergroup import ServerGroup
from moorage.api.virtualserver import VirtualServer
from moorage.api.virtualserverconfig import VirtualServerConfigSpec
from moorage.cli.cluster import Cluster
from moorage.cli.errors import CliError, Exit
from moorage.cli.sources import graph_of
from moorage.core.configuration import (
    CompiledConfig,
    DeliveryRecord,
    GroupFacts,
    MemberFacts,
    OwnFacts,
    ServerInput,
    StoredObject,
    UpstreamServer,
    Values,
    compile_config,
    remembered_values,
    render,
    resolve,
)
from moorage.kube.errors import Forbidden
from moorage.kube.kinds import (
    CONFIG_MAP,
    CONTROLLER_REVISION,
    HOSTING_SERVICE,
    SECRET,
    SERVER_GROUP,
    VIRTUAL_SERVER_CONFIG,
    Kind,
)

MASK = "********"


async def rendered(cluster: Cluster, name: str) -> dict[str, Any]:
    """The document that the server's agent would get now. Raises CliError where that cannot be told."""
    server = await cluster.server(name)
    config = compile_config(await _spec(cluster, server))
    own = OwnFacts.from_virtual_server(server, await _region(cluster, server))
    groups, secrets, (config_maps, texts), (record, remembered) = await asyncio.gather(
        _groups(cluster, server, config),
        _secrets(cluster, config),
        _config_maps(cluster, config),
        _record(cluster, server),
    )
    given = ServerInput(
        config=config,
        revision=server.spec.revision or "",
        own=own,
        groups=groups,
        secrets=secrets,
        config_maps=config_maps,
        record=record,
    )
    outputs = await _published(cluster, resolve(given).needed_secrets - config.secrets)
    result = render(given, Values(secrets=outputs, config_maps=texts, remembered=remembered), mask=MASK)
    revision = server.status.configuration.revision if server.status.configuration else 0
    return {"revision": revision, **result.document}


async def _spec(cluster: Cluster, server: VirtualServer) -> VirtualServerConfigSpec:
    if server.spec.revision:
        held = await cluster.one(CONTROLLER_REVISION, server.spec.revision)
        data = held.get("data", {})
        return VirtualServerConfigSpec.from_dict(data.get("spec", data))
    if server.spec.config_ref is None:
        name = server.metadata.name
        raise CliError(f"{name} has no configuration: neither a revision nor a configRef", Exit.NOT_READY)
    held = await cluster.one(VIRTUAL_SERVER_CONFIG, server.spec.config_ref.name)
    return VirtualServerConfigSpec.from_dict(held["spec"])


async def _region(cluster: Cluster, server: VirtualServer) -> str:
    service = await _permitted(cluster, HOSTING_SERVICE, server.spec.service_ref.name)
    return str(service["spec"].get("region", "")) if service else ""


async def _permitted(cluster: Cluster, kind: Kind, name: str) -> dict[str, Any] | None:
    """An object, or None where it is not there or not ours to see: then it is rendered as far as can be told."""
    try:
        return await cluster.maybe(kind, name)
    except Forbidden:
        return None


async def _groups(cluster: Cluster, server: VirtualServer, config: CompiledConfig) -> dict[str, GroupFacts]:
    own = server.spec.group.name if server.spec.group else None
    names = {group or own for group, _ in config.upstreams} - {None}
    return {name: facts for name in sorted(filter(None, names)) if (facts := await _group(cluster, name)) is not None}


async def _group(cluster: Cluster, name: str) -> GroupFacts | None:
    obj = await cluster.maybe(SERVER_GROUP, name)
    if obj is None:
        return None
    group = ServerGroup.from_dict(obj)
    servers = await cluster.servers(name)
    members: dict[str, MemberFacts] = {}
    graph = await graph_of(cluster, group)
    for member in group.spec.members:
        declared = graph.declared_outputs(member.name)
        here = tuple(UpstreamServer.from_virtual_server(s, declared) for s in servers if s.spec.member == member.name)
        members[member.name] = MemberFacts(group.spec.replicas_of(member), here, declared)
    return GroupFacts(members)


async def _secrets(cluster: Cluster, config: CompiledConfig) -> dict[str, StoredObject]:
    """Which of the Secrets exist; their content is not asked for."""
    found: dict[str, StoredObject] = {}
    listed = await cluster.client.list(SECRET, cluster.namespace, metadata_only=True) if config.secrets else None
    for obj in listed.items if listed else ():
        metadata = obj["metadata"]
        if metadata["name"] in config.secrets:
            found[metadata["name"]] = StoredObject(metadata["uid"], metadata["resourceVersion"])
    return found


async def _config_maps(
    cluster: Cluster, config: CompiledConfig
) -> tuple[dict[str, StoredObject], dict[str, Mapping[str, str | bytes]]]:
    known: dict[str, StoredObject] = {}
    texts: dict[str, Mapping[str, str | bytes]] = {}
    for name in sorted(config.config_maps):
        obj = await cluster.maybe(CONFIG_MAP, name)
        if obj is None:
            continue
        binary = {key: base64.b64decode(value) for key, value in obj.get("binaryData", {}).items()}
        texts[name] = {**obj.get("data", {}), **binary}
        metadata = obj["metadata"]
        known[name] = StoredObject(metadata["uid"], metadata["resourceVersion"], frozenset(texts[name]))
    return known, texts


async def _record(cluster: Cluster, server: VirtualServer) -> tuple[DeliveryRecord, dict[str, str]]:
    """What was rendered before: a value whose source is away stays in force."""
    secret = await _permitted(cluster, SECRET, server_secret(server.metadata.uid))
    if secret is None:
        return DeliveryRecord(), {}
    try:
        state = json.loads(secret["metadata"].get("annotations", {}).get(ANNOTATION_STATE, "{}"))
    except ValueError:
        state = {}
    data = _decoded(secret)
    held = state.get("delivery", {}) if isinstance(state, dict) else {}
    return DeliveryRecord.from_object(held), remembered_values(data.get("configuration"), data.get("values"))


async def _published(cluster: Cluster, names: frozenset[str]) -> dict[str, Mapping[str, bytes]]:
    """Outputs that are too large for a status. Sensitive ones are masked by the rendering all the same."""
    found = {name: await _permitted(cluster, SECRET, name) for name in sorted(names)}
    return {name: _decoded(secret) for name, secret in found.items() if secret is not None}


def _decoded(secret: Mapping[str, Any]) -> dict[str, bytes]:
    return {key: base64.b64decode(value) for key, value in (secret.get("data") or {}).items()}
