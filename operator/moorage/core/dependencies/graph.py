"""Building a group's dependency graph from the configurations of its members."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Final

from moorage.api.virtualserverconfig import OutputSource, VirtualServerConfigSpec
from moorage.core.configuration.compiled import CompiledConfig, Part, compile_config
from moorage.core.configuration.words import Reason
from moorage.core.dependencies.nodes import Node
from moorage.core.problems import Problem
from moorage.core.template import nearest

Config = VirtualServerConfigSpec | CompiledConfig | None

_NO_NODES: Final[tuple[Node, ...]] = ()


@dataclass(frozen=True)
class GroupSource:
    """A group by the configurations of its members; None where a member's configuration does not exist.

    `replicas` is how many servers each member shall have; 1 where it is not told.
    """

    members: Mapping[str, Config] = field(repr=False)
    replicas: Mapping[str, int] = field(default_factory=dict)


@dataclass(frozen=True)
class GroupGraph:
    """What needs what. `needs[node]` are the nodes that `node` directly needs, sorted; every node is a key.

    `given` are nodes that have their value however their needs stand: items with a default, outputs already published.
    `missing` are nodes that need something that does not exist; `problems` names what, and nothing else stops for it.
    `unknown[node]` are the things themselves, as far as they have a name: they are no nodes of the graph, but belong in
    a drawing. `unconfigured` are members without a configuration, as (group, member).
    """

    group: str
    needs: Mapping[Node, tuple[Node, ...]]
    given: frozenset[Node]
    missing: frozenset[Node]
    sensitive: frozenset[Node]
    problems: tuple[Problem, ...]
    members: tuple[str, ...]
    unknown: Mapping[Node, tuple[Node, ...]] = field(default_factory=dict)
    unconfigured: frozenset[tuple[str, str]] = frozenset()

    @classmethod
    def build(
        cls,
        group: str,
        members: Mapping[str, Config],
        replicas: Mapping[str, int] | None = None,
        others: Mapping[str, GroupSource] | None = None,
        published: Collection[tuple[str, str, str]] = (),
    ) -> GroupGraph:
        """Build the graph of `group`, with those of `others` (groups of the namespace) that its items refer to.

        `published` are outputs that have a value already, as (group, member, output): they break a deadlock.
        """
        sources = {**(others or {}), group: GroupSource(members, replicas or {})}
        builder = _Builder(group, sources)
        builder.visit()
        outputs = {Node(g, m, "output", o) for g, m, o in published}
        return cls(
            group=group,
            needs={node: tuple(sorted(set(needs))) for node, needs in sorted(builder.needs.items())},
            given=frozenset(builder.defaults | (outputs & builder.needs.keys())),
            missing=frozenset(builder.missing),
            sensitive=_spread(builder.flagged, builder.needs),
            problems=tuple(sorted(set(builder.problems))),
            members=tuple(sorted(members)),
            unknown={node: tuple(sorted(set(found))) for node, found in sorted(builder.unknown.items())},
            unconfigured=frozenset(builder.unconfigured),
        )

    @cached_property
    def users(self) -> Mapping[Node, tuple[Node, ...]]:
        """The nodes that directly need a node, sorted."""
        users: dict[Node, list[Node]] = {node: [] for node in self.needs}
        for node, needs in self.needs.items():
            for need in needs:
                users[need].append(node)
        return {node: tuple(sorted(using)) for node, using in users.items()}

    def declared_outputs(self, member: str, group: str | None = None) -> Mapping[str, bool]:
        """The outputs that a member declares: name -> whether it is sensitive, itself or by what its command uses."""
        where = self.group if group is None else group
        return {
            node.name: node in self.sensitive
            for node in self.needs
            if node.kind == "output" and node.group == where and node.member == member
        }


def _spread(flagged: set[Node], needs: Mapping[Node, list[Node]]) -> frozenset[Node]:
    """Sensitivity flows from a value to whatever is made of it: items and the outputs of commands.

    It does not flow through steps: what a script publishes by way of a file is the author's to declare.
    """
    users: dict[Node, list[Node]] = {}
    for node, required in needs.items():
        for need in required:
            if node.kind in {"item", "output"} and need.kind in {"item", "output"}:
                users.setdefault(need, []).append(node)
    sensitive: set[Node] = set()
    queue = list(flagged)
    while queue:
        node = queue.pop()
        if node not in sensitive:
            sensitive.add(node)
            queue.extend(users.get(node, ()))
    return frozenset(sensitive)


class _Builder:
    """Collects nodes and needs; visits another group only where something refers to it."""

    def __init__(self, group: str, sources: Mapping[str, GroupSource]) -> None:
        self.group = group
        self.sources = {
            name: {
                member: compile_config(config) if isinstance(config, VirtualServerConfigSpec) else config
                for member, config in source.members.items()
            }
            for name, source in sources.items()
        }
        self.replicas = {name: source.replicas for name, source in sources.items()}
        self.needs: dict[Node, list[Node]] = {}
        self.defaults: set[Node] = set()
        self.missing: set[Node] = set()
        self.flagged: set[Node] = set()
        self.problems: list[Problem] = []
        self.unknown: dict[Node, list[Node]] = {}
        self.unconfigured: set[tuple[str, str]] = set()
        self._queue: list[tuple[str, str]] = []
        self._seen: set[tuple[str, str]] = set()

    def visit(self) -> None:
        for member in sorted(self.sources[self.group]):
            self._enqueue(self.group, member)
        while self._queue:
            group, member = self._queue.pop()
            config = self.sources[group][member]
            if config is None:
                self.unconfigured.add((group, member))
            else:
                self._member(group, member, config)

    def _enqueue(self, group: str, member: str) -> None:
        if (group, member) not in self._seen:
            self._seen.add((group, member))
            self._queue.append((group, member))

    def _member(self, group: str, member: str, config: CompiledConfig) -> None:
        def items(names: Collection[str]) -> list[Node]:
            return [Node(group, member, "item", name) for name in names]

        def of_part(node: Node, part: Part) -> list[Node]:
            self._not_there(node, items(part.unknown))
            return items(part.needs)

        for name in config.items:
            self._item(group, member, config, name)
        for file, part in config.files:
            node = Node(group, member, "file", file.path)
            self.needs[node] = of_part(node, part)
        for step, part in config.steps:
            node = Node(group, member, "step", step.name)
            self.needs[node] = of_part(node, part)
        steps = {step.name for step, _ in config.steps}
        for output, part in config.outputs:
            node = Node(group, member, "output", output.name)
            after = {step: Node(group, member, "step", step) for step in output.after}
            self.needs[node] = [*of_part(node, part), *(after[step] for step in output.after if step in steps)]
            if output.sensitive:
                self.flagged.add(node)
            absent = [need for step, need in after.items() if step not in steps]
            self._not_there(node, absent)
            if absent:
                self.missing.add(node)
        if config.readiness is not None:
            node = Node(group, member, "readiness")
            required = [name for name in config.items if name in config.required]
            self.needs[node] = [*of_part(node, config.readiness[1]), *items(required)]

    def _not_there(self, node: Node, needs: list[Node]) -> None:
        if needs:
            self.unknown.setdefault(node, []).extend(needs)

    def _item(self, group: str, member: str, config: CompiledConfig, name: str) -> None:
        compiled = config.items[name]
        item, node = compiled.item, Node(group, member, "item", name)
        source = item.value_from
        if item.sensitive or (source is not None and source.secret_key_ref is not None):
            self.flagged.add(node)
        if item.default is not None:
            self.defaults.add(node)
        if compiled.broken is not None and compiled.broken[0] != Reason.ITEM_CYCLE:
            self.missing.add(node)
        needs = {need: Node(group, member, "item", need) for need in compiled.needs}
        self.needs[node] = [found for need, found in needs.items() if need in config.items]
        self._not_there(node, [absent for need, absent in needs.items() if need not in config.items])
        if source is not None and source.output is not None:
            self.needs[node].extend(self._output(node, source.output))

    def _output(self, node: Node, source: OutputSource) -> tuple[Node, ...]:
        """The output that an item takes its value from; a problem where it does not exist."""
        group = node.group if source.group is None else source.group
        output = Node(group, source.member, "output", source.name)
        for reason, message in self._faults(group, source):
            self.missing.add(node)
            if reason != Reason.NO_REPLICAS:
                self._not_there(node, [output])
            path = f"members[{node.member}].configuration[{node.name}]"
            self.problems.append(
                Problem(path if node.group == self.group else f"{node.group}: {path}", reason, message)
            )
            return _NO_NODES
        self._enqueue(group, source.member)
        config = self.sources[group][source.member]
        none_to_wait_for = source.select != "First" and self.replicas[group].get(source.member, 1) == 0
        if config is None:
            self._not_there(node, [output])
        if config is None or none_to_wait_for:
            return _NO_NODES
        self.needs.setdefault(output, [])
        return (output,)

    def _faults(self, group: str, source: OutputSource) -> Iterator[tuple[str, str]]:
        members = self.sources.get(group)
        if members is None:
            yield Reason.NO_SUCH_GROUP, f"there is no group {group} in this namespace{nearest(group, self.sources)}"
            return
        if source.member not in members:
            where = f"group {group} has no member {source.member}{nearest(source.member, members)}"
            yield Reason.NO_SUCH_MEMBER, f"{where}; name a member in valueFrom.output.member"
            return
        config = members[source.member]
        declared = {output.name for output, _ in config.outputs} if config is not None else set()
        if config is not None and source.name not in declared:
            where = f"member {source.member} declares no output {source.name}{nearest(source.name, declared)}"
            yield Reason.NO_SUCH_OUTPUT, f"{where}; declare it in the outputs of that member's configuration"
        elif source.select == "First" and self.replicas[group].get(source.member, 1) == 0:
            where = f"member {source.member} has no replicas, so nobody publishes {source.name}"
            yield Reason.NO_REPLICAS, f"{where}; give it one, give the item a default, or use select: All"
