"""What is known of a driver: how it tags, lists, refuses. Of most drivers little is, and this says what is used."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from importlib import import_module
from typing import Any, Final, Protocol

from libcloud.compute.base import Node, NodeDriver
from libcloud.compute.types import NodeState

from moorage.hosting.contract import ServerState
from moorage.hosting.errors import HostingError, Invalid, NotFound, Unavailable
from moorage.hosting.http import endpoint_url
from moorage.hosting.libcloud.exchange import Exchange, Reply

USER_DATA: Final = ("ex_userdata", "ex_user_data", "user_data", "ex_customdata")
TAGS: Final = ("ex_metadata", "ex_tags")
_SHOWN: Final = ("metadata", "tags", "labels")
STATES: Final[Mapping[str, ServerState]] = {
    "running": ServerState.RUNNING,
    "normal": ServerState.RUNNING,
    "rebooting": ServerState.RUNNING,
    "migrating": ServerState.RUNNING,
    "updating": ServerState.RUNNING,
    "reconfiguring": ServerState.RUNNING,
    "starting": ServerState.PENDING,
    "pending": ServerState.PENDING,
    "stopping": ServerState.STOPPED,
    "stopped": ServerState.STOPPED,
    "suspended": ServerState.STOPPED,
    "paused": ServerState.STOPPED,
    "error": ServerState.FAILED,
}


class Service(Protocol):
    """What a HostingService says of where the provider is."""

    @property
    def endpoint(self) -> str | None: ...
    @property
    def region(self) -> str: ...
    @property
    def project(self) -> str | None: ...


class Profile:
    """A driver of which nothing is known but what its methods look like. Subclasses know one driver."""

    whole_lists = False
    """Whether `list_nodes` is known to give all servers, or to make itself known where it does not."""
    lists_images = False
    """Whether `list_images` gives every image that `create_node` takes."""
    idempotent = False
    retags = False
    console = False
    max_user_data: int | None = None

    def __init__(self, driver: type[NodeDriver]) -> None:
        self.driver = driver
        self.page_size = 500
        arguments = inspect.signature(driver.create_node).parameters
        self.user_data = next((name for name in USER_DATA if name in arguments), None)
        self.tags = next((name for name in TAGS if name in arguments), None)
        self.powers = all(
            getattr(driver, name) is not getattr(NodeDriver, name) for name in ("start_node", "stop_node")
        )

    def arguments(self, service: Service) -> dict[str, Any]:
        """Arguments of the constructor. Raises Invalid."""
        return where(service)

    def account(self, driver: Any, exchange: Exchange) -> str | None:
        """Whose account it is, by the provider's word; None where the driver cannot tell."""
        return None

    def prepare(self, driver: Any) -> None:
        """Finish a driver that was just made."""

    def observe(self, driver: Any, exchange: Exchange) -> None:
        """Look at what was answered."""

    def nodes(self, driver: Any, exchange: Exchange, key: str | None = None) -> list[Node]:
        """All servers, or at least those with the key. Raises Unavailable where the list is not whole."""
        return list(driver.list_nodes())

    def node(self, driver: Any, exchange: Exchange, provider_id: str) -> Node:
        """One server. Raises NotFound: here, where it is in no list."""
        found = next((node for node in self.nodes(driver, exchange) if str(node.id) == provider_id), None)
        if found is None:
            raise NotFound("the driver lists no such server")
        return found

    def handle(self, driver: Any, exchange: Exchange, provider_id: str) -> Node:
        """What the driver's other methods take for the server. Raises NotFound."""
        return self.node(driver, exchange, provider_id)

    def size(self, driver: Any, name: str) -> Any | None:
        """The size of that name or id, None where there is none."""
        return named(driver.list_sizes(), name)

    def image(self, driver: Any, name: str) -> Any | None:
        """The image of that name or id, None where there is none."""
        return named(driver.list_images(), name)

    def size_name(self, size: Any) -> str:
        """By which an offering is called."""
        return str(size.name)

    def fixed(self, key: str) -> dict[str, Any]:
        """Arguments of `create_node` that make it idempotent."""
        return {}

    def tags_of(self, node: Node) -> Mapping[str, str]:
        """The tags of a server."""
        if self.tags is None:
            return {}
        found: dict[Any, Any] = next((node.extra[n] for n in _SHOWN if isinstance(node.extra.get(n), dict)), {})
        return {str(name): str(value) for name, value in found.items()}

    def state(self, node: Node) -> ServerState | None:
        """Its state; None for one that is gone and still listed."""
        return None if str(node.state) == "terminated" else STATES.get(str(node.state), ServerState.UNKNOWN)

    def details(self, node: Node) -> Details:
        """What else it tells."""
        return Details(
            image=str(node.image.id) if node.image is not None else None,
            offering=str(node.size.name) if node.size is not None else None,
        )

    def retag(self, driver: Any, exchange: Exchange, node: Node, tags: Mapping[str, str]) -> None:
        """Set tags, where `retags`."""
        raise NotImplementedError

    def read_console(self, driver: Any, exchange: Exchange, provider_id: str) -> str:
        """The console, where `console`."""
        raise NotImplementedError

    def creates(self, reply: Reply) -> bool:
        """Whether that answer told that a server was made, or may have been."""
        return reply.method in {"POST", "PUT"} and 200 <= reply.status < 300

    def refusal(self, reply: Reply) -> HostingError | None:
        """What the provider's own refusal means; None where it has none of its own words."""
        return None

    def expired(self, exchange: Exchange) -> bool:
        """Whether a session ended that the driver begins anew by itself."""
        return False


@dataclass(frozen=True, slots=True)
class Details:
    """What drivers tell in their own ways."""

    image: str | None = None
    offering: str | None = None
    zone: str | None = None
    message: str = ""


@dataclass(frozen=True, slots=True)
class Referred:
    """Stands for an object of Libcloud of which a driver wants id or name alone."""

    id: str
    name: str
    extra: Mapping[str, Any] = field(default_factory=dict)


def only_id(provider_id: str, driver: Any) -> Node:
    """What a driver takes for a server, if its id is all that the driver wants."""
    return Node(provider_id, provider_id, NodeState.UNKNOWN, [], [], driver)


def where(service: Service) -> dict[str, Any]:
    """Host, port and scheme of the endpoint, and the region, as most drivers take them. Raises Invalid."""
    if service.project:
        raise Invalid("this driver knows no projects: use its arguments", field="project")
    found: dict[str, Any] = {"region": service.region} if service.region else {}
    if service.endpoint:
        url = endpoint_url(service.endpoint, "the provider's API", plain=True)  # judged with the settings
        found |= {"host": url.host, "port": url.port, "secure": url.scheme == "https"}
    return found


def named(items: Iterable[Any], name: str) -> Any | None:
    """The one of that id, else the one of that name. Raises Unavailable where several have the name."""
    listed = list(items)
    for item in listed:
        if str(item.id) == name:
            return item
    found = [item for item in listed if item.name == name]
    if len(found) > 1:
        raise Unavailable(f"{len(found)} things have that name: write the id")
    return found[0] if found else None


KNOWN: Final[Mapping[str, str]] = {"ec2": "Ec2", "openstack": "OpenStack"}
"""Drivers of which more is known, each in a module of its own with this class."""


def profile_of(name: str, driver: type[NodeDriver]) -> Profile:
    """What is known of a driver."""
    if name not in KNOWN:
        return Profile(driver)
    made: Callable[[type[NodeDriver]], Profile] = getattr(
        import_module(f"moorage.hosting.libcloud.{name}"), KNOWN[name]
    )
    return made(driver)
