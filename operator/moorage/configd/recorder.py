"""Writing an agent's state: never an older one over a newer one, whichever replicas the two went through."""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from moorage.api.names import MANAGER_CONFIGD
from moorage.configd.admission import Admitted
from moorage.configd.directory import Directory
from moorage.configd.ports import Cluster, Reporter
from moorage.configd.secrets import Outputs, ServerSecret, outputs_manifest
from moorage.kube.errors import AlreadyExists, Conflict, Invalid, NotFound, Unavailable
from moorage.kube.kinds import SECRET, VIRTUAL_SERVER
from moorage.kube.lanes import Lane, current_lane

Obj = dict[str, Any]

_TRIES = 4
_REMEMBERED = 16384


class OlderState(Exception):
    """A state as new or newer is recorded; `known` is its sequence."""

    def __init__(self, known: int) -> None:
        super().__init__(f"state {known} is recorded already")
        self.known = known


class ServerGone(Exception):
    """The VirtualServer is not there any more."""


@dataclass(slots=True)
class _Known:
    """What this replica last saw in `status.agent` of one VirtualServer; `agent` None: nothing is there."""

    agent: Mapping[str, Any] | None = field(default=None, repr=False)
    status: bool = True
    lock: asyncio.Lock = field(default_factory=asyncio.Lock)

    @property
    def sequence(self) -> int:
        return int((self.agent or {}).get("sequence") or 0)


class Recorder:
    """Writes `status.agent` with one JSON patch, and before it the Secret of the outputs where that changed."""

    def __init__(self, cluster: Cluster, directory: Directory, reporter: Reporter) -> None:
        self._cluster = cluster
        self._directory = directory
        self._reporter = reporter
        self._known: OrderedDict[str, _Known] = OrderedDict()

    async def record(self, server: ServerSecret, admitted: Admitted) -> None:
        """Record a state. Raises OlderState, ServerGone, ApiError."""
        known = self._remembered(server.uid)
        async with known.lock:
            # Only what others wait for goes before what all servers report.
            changed = admitted.agent.get("outputs") != (known.agent or {}).get("outputs")
            current_lane.set(Lane.URGENT if changed else Lane.HOT)
            sequence = int(admitted.agent["sequence"])
            if self._is_recorded(known, sequence, admitted.agent):
                return
            await self._write_outputs(server, admitted, sequence)
            for _ in range(_TRIES):
                if await self._patch(server, known, admitted.agent):
                    return
                await self._look(server, known)
                if self._is_recorded(known, sequence, admitted.agent):
                    return
        raise Unavailable(0, "Busy", "other replicas keep changing the state of this server")

    @staticmethod
    def _is_recorded(known: _Known, sequence: int, agent: Mapping[str, Any]) -> bool:
        """True where this very state is there already (its answer was lost). Raises OlderState."""
        if known.agent is None or sequence > known.sequence:
            return False
        if sequence == known.sequence and dict(known.agent) == dict(agent):
            return True
        raise OlderState(known.sequence)

    async def _patch(self, server: ServerSecret, known: _Known, agent: Obj) -> bool:
        """One JSON patch; False where one of its tests fails. Raises ServerGone."""
        test: list[Obj] = [{"op": "test", "path": "/metadata/uid", "value": server.uid}]
        if known.agent is not None:
            test.append({"op": "test", "path": "/status/agent/sequence", "value": known.sequence})
        elif known.status:
            test.append({"op": "test", "path": "/status/agent", "value": None})
        change: Obj = {"op": "add", "path": "/status/agent", "value": agent}
        if not known.status:
            change = {"op": "add", "path": "/status", "value": {"observedGeneration": -1, "agent": agent}}
        try:
            answer = await self._cluster.patch(
                VIRTUAL_SERVER,
                server.namespace,
                server.name,
                [*test, change],
                subresource="status",
                manager=MANAGER_CONFIGD,
            )
        except NotFound:
            raise ServerGone from None
        except Invalid:
            return False
        known.agent, known.status = agent, True
        self._reporter.state_written(answer)
        return True

    async def _look(self, server: ServerSecret, known: _Known) -> None:
        """Read what is recorded. Raises ServerGone."""
        try:
            found = await self._cluster.get(VIRTUAL_SERVER, server.namespace, server.name)
        except NotFound:
            raise ServerGone from None
        if found["metadata"]["uid"] != server.uid:
            raise ServerGone
        status = found.get("status")
        known.status = isinstance(status, dict)
        known.agent = (status or {}).get("agent")

    async def _write_outputs(self, server: ServerSecret, admitted: Admitted, sequence: int) -> None:
        key = (server.namespace, server.uid)
        wanted = Outputs(admitted.values, admitted.versions, sequence)
        held = self._directory.cached_outputs(key)
        for _ in range(_TRIES):
            if held is None and not wanted.values:
                return
            if held is not None and held[1].values == wanted.values and held[1].versions == wanted.versions:
                return
            if held is not None and held[1].sequence > sequence:
                raise OlderState(held[1].sequence)
            try:
                await self._store_outputs(server, wanted, held[0] if held else None)
            except (AlreadyExists, Conflict):
                held = await self._directory.ask_outputs(key)
            except NotFound:
                held = None if held is None else await self._directory.ask_outputs(key)
            else:
                return
        raise Unavailable(0, "Busy", "other replicas keep changing the outputs of this server")

    async def _store_outputs(self, server: ServerSecret, wanted: Outputs, held: Obj | None) -> None:
        manifest = outputs_manifest(server, wanted)
        if held is None:
            answer = await self._cluster.create(SECRET, manifest, manager=MANAGER_CONFIGD)
        else:
            manifest["metadata"]["resourceVersion"] = held["metadata"]["resourceVersion"]
            manifest["metadata"]["uid"] = held["metadata"]["uid"]
            answer = await self._cluster.update(SECRET, manifest, manager=MANAGER_CONFIGD)
        self._directory.table.ingest(answer)

    def _remembered(self, uid: str) -> _Known:
        known = self._known.setdefault(uid, _Known())
        self._known.move_to_end(uid)
        while len(self._known) > _REMEMBERED:
            oldest = next(iter(self._known))
            if self._known[oldest].lock.locked():
                break
            del self._known[oldest]
        return known
