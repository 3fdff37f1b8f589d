"""What a connection to a hosting service needs of its surroundings."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

from moorage.core.facts import Lookup
from moorage.runtime.admission import CallObserver


@dataclass(slots=True)
class Hooks:
    """What a connection needs of its surroundings.

    ``guard`` raises where this process may not act; ``recorded`` tells the provider ids in status with since when;
    ``on_inventory`` gets the keys that changed after each complete inventory, ``on_trouble`` is told when the
    connection's own state (circuit, account, freeze) changed. ``on_event`` gets a direct answer that an event led to,
    and tells whether it concerns anybody; ``on_room`` gets the key of a server that may be created now.
    """

    guard: Callable[[], None]
    recorded: Callable[[], Iterable[tuple[str, float]]]
    on_inventory: Callable[[set[str]], None]
    on_trouble: Callable[[], None]
    observers: list[CallObserver] = field(default_factory=list)
    on_event: Callable[[str, Lookup], bool] = lambda _id, _lookup: False
    on_room: Callable[[tuple[str, str]], None] = lambda _: None
