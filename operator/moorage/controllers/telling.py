"""Events and log lines of what a status says anew, whoever wrote it and however long it was held before.

It looks at the caches alone: each status that was written passes there once, and only the leader has this.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable
from typing import Any

from moorage.controllers.context import Context
from moorage.controllers.tables import Tables
from moorage.core.news import FOR_A_PERSON, News, changed_readings, group_news, policy_news, service_news
from moorage.kube.kinds import HOSTING_POLICY, HOSTING_SERVICE, SERVER_GROUP, Kind
from moorage.kube.store import Obj, key_of

log = logging.getLogger(__name__)


class Telling:
    """Subscribes to groups, services and policies."""

    def __init__(self, context: Context, tables: Tables) -> None:
        self._context = context
        tables.groups.subscribe(_on_change(self._group))
        tables.services.subscribe(_on_change(self._service))
        tables.policies.subscribe(_on_change(self._policy))

    def _group(self, old: Obj, new: Obj) -> None:
        for news in group_news(_part(old, "conditions"), _part(new, "conditions")):
            self._tell(SERVER_GROUP, new, news)
        before, after = _state(old), _state(new)
        for line in changed_readings(before.get("readings") or (), after.get("readings") or ()):
            log.info("%s: %s", _name(SERVER_GROUP, new), line)
        if before.get("verdict") != after.get("verdict"):
            told = after.get("name"), before.get("verdict"), after.get("verdict"), after.get("message")
            log.info("%s: policy %s: %s -> %s: %s", _name(SERVER_GROUP, new), *told)

    def _service(self, old: Obj, new: Obj) -> None:
        for news in service_news(_part(old, "conditions"), _part(new, "conditions")):
            self._tell(HOSTING_SERVICE, new, news)

    def _policy(self, old: Obj, new: Obj) -> None:
        before, after = _part(old, "readings"), _part(new, "readings")
        for line in changed_readings(before, after):
            log.info("%s: %s", _name(HOSTING_POLICY, new), line)
        for news in policy_news(before, after):
            self._context.events.record(HOSTING_POLICY, new, news.type, news.reason, news.message)

    def _tell(self, kind: Kind, obj: Obj, news: News) -> None:
        level = logging.WARNING if news.reason in FOR_A_PERSON else logging.INFO
        log.log(level, "%s: %s: %s", _name(kind, obj), news.reason, news.message)
        self._context.events.record(kind, obj, news.type, news.reason, news.message)


def _on_change(tell: Callable[[Obj, Obj], None]) -> Callable[[Obj | None, Obj | None], None]:
    """Of one and the same object, and only where its status differs: most changes are of something else."""

    def subscriber(old: Obj | None, new: Obj | None) -> None:
        if old is not None and new is not None and old.get("status") != new.get("status"):
            tell(old, new)

    return subscriber


def _part(obj: Obj, name: str) -> Iterable[Any]:
    return (obj.get("status") or {}).get(name) or ()


def _state(obj: Obj) -> Obj:
    found: Obj = (obj.get("status") or {}).get("policy") or {}
    return found


def _name(kind: Kind, obj: Obj) -> str:
    return f"{kind.kind} {'/'.join(part for part in key_of(obj) if part)}"
