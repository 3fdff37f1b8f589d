"""What turned out to have no room for a group: remembered in its status for a while, so that it is tried elsewhere.

An entry is about one service, one offering and one set of settings, the zone among them. Other zones of the service
come first; where its backend knows settings to try next (on-demand after spot, say), those are next, on the same
service; an offering is exhausted once none is left.

Beside these stand zones in trouble: where a server failed for anything else before its agent ever joined. They are
passed over for as long, but only while another zone is open, and count for nothing else.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import Any, Final

from moorage.api.placement import Exhausted
from moorage.core.zones import Zones, ZonesOf, no_zones

NO_ROOM: Final = frozenset({"InsufficientCapacity", "QuotaExceeded"})
"""The reasons of servers that could not be made where others may yet be."""

EXHAUSTED_FOR: Final = timedelta(minutes=10)
"""How long what had no room is not tried for this group again, where there is something else to try."""

MAX_EXHAUSTED: Final = 40
"""How much is remembered. A service to which all of that belongs has no room for anything: what was forgotten would be
tried for ever."""
MAX_FULL_ZONES: Final = 6
"""How many zones without room say that the others have none either: each try costs calls and time."""
_WORDS: Final = 256
_MAX_FALLBACKS: Final = 8
_NOT_OF_A_ZONE: Final = "QuotaExceeded"

Fallback = Callable[[str, Mapping[str, Any]], Mapping[str, Any] | None]
"""From a type of service and settings with which it had no room to those to try next; None: there are none."""


def no_fallback(_type: str, _settings: Mapping[str, Any]) -> None:
    """There is nothing to try next."""


def settings_mark(settings: Mapping[str, Any]) -> str:
    """16 hex digits that tell these settings from others; settings are public, in the spec of a VirtualServer."""
    text = json.dumps(settings, sort_keys=True, separators=(",", ":"), default=str)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def in_trouble(zone: str, image: str, settings: Mapping[str, Any]) -> Mapping[str, Any]:
    """What stands for the settings in the entry about a zone in trouble, settings that no server has: the zone, and
    what was made there, for the fault may be in that. ``settings`` are those without the zone."""
    return {"": zone, "image": image, "settings": dict(settings)}


@dataclass(frozen=True, slots=True)
class Attempted:
    """What a server that found no room was to be made from, and what the service said."""

    service: str
    service_uid: str
    offering: str
    settings: Mapping[str, Any]
    reason: str
    message: str
    at: datetime

    def entry(self) -> Exhausted:
        """As status remembers it."""
        return Exhausted(
            service=self.service,
            service_uid=self.service_uid,
            offering=self.offering,
            settings=settings_mark(self.settings),
            reason=self.reason,
            message=self.message[:_WORDS],
            until=self.at.replace(microsecond=0) + EXHAUSTED_FOR,
        )


@dataclass(frozen=True, slots=True)
class Room:
    """Settings that are still to be tried: in one of ``zones``, where the service has any; ``full`` are those without
    room, ``troubled`` those that are passed over for what happened there."""

    settings: Mapping[str, Any]
    zones: Zones = field(default_factory=dict)
    full: Mapping[str, Exhausted] = field(default_factory=dict)
    troubled: Mapping[str, Exhausted] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Exhaustion:
    """What is known to have no room at a moment."""

    entries: Sequence[Exhausted]
    now: datetime
    fallback: Fallback = no_fallback
    zones: ZonesOf = no_zones

    def concerns(self, service_uid: str) -> bool:
        """Whether anything is known of the service."""
        return any(entry.service_uid == service_uid for entry in self.entries)

    def of(self, service_uid: str, offering: str, settings: Mapping[str, Any]) -> Exhausted | None:
        """The entry about exactly this, while it holds."""
        if not self.entries:
            return None
        mark = settings_mark(settings)
        for entry in self.entries:
            key = entry.service_uid, entry.offering, entry.settings
            if key == (service_uid, offering, mark) and entry.until > self.now:
                return entry
        return None

    def room(self, service_uid: str, offering: str, settings: Mapping[str, Any], image: str = "") -> Room | Exhausted:
        """Where these settings are still to be tried, or the first entry that ends where no zone is left."""
        known = [entry for entry in self._of_service(service_uid) if entry.reason in NO_ROOM]
        if len(known) >= MAX_EXHAUSTED:
            first = min(known, key=lambda entry: entry.until)
            return first.model_copy(update={"message": f"nor had {len(known) - 1} others there: {first.message}"})
        zones = self.zones(service_uid, settings)
        if not zones:
            return self.of(service_uid, offering, settings) or Room(settings)
        tried = {name: self.of(service_uid, offering, {**settings, **added}) for name, added in zones.items()}
        full = {name: entry for name, entry in tried.items() if entry is not None}
        quota = next((entry for entry in full.values() if entry.reason == _NOT_OF_A_ZONE), None)
        if quota is not None:
            return quota
        if len(full) < min(len(zones), MAX_FULL_ZONES):
            left = Room(settings, {name: zones[name] for name in zones if name not in full}, full)
            return self._beside_trouble(service_uid, left, image)
        first = min(full.values(), key=lambda entry: entry.until)
        return first.model_copy(update={"message": f"in no zone of {', '.join(full)}: {first.message}"})

    def _of_service(self, service_uid: str) -> list[Exhausted]:
        return [entry for entry in self.entries if entry.service_uid == service_uid and entry.until > self.now]

    def _beside_trouble(self, service_uid: str, room: Room, image: str) -> Room:
        """The same without the zones in trouble, where that leaves any."""
        known = {entry.settings: entry for entry in self._of_service(service_uid)}
        marks = {name: settings_mark(in_trouble(name, image, room.settings)) for name in room.zones}
        troubled = {name: known[mark] for name, mark in marks.items() if mark in known}
        if len(troubled) == len(room.zones):
            return room
        zones = {name: added for name, added in room.zones.items() if name not in troubled}
        return replace(room, zones=zones, troubled=troubled)

    def left(
        self, service_uid: str, type_: str, offering: str, settings: Mapping[str, Any], image: str = ""
    ) -> Room | Exhausted:
        """The first settings that are still to be tried, or the last entry where there are none."""
        found: Room | Exhausted = Room(settings)
        for tried in in_turn(type_, settings, self.fallback):
            found = self.room(service_uid, offering, tried, image)
            if isinstance(found, Room):
                return found
        return found

    def until(self) -> datetime | None:
        """When the first entry ends; None where there is none."""
        return min((entry.until for entry in self.entries if entry.until > self.now), default=None)


def in_turn(type_: str, settings: Mapping[str, Any], fallback: Fallback) -> Iterator[Mapping[str, Any]]:
    """The settings and those that are tried after them, a bounded number."""
    tried: Mapping[str, Any] | None = settings
    for _ in range(_MAX_FALLBACKS):
        if tried is None:
            return
        yield tried
        tried = fallback(type_, tried)


def remembered(entries: Iterable[Exhausted], attempts: Iterable[Attempted], now: datetime) -> tuple[Exhausted, ...]:
    """The entries with what `attempts` add, without those that are over: at most 40, first the newest about room, then
    the newest about zones in trouble.

    What a service had no room for holds as long as the last such thing: trying all that it has may take longer than any
    one entry holds, and would begin anew for ever.
    """
    kept = {key_of(entry): entry for entry in entries if entry.until > now}
    gained: set[str] = set()
    for attempt in sorted(attempts, key=lambda a: (a.at, a.offering, settings_mark(a.settings))):
        entry = attempt.entry()
        if entry.until > now and key_of(entry) not in kept:
            kept[key_of(entry)] = entry
            gained |= {entry.service_uid} if entry.reason in NO_ROOM else set()
    for service_uid in gained:
        full = {k: e for k, e in kept.items() if e.service_uid == service_uid and e.reason in NO_ROOM}
        until = max(entry.until for entry in full.values())
        kept |= {key: entry.model_copy(update={"until": until}) for key, entry in full.items()}
    order = sorted(kept.values(), key=lambda e: (e.reason in NO_ROOM, e.until, *key_of(e)), reverse=True)
    return tuple(sorted(order[:MAX_EXHAUSTED], key=lambda e: (e.until, *key_of(e))))


def key_of(entry: Exhausted) -> tuple[str, str, str]:
    """What an entry is about. A zone is in trouble with whatever offering."""
    return entry.service_uid, entry.offering if entry.reason in NO_ROOM else "", entry.settings
