"""What items of a group's configurations refer to, and would not be there."""

from __future__ import annotations

from collections.abc import Iterator

from moorage.controllers.tables import Tables
from moorage.controllers.upstreams import Upstreams
from moorage.core.configuration import Dangling, GroupFacts, OwnFacts, compile_config, dangling
from moorage.core.group import GroupWorld
from moorage.kube.errors import InvalidObject


class ItemReferences:
    """Follows them within the namespace, over a cache."""

    def __init__(self, tables: Tables) -> None:
        self._tables = tables
        self._upstreams = Upstreams(tables)

    def broken(self, world: GroupWorld) -> tuple[tuple[str, Dangling], ...]:
        """Each item, with its member, that refers to a group, a member or an output that nobody would have."""
        return tuple((want.name, found) for want in world.wants for found in self._of(world, want.name, want.config))

    def _of(self, world: GroupWorld, member: str, name: str) -> Iterator[Dangling]:
        meta = world.group.metadata
        try:
            config = self._tables.configs.parsed(meta.namespace, name)
        except InvalidObject:
            config = None
        if config is None:
            return  # which is a problem of its own
        compiled = compile_config(config.spec)
        wanted: dict[str, set[str]] = {}
        for group, upstream in compiled.upstreams:
            wanted.setdefault(group or meta.name, set()).add(upstream)
        groups: dict[str, GroupFacts] = {}
        for group, members in wanted.items():
            try:
                facts = self._upstreams.facts(meta.namespace, group, frozenset(members))
            except InvalidObject:
                return  # nobody can say what it has
            if facts is not None:
                groups[group] = facts
        yield from dangling(compiled, OwnFacts("", meta.namespace, group=meta.name, member=member), groups)
