"""Act on drift: undo what was changed of a server behind our back, where its driftPolicy asks for that."""

from __future__ import annotations

import logging
from dataclasses import replace

from moorage.controllers.acts import Acts
from moorage.controllers.context import Context
from moorage.controllers.observation import Observed
from moorage.core.drift import find_drifts
from moorage.core.steps import Remedy
from moorage.hosting.errors import HostingError
from moorage.kube.events import EventType
from moorage.kube.kinds import VIRTUAL_SERVER
from moorage.runtime.logs import fields
from moorage.runtime.service import ServiceConnection

log = logging.getLogger(__name__)


class Repairs:
    """Starts, resizes and tags servers again. Each is asked for only after a fresh look, and is harmless twice."""

    def __init__(self, context: Context, acts: Acts) -> None:
        self._context = context
        self._acts = acts

    async def repair(self, seen: Observed, provider_id: str, remedy: Remedy) -> None:
        """Undo a drift that a fresh look still shows; a refusal is remembered with it, and never ends the object."""
        connection = seen.connection
        if connection is None:
            return
        await self._acts.ask(seen, provider_id)
        lookup = seen.memory.lookup
        if seen.memory.failure is not None or lookup is None:
            return
        facts = replace(seen.facts, lookup=lookup)
        drift = next((d for d in find_drifts(facts, lookup.seen) if d.remedy is remedy), None)
        if drift is None:
            return
        problem = ""
        try:
            await self._ask_for(seen, connection, provider_id, remedy)
        except HostingError as error:
            problem = error.message
        seen.memory.repaired(drift.reason, self._context.clock.monotonic(), problem)
        message = f"server {provider_id}: {drift.message}; {connection.name} was asked to undo that"
        self._tell(
            seen, drift.reason, f"{message}, and refused: {problem}" if problem else message, failed=bool(problem)
        )
        if not problem:
            await self._acts.ask(seen, provider_id)

    async def _ask_for(self, seen: Observed, connection: ServiceConnection, provider_id: str, remedy: Remedy) -> None:
        match remedy:
            case Remedy.START:
                await connection.power_on(provider_id)
            case Remedy.RESIZE:
                await connection.resize(provider_id, seen.facts.offering or "")
            case Remedy.RETAG:
                await connection.retag(provider_id, self._acts.requests.tags(seen))

    def _tell(self, seen: Observed, drift: str, message: str, *, failed: bool) -> None:
        log.info("%s", message, extra=fields(reason=drift))
        kind: EventType = "Warning" if failed else "Normal"
        reason = "RepairFailed" if failed else "Repaired"
        self._context.events.record(VIRTUAL_SERVER, seen.obj, kind, reason, message)
