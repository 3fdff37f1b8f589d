"""The reconciler of VirtualServerConfig: is it valid, which generation is kept, who uses it."""

from __future__ import annotations

import contextlib
import logging
from datetime import datetime, timedelta

from moorage.api import conditions as c
from moorage.api.meta import Condition
from moorage.api.virtualserverconfig import UsedBy, VirtualServerConfig, VirtualServerConfigStatus
from moorage.controllers.context import Context, QueueKey
from moorage.controllers.revisions import ensure_revision, namespace_ends
from moorage.controllers.tables import Tables
from moorage.core.problems import joined
from moorage.core.validation import Problem, validate
from moorage.hosting.errors import Invalid
from moorage.hosting.registry import registry
from moorage.kube.apply import Written, refresh
from moorage.kube.errors import Conflict, Forbidden, InvalidObject, NotFound
from moorage.kube.kinds import CONTROLLER_REVISION, VIRTUAL_SERVER_CONFIG
from moorage.runtime.workers import AGAIN, DONE, Result

log = logging.getLogger(__name__)
YOUNG = timedelta(minutes=1)


class ConfigController:
    """Reconciles VirtualServerConfigs, and clears away kept generations that nothing uses any more."""

    def __init__(self, context: Context, tables: Tables) -> None:
        self._context = context
        self._tables = tables

    async def reconcile(self, key: QueueKey) -> Result:
        """One step towards what the object asks for."""
        namespace, name = key
        obj = self._tables.configs.get(namespace, name)
        if obj is None:
            return await self._clear(namespace, name, "")
        try:
            config = self._tables.configs.parse(obj)
        except InvalidObject as error:
            log.error("cannot be read: %s", error)
            return DONE
        if config.metadata.deleting or namespace_ends(self._tables, namespace):
            return DONE
        problems = [*validate(config.spec), *_settings_problems(config)]
        current = config.status.current_revision
        if not problems:
            try:
                current = (await ensure_revision(self._context, self._tables, config)).name
            except Forbidden as error:
                if error.namespace_terminating:
                    return DONE
                raise
            except NotFound:
                # There is no such namespace any more: the object went with it, and no watch has said so yet.
                if await refresh(self._context.client, self._context.store, VIRTUAL_SERVER_CONFIG, obj) is not None:
                    raise
                return DONE
        written = await self._context.writer.write(
            VIRTUAL_SERVER_CONFIG,
            obj,
            self._status(config, problems, current).to_dict(),
            hard=config.status.observed_generation != config.metadata.generation,
        )
        cleared = await self._clear(namespace, name, current or "")
        return AGAIN if written is Written.CONFLICT else cleared

    def _status(
        self, config: VirtualServerConfig, problems: list[Problem], current: str | None
    ) -> VirtualServerConfigStatus:
        now, generation, meta = self._context.clock.now(), config.metadata.generation, config.metadata
        groups = self._tables.groups.count("config", (meta.namespace, meta.name))
        servers = self._tables.servers.count("config", ("config", meta.namespace, meta.name))
        for revision in self._tables.revisions.by_index("config", (meta.namespace, meta.name)):
            servers += self._tables.servers.count("config", ("revision", meta.namespace, revision["metadata"]["name"]))
        if problems:
            reason, message = problems[0].reason, joined(map(str, problems))
            found: tuple[Condition, ...] = (
                c.condition(c.VALID, False, reason, message, now, generation),
                c.condition(c.READY, False, reason, message, now, generation),
                c.condition(c.STALLED, True, reason, message, now, generation),
            )
        else:
            message = f"{len(config.spec.configuration)} items, {len(config.spec.outputs)} outputs"
            found = (
                c.condition(c.VALID, True, "Valid", message, now, generation),
                c.condition(c.READY, True, "Valid", message, now, generation),
            )
        return VirtualServerConfigStatus(
            observed_generation=generation,
            conditions=c.replace(config.status.conditions, found),
            current_revision=current,
            used_by=UsedBy(groups=groups, servers=servers),
        )

    async def _clear(self, namespace: str, config: str, current: str) -> Result:
        """Delete kept generations that no server rests on: they were only there for servers.

        A young one stays a while: a group may be posting the server that it was made for.
        """
        young = False
        for obj in self._tables.revisions.by_index("config", (namespace, config)):
            meta = obj["metadata"]
            used = self._tables.servers.count("config", ("revision", namespace, meta["name"]))
            if used or meta["name"] == current or meta.get("deletionTimestamp"):
                continue
            if self._context.clock.now() - datetime.fromisoformat(meta["creationTimestamp"]) < YOUNG:
                young = True
                continue
            with contextlib.suppress(NotFound, Conflict):
                await self._context.client.delete(CONTROLLER_REVISION, namespace, meta["name"], uid=meta["uid"])
            self._tables.revisions.removed(meta["uid"])
        return Result(after=YOUNG.total_seconds()) if young else DONE


def _settings_problems(config: VirtualServerConfig) -> list[Problem]:
    """Settings that a backend which is installed here refuses."""
    found: list[Problem] = []
    for settings in config.spec.settings:
        if settings.service_type not in registry().names:
            continue
        try:
            factory = registry().get(settings.service_type)
        except Invalid:
            continue  # it cannot be loaded here, so no HostingService of this type works: that is told there
        try:
            factory.validate_server_settings(settings.values)
        except Invalid as error:
            path = f"spec.settings[{settings.service_type}].{error.field or 'values'}"
            found.append(Problem(path, "InvalidSettings", error.message))
    return found
