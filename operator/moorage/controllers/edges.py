"""Which members' servers use the outputs of which: computed per namespace, again after any change of its specs."""

from __future__ import annotations

import contextlib
from collections import defaultdict
from dataclasses import dataclass, field

from moorage.controllers.tables import Tables
from moorage.core.configuration import compile_config
from moorage.core.dependencies.order import components
from moorage.kube.errors import InvalidObject

Place = tuple[str, str]
"""(group, member)."""


@dataclass(frozen=True, slots=True)
class _Graph:
    """``consumers`` use a place's outputs; ``dependents`` are those of them that are not in a circle with it."""

    consumers: dict[Place, frozenset[Place]] = field(default_factory=dict)
    providers: dict[Place, frozenset[Place]] = field(default_factory=dict)
    dependents: dict[Place, frozenset[Place]] = field(default_factory=dict)


class Edges:
    """Answers for one namespace come from one graph, which is thrown away by `changed`."""

    def __init__(self, tables: Tables) -> None:
        self._tables = tables
        self._graphs: dict[str, _Graph] = {}
        self._last: dict[str, dict[str, frozenset[tuple[str | None, str]]]] = {}

    def changed(self, namespace: str) -> None:
        """A group or a configuration of the namespace changed."""
        self._graphs.pop(namespace, None)

    def consumers(self, namespace: str, group: str, member: str) -> tuple[Place, ...]:
        """Members whose configuration uses outputs of this one."""
        return tuple(sorted(self._graph(namespace).consumers.get((group, member), ())))

    def providers(self, namespace: str, group: str, member: str) -> tuple[Place, ...]:
        """Members whose outputs this one uses."""
        return tuple(sorted(self._graph(namespace).providers.get((group, member), ())))

    def dependents(self, namespace: str, group: str, member: str) -> tuple[Place, ...]:
        """Members whose servers are deleted before this one's; members of a circle go together."""
        return tuple(sorted(self._graph(namespace).dependents.get((group, member), ())))

    def _graph(self, namespace: str) -> _Graph:
        found = self._graphs.get(namespace)
        if found is None:
            found = self._graphs[namespace] = self._build(namespace)
        return found

    def _build(self, namespace: str) -> _Graph:
        needs: dict[Place, set[Place]] = {}
        upstreams: dict[str, frozenset[tuple[str | None, str]]] = {}
        for obj in self._tables.groups.by_index("namespace", namespace):
            group = obj["metadata"]["name"]
            for member in obj["spec"]["members"]:
                config = member["configRef"]["name"]
                if config not in upstreams:
                    upstreams[config] = self._upstreams(namespace, config)
                needs[group, member["name"]] = {(g or group, m) for g, m in upstreams[config]}
        known = {place: frozenset(others & needs.keys()) for place, others in needs.items()}
        self._last.pop(namespace, None)
        if upstreams:
            self._last[namespace] = upstreams
        named = {"/".join(place): {"/".join(other) for other in others} for place, others in known.items()}
        circles = {name: number for number, names in enumerate(components(named)) for name in names}
        circle = {place: circles["/".join(place)] for place in known}
        consumers: dict[Place, set[Place]] = defaultdict(set)
        dependents: dict[Place, set[Place]] = defaultdict(set)
        for place, others in known.items():
            for other in others:
                consumers[other].add(place)
                if circle[other] != circle[place]:
                    dependents[other].add(place)
        return _Graph(
            {place: frozenset(users) for place, users in consumers.items()},
            known,
            {place: frozenset(users) for place, users in dependents.items()},
        )

    def _upstreams(self, namespace: str, config: str) -> frozenset[tuple[str | None, str]]:
        """What a configuration needs; of one that is gone or unreadable, what it needed: its servers still do."""
        try:
            parsed = self._tables.configs.parsed(namespace, config)
        except InvalidObject:
            parsed = None
        kept = self._kept(namespace, config)
        if parsed is None:
            return kept | self._last.get(namespace, {}).get(config, frozenset())
        return kept | compile_config(parsed.spec).upstreams

    def _kept(self, namespace: str, config: str) -> frozenset[tuple[str | None, str]]:
        """What earlier generations need on which servers still rest."""
        found: frozenset[tuple[str | None, str]] = frozenset()
        for revision in self._tables.revisions.by_index("config", (namespace, config)):
            if self._tables.servers.count("config", ("revision", namespace, revision["metadata"]["name"])):
                with contextlib.suppress(InvalidObject):
                    found |= self._tables.revisions.parse(revision).compiled.upstreams
        return found
