"""Inventories of one hosting service: when the next is due, what the last two showed, what changed between them."""

from __future__ import annotations

import random
from collections import defaultdict
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta

from moorage.core.facts import Inventory, Seen, SeenState
from moorage.core.lifecycle import overshoot
from moorage.hosting.contract import (
    RELEASED,
    TAG_INSTALLATION,
    TAG_NAMESPACE,
    TAG_SERVER,
    TAG_SERVICE,
    ServerRecord,
    identity_key,
)
from moorage.hosting.contract import Inventory as Listing

JITTER = 0.1
ATTENTION = 5.0
"""Seconds between inventories while a server is awaited that nothing else announces."""
OVERDUE = 5
"""With no complete inventory for so many times the seconds between two of them, a service is not available: that a
server is lost, or was made after all, would not be noticed."""
EVENTS_FACTOR = 10
EVENTS_LONGEST = 600.0
EVENTS_ATTENTION = 30.0
"""While a service tells its events: how many times rarer inventories are, the seconds between them at most (unless the
interval itself is longer), and those while a server is awaited, of which an event should tell, and may be lost."""


def seen_of(record: ServerRecord) -> Seen:
    """The facts that decisions rest on, of a record of the service."""
    installation, server = record.tags.get(TAG_INSTALLATION), record.tags.get(TAG_SERVER)
    owner, key = None, record.key
    if server is not None:
        owner = server if server == RELEASED else f"{installation or ''}/{server}"
        if key is None and installation is not None and server != RELEASED:
            # A service without idempotency keys may have nowhere to show ours; the tags name the same identity.
            key = identity_key(installation, server)
    return Seen(
        provider_id=record.provider_id,
        key=key,
        owner=owner,
        state=SeenState(record.state.value),
        addresses=tuple((a.type.value, a.address) for a in record.addresses),
        message=record.message,
        namespace=record.tags.get(TAG_NAMESPACE),
        service=record.tags.get(TAG_SERVICE),
        offering=record.offering,
        zone=record.zone,
    )


def inventory_of(listing: Listing, started: datetime, steady: float) -> Inventory:
    """A complete listing, indexed by provider id and by key."""
    seen = [seen_of(record) for record in listing.servers]
    by_key: dict[str, list[Seen]] = defaultdict(list)
    for server in seen:
        if server.key is not None:
            by_key[server.key].append(server)
    return Inventory(
        started=started,
        steady=steady,
        by_id={server.provider_id: server for server in seen},
        by_key={key: tuple(servers) for key, servers in by_key.items()},
    )


def changed_keys(old: Inventory | None, new: Inventory) -> set[str]:
    """Keys whose servers appeared, changed or went between two inventories."""
    before = old.by_key if old is not None else {}
    return {key for key in before.keys() | new.by_key.keys() if before.get(key) != new.by_key.get(key)}


def kept_inventory(previous: Inventory | None, latest: Inventory | None, lag: timedelta) -> Inventory | None:
    """The inventory that the next one is held against.

    An older one stays until the latest is more than the lag younger: where inventories follow each other faster than
    that, two neighbours could never confirm an absence.
    """
    if previous is None or latest is None:
        return latest
    close = latest.steady - previous.steady <= lag.total_seconds()
    return previous if close else latest


def owned_uids(listing: Listing, installation: str, service_uid: str) -> dict[str, str]:
    """Servers of this installation and HostingService: provider id -> VirtualServer uid; released ones are nobody's."""
    return {
        record.provider_id: record.tags[TAG_SERVER]
        for record in listing.servers
        if record.tags.get(TAG_INSTALLATION) == installation
        and record.tags.get(TAG_SERVICE) == service_uid
        and record.tags.get(TAG_SERVER, "released") != "released"
    }


def patience(pace: float, longest: float) -> float:
    """Seconds that the next complete inventory may be in coming: some that failed, or one that takes its time.

    ``pace`` are those between two of them, ``longest`` those that one may take.
    """
    return max(OVERDUE * pace, pace + longest)


def pause_after(failures: int, interval: float) -> float:
    """Seconds until an inventory is tried again that failed so many times in a row; at most the interval."""
    return min(0.5 * float(1 << min(failures, 16)), interval)


@dataclass(slots=True)
class Timetable:
    """When the next inventory is due: by its interval, or because something waits for one younger than a moment."""

    interval: float
    jitter: Callable[[], float] = random.random
    flows: bool = False
    """Whether the service tells its events."""
    _newer_than: datetime | None = None
    _attention: bool = False

    def need(self, newer_than: datetime) -> None:
        """Something waits for a complete inventory that was started after ``newer_than``."""
        if self._newer_than is None or newer_than > self._newer_than:
            self._newer_than = newer_than

    @property
    def is_awaited(self) -> bool:
        """Whether something waits for an inventory younger than a moment."""
        return self._newer_than is not None

    def watch(self) -> None:
        """A server is awaited: look more often until the next inventory."""
        self._attention = True

    @property
    def pace(self) -> float:
        """Seconds between two inventories, while nothing is awaited."""
        return max(self.interval, min(EVENTS_FACTOR * self.interval, EVENTS_LONGEST)) if self.flows else self.interval

    def delay(self, last: datetime | None, now: datetime) -> float:
        """Seconds until the next inventory shall start."""
        if last is None:
            return 0.0
        wait = self.pace * (1 + JITTER * (2 * self.jitter() - 1))
        if self._attention:
            wait = min(wait, EVENTS_ATTENTION if self.flows else ATTENTION)
        due = min(last, now) + timedelta(seconds=wait)
        if self._newer_than is not None and (last <= self._newer_than or last > now):
            due = min(due, self._newer_than + timedelta(milliseconds=1))
        return max(0.0, (due - now).total_seconds())

    def done(self, started: datetime) -> None:
        """An inventory that was started then is complete."""
        self._attention = False
        if self._newer_than is not None and started > self._newer_than:
            self._newer_than = None


def freeze(service: str, recorded: int, missing: int) -> str:
    """Why no absence is believed now; "" where it may be."""
    if not overshoot(recorded, missing):
        return ""
    return (
        f"{missing} of {recorded} servers are missing from {service} at once: none is called lost before a person has "
        "looked (are endpoint, project and credentials the right ones?)"
    )


def missing_share(recorded: Iterable[tuple[str, float]], inventory: Inventory, lag: timedelta) -> tuple[int, int]:
    """How many recorded servers there are, and how many of them the inventory ought to show and does not.

    Each with since when it is known to be recorded, on the steady clock.
    """
    old = [provider_id for provider_id, since in recorded if since + lag.total_seconds() < inventory.steady]
    return len(old), sum(provider_id not in inventory.by_id for provider_id in old)
