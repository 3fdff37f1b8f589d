"""What configurations see of a group: made once for all servers that look, and again where something of it changed."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping

from moorage.api.servergroup import ServerGroup
from moorage.controllers.tables import Tables
from moorage.core.configuration import GroupFacts, MemberFacts, UpstreamServer
from moorage.kube.errors import InvalidObject
from moorage.kube.store import Obj, key_of

KEPT = 64
"""Groups: servers of one group are looked at close together, at a start as in a change."""

_Key = tuple[str, str]


class Upstreams:
    """The facts of groups, by the members that are wanted of them."""

    def __init__(self, tables: Tables) -> None:
        self._tables = tables
        self._kept: OrderedDict[_Key, dict[frozenset[str], GroupFacts]] = OrderedDict()
        tables.servers.subscribe(self._server)
        tables.groups.subscribe(self._group)
        tables.configs.subscribe(self._config)

    def facts(self, namespace: str, name: str, wanted: frozenset[str]) -> GroupFacts | None:
        """The group, with the servers of the members in ``wanted``; None where there is none. Raises InvalidObject."""
        kept = self._kept.setdefault((namespace, name), {})
        self._kept.move_to_end((namespace, name))
        while len(self._kept) > KEPT:
            self._kept.popitem(last=False)
        found = kept.get(wanted)
        if found is None:
            group = self._tables.groups.parsed(namespace, name)
            if group is None:
                return None
            found = kept[wanted] = self._observe(group, wanted)
        return found

    def _observe(self, group: ServerGroup, wanted: frozenset[str]) -> GroupFacts:
        meta = group.metadata
        members = {m.name for m in group.spec.members} & wanted
        servers: dict[str, list[UpstreamServer]] = {member: [] for member in members}
        suffix = None if group.status.placement is None else group.status.placement.suffix
        declared = {member: self._declared(group, member) for member in members}
        for obj in self._tables.servers.by_index("group", (meta.namespace, meta.name)):
            member = obj["spec"].get("member")
            if member in members:
                servers[member].append(
                    UpstreamServer.from_virtual_server(self._tables.servers.parse(obj), declared[member])
                )
        return GroupFacts(
            {
                m.name: MemberFacts(
                    group.spec.replicas_of(m), tuple(servers.get(m.name, ())), declared.get(m.name), suffix
                )
                for m in group.spec.members
            }
        )

    def _declared(self, group: ServerGroup, member: str) -> Mapping[str, bool] | None:
        ref = next(m.config_ref.name for m in group.spec.members if m.name == member)
        try:
            config = self._tables.configs.parsed(group.metadata.namespace, ref)
        except InvalidObject:
            return None
        return None if config is None else {output.name: output.sensitive for output in config.spec.outputs}

    # Forgetting

    def _server(self, old: Obj | None, new: Obj | None) -> None:
        if _basis(old) == _basis(new):
            return
        for obj in (old, new):
            group = (obj["spec"].get("group") or {}).get("name") if obj is not None else None
            if obj is not None and group:
                self._kept.pop((key_of(obj)[0], group), None)

    def _group(self, old: Obj | None, new: Obj | None) -> None:
        for obj in (old, new):
            if obj is not None:
                self._kept.pop(key_of(obj), None)

    def _config(self, old: Obj | None, new: Obj | None) -> None:
        namespaces = {key_of(obj)[0] for obj in (old, new) if obj is not None}
        for key in [key for key in self._kept if key[0] in namespaces]:
            del self._kept[key]


def _basis(obj: Obj | None) -> object:
    """What of a VirtualServer the facts rest on; most of its changes are of something else."""
    if obj is None:
        return None
    status = obj.get("status") or {}
    outputs = (status.get("agent") or {}).get("outputs")
    return obj["spec"], obj["metadata"].get("deletionTimestamp"), status.get("lost"), outputs
