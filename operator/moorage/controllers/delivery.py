"""The configuration of one server: resolve from caches, render only when an input changed, write it into its Secret."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Iterable, Mapping
from dataclasses import replace
from datetime import datetime

from moorage.api.virtualserver import Address, VirtualServer
from moorage.controllers.acts import Acts
from moorage.controllers.context import Context, ObjectKey
from moorage.controllers.edges import Edges
from moorage.controllers.observation import Observed
from moorage.controllers.tables import Revision, Tables
from moorage.controllers.upstreams import Upstreams
from moorage.core.configuration import (
    DeliveryRecord,
    OwnFacts,
    Resolution,
    ServerInput,
    StoredObject,
    Values,
    configured,
    item_states,
    next_revision,
    primary_address,
    remembered_values,
    render,
    resolve,
)
from moorage.core.server_status import ConfigurationView
from moorage.kube.errors import NotFound
from moorage.kube.kinds import CONFIG_MAP, SECRET
from moorage.kube.store import Obj, Table

NO_REVISION = ("RevisionMissing", "the ControllerRevision of this server does not exist yet")


class Deliveries:
    """Renders and writes; what it writes it takes from objects, never from memory."""

    def __init__(self, context: Context, tables: Tables, edges: Edges, acts: Acts) -> None:
        self._context = context
        self._tables = tables
        self._edges = edges
        self._acts = acts
        self._upstreams = Upstreams(tables)

    async def deliver(self, seen: Observed, *, instantiated: bool) -> tuple[ConfigurationView, bool]:
        """How far the configuration is, and whether a new revision was written just now. Raises Conflict."""
        server = seen.server
        dependents = self._dependents(server)
        revision = self.revision_of(server)
        if revision is None:
            reason, message = NO_REVISION
            return ConfigurationView(reason=reason, message=message, dependents=dependents), False
        record = seen.state.delivery if seen.state is not None else DeliveryRecord()
        given = self._input(seen, revision, record)
        self._listen(seen, given)
        resolution = resolve(given)
        wrote = False
        is_open = instantiated and self._gate(server)
        if is_open and seen.secret is not None and resolution.inputs != record.inputs:
            record, wrote = await self._render(seen, given, resolution, revision)
            resolution = resolve(self._input(seen, revision, record))
        # A server of the placement before gets nothing new, and goes on being told by what it has.
        shown = is_open or (instantiated and record.revision > 0)
        return self._view(seen, revision, resolution, record, dependents, shown), wrote

    def revision_of(self, server: VirtualServer) -> Revision | None:
        """The kept generation that a server rests on; of an adopted one, its configuration's current generation."""
        namespace, name = server.metadata.namespace, server.spec.revision
        if name is None and server.spec.config_ref is not None:
            config = self._tables.configs.parsed(namespace, server.spec.config_ref.name)
            name = config.status.current_revision if config is not None else None
        return self._tables.revisions.parsed(namespace, name) if name else None

    def _gate(self, server: VirtualServer) -> bool:
        if server.spec.group is None:
            return True
        group = self._tables.groups.parsed(server.metadata.namespace, server.spec.group.name)
        placement = group.status.placement if group is not None else None
        return placement is not None and placement.gate_opened is not None and placement.number == server.spec.placement

    def _dependents(self, server: VirtualServer) -> tuple[str, ...]:
        if server.spec.group is None or server.spec.member is None:
            return ()
        own = server.spec.group.name
        places = self._edges.dependents(server.metadata.namespace, own, server.spec.member)
        return tuple(member if group == own else f"{group}/{member}" for group, member in places)[:64]

    # Observing

    def _input(self, seen: Observed, revision: Revision, record: DeliveryRecord) -> ServerInput:
        server, namespace = seen.server, seen.server.metadata.namespace
        service = self._tables.services.parsed(None, server.spec.service_ref.name)
        own = OwnFacts.from_virtual_server(server, service.spec.region if service is not None else "")
        if own.address is None and seen.seen is not None:
            own = _with_address(own, seen.seen.addresses)
        compiled = revision.compiled
        own_group = server.spec.group.name if server.spec.group is not None else None
        wanted: dict[str, set[str]] = {}
        for group, member in compiled.upstreams:
            if group or own_group:
                wanted.setdefault(group or own_group or "", set()).add(member)
        groups = {name: self._upstreams.facts(namespace, name, frozenset(of)) for name, of in wanted.items()}
        return ServerInput(
            config=compiled,
            revision=revision.name,
            own=own,
            groups={name: facts for name, facts in groups.items() if facts is not None},
            secrets=_stored(self._tables.secrets, namespace, compiled.secrets),
            config_maps=_stored(self._tables.config_maps, namespace, compiled.config_maps),
            record=record,
        )

    def _listen(self, seen: Observed, given: ServerInput) -> None:
        namespace = seen.server.metadata.namespace
        targets: set[ObjectKey] = {(SECRET, namespace, name) for name in given.config.secrets}
        targets |= {(CONFIG_MAP, namespace, name) for name in given.config.config_maps}
        self._context.refers(seen.server.metadata.uid, seen.key, frozenset(targets))

    # Rendering

    async def _render(
        self, seen: Observed, given: ServerInput, resolution: Resolution, revision: Revision
    ) -> tuple[DeliveryRecord, bool]:
        """Read what the rendering needs, render, and write the Secret if anything of it differs."""
        assert seen.secret is not None  # noqa: S101 - the caller has looked
        assert seen.state is not None  # noqa: S101 - read from that Secret
        own: Mapping[str, bytes] = {}
        if given.record.revision:
            own = await self._data(seen.key[0], seen.secret["metadata"]["name"])
        values = Values(
            secrets=await self._secrets(seen.key[0], resolution.needed_secrets),
            config_maps=await self._config_maps(seen.key[0], resolution.needed_config_maps),
            remembered=remembered_values(own.get("configuration"), own.get("values")),
        )
        rendered = render(given, values)
        delivery = next_revision(given.record, rendered, self._context.installation.hmac_key, revision.name)
        problem = next(iter(rendered.problems), None)
        seen.memory.render_problem = None if problem is None else (problem.reason, problem.message)
        if delivery.record == given.record and delivery.configuration is None:
            return delivery.record, False
        data = {
            key: value
            for key, value in (("configuration", delivery.configuration), ("values", delivery.values))
            if value is not None
        }
        state = replace(seen.state, delivery=delivery.record)
        await self._acts.write_secret(seen.secret, state, data)
        return delivery.record, True

    async def _secrets(self, namespace: str, names: Iterable[str]) -> dict[str, Mapping[str, bytes]]:
        found: dict[str, Mapping[str, bytes]] = {}
        for name in sorted(names):
            data = await self._data(namespace, name)
            if data:
                found[name] = data
        return found

    async def _data(self, namespace: str, name: str) -> Mapping[str, bytes]:
        try:
            secret = await self._context.client.get(SECRET, namespace, name)
        except NotFound:
            return {}
        return {key: _decode(value) for key, value in (secret.get("data") or {}).items()}

    async def _config_maps(self, namespace: str, names: Iterable[str]) -> dict[str, Mapping[str, str | bytes]]:
        found: dict[str, Mapping[str, str | bytes]] = {}
        for name in sorted(names):
            try:
                obj = await self._context.client.get(CONFIG_MAP, namespace, name)
            except NotFound:
                continue
            binary = {key: _decode(value) for key, value in (obj.get("binaryData") or {}).items()}
            found[name] = {**(obj.get("data") or {}), **binary}
        return found

    # Reporting

    def _view(
        self,
        seen: Observed,
        revision: Revision,
        resolution: Resolution,
        record: DeliveryRecord,
        dependents: tuple[str, ...],
        is_open: bool,
    ) -> ConfigurationView:
        status = seen.server.status
        agent = status.agent
        delivered = agent.delivered_revision if agent is not None else 0
        acknowledged = agent.acknowledged_revision if agent is not None else 0
        before = status.configuration.items if status.configuration is not None else ()
        memory = seen.memory.status
        if memory is not None and memory.configuration is not None:
            before = memory.configuration.items
        items = item_states(resolution, record, delivered, acknowledged, before, _whole(seen.now))
        verdict = configured(resolution, items, record, acknowledged)
        if not is_open:
            return ConfigurationView(
                revision=record.revision,
                controller_revision=record.controller_revision or None,
                items=items,
                dependents=dependents,
            )
        done = verdict.holds and record.controller_revision == revision.name
        return ConfigurationView(
            revision=record.revision,
            controller_revision=record.controller_revision or None,
            items=items,
            done=done,
            reason=verdict.reason,
            message=verdict.message,
            dependents=dependents,
            problem=seen.memory.render_problem,
        )


def _stored(table: Table[Obj], namespace: str, names: Iterable[str]) -> dict[str, StoredObject]:
    found: dict[str, StoredObject] = {}
    for name in names:
        obj = table.get(namespace, name)
        if obj is not None:
            meta = obj["metadata"]
            found[name] = StoredObject(meta["uid"], meta["resourceVersion"])
    return found


def _with_address(own: OwnFacts, addresses: tuple[tuple[str, str], ...]) -> OwnFacts:
    known = tuple(Address(type="External" if k == "External" else "Internal", address=a) for k, a in addresses)
    return replace(own, address=primary_address(known))


def _decode(value: str) -> bytes:
    try:
        return base64.b64decode(value, validate=True)
    except binascii.Error:
        return b""


def _whole(now: datetime) -> datetime:
    return now.replace(microsecond=0)
