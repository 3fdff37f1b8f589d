"""One simulated server: what it is at a moment, and how the API tells it."""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Final

from moorage.testbed.hetzner.catalogue import LOCATIONS

Obj = dict[str, Any]
BOOT: Final = 0.2
"""Seconds from a creation to `running`."""
TURN: Final = 0.05
"""Seconds of a start, a stop or a deletion."""
_PUBLIC = ipaddress.ip_network("10.200.0.0/13")


@dataclass
class Action:
    """What was asked for, and when it is over. `error` is how it ends then, None for well."""

    id: int
    command: str
    resources: list[Obj]
    started: float
    finishes: float
    error: Obj | None = None

    def show(self, now: float) -> Obj:
        """As the API tells it."""
        over = now >= self.finishes
        return {
            "id": self.id,
            "command": self.command,
            "status": "running" if not over else "error" if self.error else "success",
            "progress": 100 if over else 50,
            "started": stamp(self.started),
            "finished": stamp(self.finishes) if over else None,
            "resources": self.resources,
            "error": self.error if over else None,
        }


@dataclass
class Server:
    """A server. `power` is what it was told last, at `turned`; `ends` is when its deletion is over."""

    id: int
    name: str
    type: Obj
    image: Obj
    location: str
    labels: dict[str, str]
    user_data: str
    created: float
    fails: bool
    ipv4: bool
    ipv6: bool
    networks: list[Obj]
    firewalls: list[int]
    placement_group: int | None
    power: bool = True
    turned: float = 0.0
    ends: float | None = None
    protected: bool = False
    volumes: list[int] = field(default_factory=list)
    actions: list[Action] = field(default_factory=list)

    def gone(self, now: float) -> bool:
        """Whether its deletion is over."""
        return self.ends is not None and now >= self.ends

    def status(self, now: float) -> str:
        """The API's word."""
        if self.ends is not None:
            return "deleting"
        if now < self.created + BOOT:
            return "initializing" if now < self.created + BOOT / 2 or self.fails else "starting"
        if self.fails and self.turned == 0.0:
            return "off"
        if now < self.turned + TURN:
            return "starting" if self.power else "stopping"
        return "running" if self.power else "off"

    def show(self, now: float, group: Obj | None) -> Obj:
        """As the API tells it."""
        address = str(_PUBLIC[self.id % _PUBLIC.num_addresses])
        network = f"2001:db8:{self.id >> 16 & 0xFFFF:x}:{self.id & 0xFFFF:x}::/64"
        v4 = {"id": self.id + 1, "ip": address, "blocked": False, "dns_ptr": f"static.{address}.example"}
        v6 = {"id": self.id + 2, "ip": network, "blocked": False, "dns_ptr": []}
        return {
            "id": self.id,
            "name": self.name,
            "status": self.status(now),
            "created": stamp(self.created),
            "public_net": {
                "ipv4": v4 if self.ipv4 else None,
                "ipv6": v6 if self.ipv6 else None,
                "floating_ips": [],
                "firewalls": [{"id": number, "status": "applied"} for number in self.firewalls],
            },
            "private_net": self.networks,
            "server_type": self.type,
            "location": LOCATIONS[self.location],
            "image": self.image,
            "iso": None,
            "rescue_enabled": False,
            "locked": False,
            "backup_window": None,
            "outgoing_traffic": 0,
            "ingoing_traffic": 0,
            "included_traffic": 21990232555520,
            "protection": {"delete": self.protected, "rebuild": self.protected},
            "labels": self.labels,
            "volumes": self.volumes,
            "load_balancers": [],
            "primary_disk_size": self.type["disk"],
            "placement_group": group,
        }


def stamp(seconds: float) -> str:
    """RFC 3339, as the API writes it."""
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="seconds")
