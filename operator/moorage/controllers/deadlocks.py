"""Find items that wait for each other for ever, over all groups of a namespace that use each other's outputs."""

from __future__ import annotations

from moorage.api.servergroup import ServerGroup
from moorage.api.virtualserverconfig import VirtualServerConfigSpec
from moorage.controllers.derived import Derived, identity
from moorage.controllers.references import MemberConfig, References
from moorage.controllers.tables import Tables
from moorage.core.dependencies import GroupGraph, GroupSource, find_deadlocks
from moorage.core.obstacles import Obstacle
from moorage.kube.errors import InvalidObject


class Deadlocks:
    """Looks from caches alone; what it found is kept until something that it rests on changes."""

    def __init__(self, tables: Tables, derived: Derived, references: References) -> None:
        self._tables = tables
        self._derived = derived
        self._references = references

    def find(self, group: ServerGroup, members: list[MemberConfig]) -> list[Obstacle]:
        specs = {m.member.name: m.config.spec for m in members if m.config is not None}
        if len(specs) < len(members) or not any(_uses_outputs(spec) for spec in specs.values()):
            return []
        if any(_other_groups(spec) for spec in specs.values()):
            return self._look(group, specs, members)
        basis = (group.metadata.generation, tuple(identity(m.config) for m in members))
        key = group.metadata.uid
        return self._derived.kept("deadlocks", key, basis, lambda: self._look(group, specs, members))

    def _look(
        self, group: ServerGroup, specs: dict[str, VirtualServerConfigSpec], members: list[MemberConfig]
    ) -> list[Obstacle]:
        replicas = {m.member.name: group.spec.replicas_of(m.member) for m in members}
        others = {name: source for name, source in self._others(group, specs).items() if source is not None}
        graph = GroupGraph.build(group.metadata.name, specs, replicas, others)
        name = group.metadata.name
        return [Obstacle("Deadlock", d.describe(name), stalled=True) for d in find_deadlocks(graph)]

    def _others(self, group: ServerGroup, specs: dict[str, VirtualServerConfigSpec]) -> dict[str, GroupSource | None]:
        """The other groups of the namespace whose outputs this one uses, as far as they are known."""
        found: dict[str, GroupSource | None] = {}
        todo = [name for spec in specs.values() for name in _other_groups(spec)]
        while todo:
            name = todo.pop()
            if name == group.metadata.name or name in found:
                continue
            found[name] = None
            try:
                other = self._tables.groups.parsed(group.metadata.namespace, name)
            except InvalidObject:
                continue
            if other is None:
                continue
            theirs: dict[str, VirtualServerConfigSpec] = {}
            for member in other.spec.members:
                config = self._references.config(other.metadata.namespace, member.config_ref.name)
                if config is not None:
                    theirs[member.name] = config.spec
                    todo += _other_groups(config.spec)
            replicas = {m.name: other.spec.replicas_of(m) for m in other.spec.members}
            found[name] = GroupSource(theirs, replicas)
        return found


def _uses_outputs(spec: VirtualServerConfigSpec) -> bool:
    return any(item.value_from is not None and item.value_from.output is not None for item in spec.configuration)


def _other_groups(spec: VirtualServerConfigSpec) -> list[str]:
    sources = (item.value_from.output for item in spec.configuration if item.value_from is not None)
    return [source.group for source in sources if source is not None and source.group is not None]
