"""Servers of one service that run on without a VirtualServer: somebody still pays for them.

They were let go (`deletionPolicy: Retain`), or are orphans: whoever takes a finalizer off by force gets no room by it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from moorage.core.facts import RELEASED, Inventory, Seen


class Released:
    """What the latest inventory shows, and what was let go since: an inventory comes now and then only."""

    def __init__(self, service_uid: str) -> None:
        self._service = service_uid
        self._shown: dict[str, Seen] = {}
        self._noted: dict[str, tuple[Seen, float]] = {}
        self._listed: Mapping[str, Seen] = {}
        self.orphans: frozenset[str] | None = None
        """Those that are confirmed to be orphans; None until this process has judged which are."""

    def note(self, seen: Seen, offering: str | None, steady: float) -> None:
        """One is about to be nobody's: it counts until an inventory tells."""
        if seen.service != self._service:
            return
        self._noted[seen.provider_id] = replace(seen, offering=seen.offering or offering), steady

    def inventory(self, latest: Inventory, lag: float) -> None:
        """A complete inventory has come; the service's listings lag behind by so many seconds."""
        self._listed = latest.by_id
        self._shown = {
            seen.provider_id: seen
            for seen in latest.by_id.values()
            if seen.owner == RELEASED and seen.service == self._service
        }
        self._noted = {k: (seen, at) for k, (seen, at) in self._noted.items() if latest.steady <= at + lag}

    def servers(self) -> Mapping[str, Seen]:
        """By the service's id of them."""
        lost = {key: self._listed[key] for key in self.orphans or () if key in self._listed}
        return {**self._shown, **lost, **{key: seen for key, (seen, _) in self._noted.items()}}
