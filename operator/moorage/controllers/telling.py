"""Events and log lines of what a status says anew, whoever wrote it and however long it was held before.

It looks at the caches alone: each status that was written passes there once, and only the leader has this.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable
from typing import Any

from moorage.api.names import ANNOTATION_APPROVAL
from moorage.controllers.context import Context
from moorage.controllers.tables import Tables
from moorage.core.news import FOR_A_PERSON, News, changed_readings, group_news, policy_news, service_news
from moorage.core.policy.approval import Approval
from moorage.core.policy.readings import spell
from moorage.kube.kinds import HOSTING_POLICY, HOSTING_SERVICE, SERVER_GROUP, Kind
from moorage.kube.store import Obj, key_of

log = logging.getLogger(__name__)


class Telling:
    """Subscribes to groups, services and policies."""

    def __init__(self, context: Context, tables: Tables) -> None:
        self._context = context
        tables.groups.subscribe(_approvals)
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


def _approvals(old: Obj | None, new: Obj | None) -> None:
    """Who approved what, when it is given, changed or taken back: the annotation keeps only the last."""
    was, now = _approval(old), _approval(new)
    if old is None or new is None or was == now:
        return
    log.info("%s: %s", _name(SERVER_GROUP, new), "the approval was taken back" if now is None else _approved(now))


def _approved(text: str) -> str:
    try:
        found = Approval.parse(text)
    except ValueError as error:
        return f"the approval cannot be read: {error}"
    until = f" until {spell(found.until)}" if found.until is not None else ""
    why = f" ({found.reason})" if found.reason else ""
    return f"{found.by!r} approved generation {found.generation} at {spell(found.at)}{until}{why}"


def _approval(obj: Obj | None) -> str | None:
    annotations = (obj or {}).get("metadata", {}).get("annotations") or {}
    found: str | None = annotations.get(ANNOTATION_APPROVAL)
    return found


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
