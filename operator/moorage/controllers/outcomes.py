"""Collects what becomes of servers, until their HostingService's status has it."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable
from datetime import timedelta
from typing import Final

from moorage.api.hostingservice import Outcome
from moorage.api.names import server_secret
from moorage.controllers.context import Context
from moorage.controllers.state import tried_since
from moorage.controllers.tables import Tables
from moorage.core.outcomes import KEPT, outcome_of
from moorage.kube.errors import InvalidObject
from moorage.kube.kinds import HOSTING_SERVICE
from moorage.kube.store import Obj

DEBOUNCE: Final = 5.0
"""Seconds for which outcomes are gathered before they are written."""


class Outcomes:
    """What is here is also in the VirtualServers, except for those that are gone: a controller that is killed before
    the status is written does not count these, and nothing else rests on it."""

    def __init__(self, context: Context, tables: Tables) -> None:
        self._context = context
        self._tables = tables
        self._seen: dict[str, dict[str, Outcome]] = {}
        tables.servers.subscribe(self._take)

    def of(self, service_uid: str) -> Iterable[Outcome]:
        """The newest outcomes on a service."""
        return tuple(self._seen.get(service_uid, {}).values())

    def forget(self, service_uids: Iterable[str]) -> None:
        """Services that are gone."""
        for uid in service_uids:
            self._seen.pop(uid, None)

    def _take(self, old: Obj | None, new: Obj | None) -> None:
        obj = new or old
        assert obj is not None  # noqa: S101 - a change has at least one side
        ref, uid = obj["spec"]["serviceRef"], obj["metadata"]["uid"]
        if not ref.get("uid"):
            return
        seen = self._seen.setdefault(ref["uid"], {})
        if uid in seen:
            return
        tried_at = tried_since(self._tables.secrets.get(obj["metadata"]["namespace"], server_secret(uid)))
        outcome = outcome_of(obj, tried_at, self._boot_timeout(obj))
        if outcome is None:
            return
        seen[uid] = outcome
        if len(seen) > KEPT:
            del seen[min(seen, key=lambda u: (seen[u].at, u))]
        self._context.enqueue(HOSTING_SERVICE, "", ref["name"], after=DEBOUNCE)

    def _boot_timeout(self, obj: Obj) -> timedelta | None:
        group = obj["spec"].get("group")
        if group is None or not obj["metadata"].get("deletionTimestamp"):
            return None
        with contextlib.suppress(InvalidObject):
            found = self._tables.groups.parsed(obj["metadata"]["namespace"], group["name"])
            return None if found is None else found.spec.remediation.boot_timeout
        return None
