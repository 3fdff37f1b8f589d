"""Reads what a group's dependency graph is made of."""

from __future__ import annotations

from moorage.api.servergroup import ServerGroup
from moorage.api.virtualserverconfig import VirtualServerConfig, VirtualServerConfigSpec
from moorage.cli.cluster import Cluster, read
from moorage.core.dependencies import GroupGraph, GroupSource
from moorage.kube.kinds import SERVER_GROUP, VIRTUAL_SERVER_CONFIG


async def source_of(cluster: Cluster, group: ServerGroup) -> GroupSource:
    """The configurations of a group's members as they are now; None where one does not exist."""
    configs: dict[str, VirtualServerConfigSpec | None] = {}
    for member in group.spec.members:
        obj = await cluster.maybe(VIRTUAL_SERVER_CONFIG, member.config_ref.name)
        configs[member.name] = read(VirtualServerConfig, obj).spec if obj else None
    return GroupSource(configs, {member.name: group.spec.replicas_of(member) for member in group.spec.members})


async def graph_of(cluster: Cluster, group: ServerGroup) -> GroupGraph:
    """A group's dependency graph, with the groups that its items refer to."""
    own = await source_of(cluster, group)
    others: dict[str, GroupSource] = {}
    wanted = _referred(own)
    while wanted:
        name = wanted.pop()
        if name == group.metadata.name or name in others:
            continue
        obj = await cluster.maybe(SERVER_GROUP, name)
        if obj is not None:
            others[name] = await source_of(cluster, read(ServerGroup, obj))
            wanted |= _referred(others[name])
    return GroupGraph.build(group.metadata.name, own.members, own.replicas, others)


def _referred(source: GroupSource) -> set[str]:
    specs = (config for config in source.members.values() if isinstance(config, VirtualServerConfigSpec))
    sources = (item.value_from.output for spec in specs for item in spec.configuration if item.value_from)
    return {output.group for output in sources if output is not None and output.group}
