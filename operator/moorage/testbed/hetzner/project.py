"""One simulated project: its servers and the rules by which it refuses. No network in here.

Statuses and codes are those of the API reference (https://docs.hetzner.cloud/reference/cloud#errors); where it gives no
status for a code, the one that Hetzner's own clients expect.
"""

from __future__ import annotations

import itertools
import re
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any, Final

from moorage.testbed.hetzner.catalogue import IMAGES, LOCATIONS, SERVER_TYPES
from moorage.testbed.hetzner.servers import BOOT, TURN, Action, Obj, Server, stamp

MAX_USER_DATA: Final = 32 * 1024
MAX_SPREAD: Final = 10
"""Most servers of a placement group of type spread."""
_HOST = re.compile(
    r"^(?=.{1,253}$)[A-Za-z0-9]([A-Za-z0-9-]{0,61}[A-Za-z0-9])?(\.[A-Za-z0-9]([A-Za-z0-9-]{0,61}[A-Za-z0-9])?)*$"
)
_VALUE = re.compile(r"^([A-Za-z0-9]([A-Za-z0-9._-]{0,61}[A-Za-z0-9])?)?$")
_LABEL = re.compile(r"^([a-z0-9.-]{1,253}/)?[A-Za-z0-9]([A-Za-z0-9._-]{0,61}[A-Za-z0-9])?$")


class Refusal(Exception):
    """What the API answers instead."""

    def __init__(self, status: int, code: str, message: str, details: Obj | None = None) -> None:
        super().__init__(message)
        self.status, self.code, self.message, self.details = status, code, message, details


def invalid(field: str, message: str) -> Refusal:
    """422 with the field that is wrong."""
    details = {"fields": [{"name": field, "messages": [message]}]}
    return Refusal(422, "invalid_input", f"invalid input in field '{field}'", details)


def missing(what: str) -> Refusal:
    """404 in the API's own words."""
    return Refusal(404, "not_found", f"{what} not found")


@dataclass
class Faults:
    """What the project is told to do wrong; None and 0 for nothing."""

    capacity: int | None = None
    quota: int | None = None
    throttle: float | None = None
    throttled: bool = False
    lag: float = 0.0
    revoked: bool = False
    boot_fails: bool = False
    refuse: tuple[int, str] | None = None
    """Status and code with which every call that changes something is refused."""


class Project:
    """A project of the account. Ids come from a count that all projects of one process share."""

    def __init__(self, ids: Iterator[int]) -> None:
        self.ids = ids
        self.faults = Faults()
        self.servers: dict[int, Server] = {}
        self.groups: dict[int, Obj] = {}
        self.volumes: dict[int, Obj] = {}
        self.keys = {"admin": next(ids)}
        self.networks = [next(ids)]
        self.firewalls = [next(ids)]
        self.made: list[Obj] = []

    # Servers

    def server(self, number: int) -> Server:
        """A server that is not gone. Raises Refusal."""
        found = self.servers.get(number)
        if found is None or found.gone(time.time()):
            raise missing(f"server with ID '{number}'")
        return found

    def live(self) -> list[Server]:
        """All that are not gone, in the order of their ids."""
        now = time.time()
        return [server for _, server in sorted(self.servers.items()) if not server.gone(now)]

    def listed(self) -> list[Server]:
        """What a list shows, which may be behind."""
        then = time.time() - self.faults.lag
        return [each for _, each in sorted(self.servers.items()) if each.created <= then and not each.gone(then)]

    def show(self, server: Server) -> Obj:
        """As the API tells it."""
        group = self.group_view(server.placement_group) if server.placement_group in self.groups else None
        return server.show(time.time(), group)

    def create_server(self, asked: Obj) -> tuple[Server, list[Action], Action]:
        """POST /servers: the server, what comes next, and the action of its creation. Raises Refusal."""
        name, labels = self._name(asked), check_labels(asked.get("labels"))
        kind = self._type(asked.get("server_type"))
        place = self._location(asked, kind)
        image = self._image(asked.get("image"), kind["architecture"])
        user_data = asked.get("user_data") or ""
        if len(user_data.encode()) > MAX_USER_DATA:
            raise invalid("user_data", "Length must be less than or equal to 32768 bytes")
        self._check_references(asked)
        live = self.live()
        if any(each.name == name for each in live):
            raise Refusal(409, "uniqueness_error", "server name is already used")
        if self.faults.quota is not None and len(live) >= self.faults.quota:
            raise Refusal(403, "resource_limit_exceeded", "server limit reached")
        if self.faults.capacity is not None and len(live) >= self.faults.capacity:
            raise Refusal(412, "resource_unavailable", "error during placement")
        self._check_spread(asked.get("placement_group"), live)
        return self._make(asked, name, labels, kind, place, image, user_data)

    def _make(
        self, asked: Obj, name: str, labels: dict[str, str], kind: Obj, place: str, image: Obj, user_data: str
    ) -> tuple[Server, list[Action], Action]:
        now, number = time.time(), next(self.ids)
        next(self.ids), next(self.ids)  # those of its two public addresses
        public = asked.get("public_net") or {}
        server = Server(
            id=number,
            name=name,
            type=kind,
            image=image,
            location=place,
            labels=labels,
            user_data=user_data,
            created=now,
            fails=self.faults.boot_fails,
            ipv4=public.get("enable_ipv4", True),
            ipv6=public.get("enable_ipv6", True),
            networks=[
                {
                    "network": each,
                    "ip": f"10.0.0.{2 + number % 250}",
                    "alias_ips": [],
                    "mac_address": "86:00:00:00:00:01",
                }
                for each in asked.get("networks") or ()
            ],
            firewalls=[each["firewall"] for each in asked.get("firewalls") or ()],
            placement_group=asked.get("placement_group"),
        )
        self.servers[number] = server
        self.made.append({"id": number, "name": name, "key": labels.get("moorage-key"), "user_data": user_data})
        error = {"code": "action_failed", "message": "the host failed to start the server"} if server.fails else None
        first = self.act(server, "create_server", BOOT / 2)
        second = self.act(server, "start_server", BOOT, error)
        return server, [second], first

    def act(self, server: Server, command: str, seconds: float, error: Obj | None = None) -> Action:
        """Begin an action about a server."""
        now = time.time()
        resources = [{"id": server.id, "type": "server"}]
        action = Action(next(self.ids), command, resources, now, now + seconds, error)
        server.actions.append(action)
        return action

    def update_server(self, server: Server, asked: Obj) -> None:
        """PUT: the labels that are given take the place of all that were there."""
        if "name" in asked:
            name = self._name(asked)
            if any(each.name == name and each is not server for each in self.live()):
                raise Refusal(409, "uniqueness_error", "server name is already used")
            server.name = name
        if "labels" in asked:
            server.labels = check_labels(asked["labels"])

    def power(self, server: Server, on: bool, command: str) -> Action:
        """Start or stop. What is already so stays so."""
        now = time.time()
        if server.ends is not None:
            raise Refusal(423, "locked", "server is locked by another action")
        if server.power is not on or (server.fails and on):
            server.power, server.turned = on, now
        return self.act(server, command, TURN)

    def delete_server(self, server: Server) -> Action:
        """DELETE: what hung on it is let go."""
        if server.protected:
            raise Refusal(423, "protected", "server deletion is protected")
        if server.ends is not None:
            raise Refusal(423, "locked", "server is locked by another action")
        server.ends = time.time() + TURN
        self._let_go(server)
        return self.act(server, "delete_server", TURN)

    def _let_go(self, server: Server) -> None:
        for volume in self.volumes.values():
            if volume["server"] == server.id:
                volume["server"] = None

    def _name(self, asked: Obj) -> str:
        name = asked.get("name")
        if not isinstance(name, str) or not _HOST.match(name):
            raise invalid("name", "is not a valid hostname")
        return name

    def _type(self, wanted: Any) -> Obj:
        kind = next((each for each in SERVER_TYPES.values() if str(wanted) in {each["name"], str(each["id"])}), None)
        if kind is None:
            raise invalid("server_type", "server type not found")
        if kind["deprecation"] is not None:
            raise invalid("server_type", f"server type {kind['id']} is deprecated")
        return kind

    def _location(self, asked: Obj, kind: Obj) -> str:
        sold = [each["location"] for each in kind["prices"]]
        wanted = asked.get("location")
        if wanted is None:
            return str(sold[0])
        name = next((n for n, each in LOCATIONS.items() if str(wanted) in {n, str(each["id"])}), None)
        if name is None:
            raise invalid("location", "location not found")
        if name not in sold:
            raise invalid("server_type", "unsupported location for server type")
        return name

    def _image(self, wanted: Any, architecture: str) -> Obj:
        for image in IMAGES:
            if str(wanted) == str(image["id"]) or (wanted == image["name"] and image["architecture"] == architecture):
                if image["architecture"] != architecture:
                    raise invalid("image", "image has another architecture than the server type")
                return image
        raise invalid("image", "image not found")

    def _check_references(self, asked: Obj) -> None:
        for each in asked.get("ssh_keys") or ():
            if each not in self.keys and str(each) not in map(str, self.keys.values()):
                raise invalid("ssh_keys", "SSH key not found")
        if any(each not in self.networks for each in asked.get("networks") or ()):
            raise invalid("networks", "network not found")
        if any(each.get("firewall") not in self.firewalls for each in asked.get("firewalls") or ()):
            raise invalid("firewalls", "firewall not found")
        if asked.get("placement_group") is not None and asked["placement_group"] not in self.groups:
            raise invalid("placement_group", "placement group not found")
        public = asked.get("public_net") or {}
        if not public.get("enable_ipv4", True) and not public.get("enable_ipv6", True) and not asked.get("networks"):
            raise invalid("public_net", "a server needs a public or a private network")

    def _check_spread(self, group: int | None, live: Iterable[Server]) -> None:
        if group is not None and sum(each.placement_group == group for each in live) >= MAX_SPREAD:
            raise Refusal(409, "placement_error", "placement group is full")

    # Placement groups

    def create_group(self, asked: Obj) -> Obj:
        """POST /placement_groups. Raises Refusal."""
        name = asked.get("name")
        if not isinstance(name, str) or not name:
            raise invalid("name", "is missing")
        if asked.get("type") != "spread":
            raise invalid("type", "must be spread")
        if any(group["name"] == name for group in self.groups.values()):
            raise Refusal(409, "uniqueness_error", "placement group name is already used")
        number = next(self.ids)
        labels = check_labels(asked.get("labels"))
        group = {"id": number, "name": name, "type": "spread", "labels": labels, "created": stamp(time.time())}
        self.groups[number] = group
        return self.group_view(number)

    def group_view(self, number: int | None) -> Obj:
        """A placement group as the API tells it. Raises Refusal."""
        if number is None or number not in self.groups:
            raise missing(f"placement group with ID '{number}'")
        inside = [each.id for each in self.live() if each.placement_group == number]
        return {**self.groups[number], "servers": inside}

    def remove_all(self) -> None:
        """As if all servers and volumes had been deleted a while ago."""
        for server in self.servers.values():
            server.ends = 0.0
        self.volumes.clear()


def check_labels(labels: Any) -> dict[str, str]:
    """The labels of a request. Raises Refusal."""
    if labels is None:
        return {}
    if not isinstance(labels, dict):
        raise invalid("labels", "must be an object")
    for name, value in labels.items():
        if not _LABEL.match(name) or not isinstance(value, str) or not _VALUE.match(value):
            raise invalid("labels", f"label '{name}' is not correctly formatted")
    return dict(labels)


def id_source() -> Iterator[int]:
    """Ids that no other run of the simulator has given."""
    return itertools.count(time.time_ns() // 1_000_000)
