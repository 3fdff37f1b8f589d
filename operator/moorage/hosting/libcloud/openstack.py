"""What is known of Libcloud's driver `openstack`."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, Final

from libcloud.compute.base import Node
from libcloud.compute.drivers.openstack import OpenStack_2_NodeDriver

from moorage.hosting.contract import ServerState
from moorage.hosting.errors import (
    AuthenticationError,
    HostingError,
    Invalid,
    NotFound,
    QuotaError,
    Throttled,
    Unavailable,
    stranger,
)
from moorage.hosting.http import endpoint_url, retry_after
from moorage.hosting.libcloud.exchange import Exchange, Reply
from moorage.hosting.libcloud.profiles import Details, Profile, Service, only_id

_WORDS: Final = {
    "flavor": "offering",
    "image": "image",
    "user_data": "userData",
    "userdata": "userData",
    "key_name": "settings.arguments.ex_keyname",
    "network": "settings.references.networks",
    "security_group": "settings.references.ex_security_groups",
}


_TASKS: Final = {
    "deleting": ServerState.TERMINATING,
    "powering-on": ServerState.PENDING,
    "powering-off": ServerState.STOPPED,
}


class OpenStackDriver(OpenStack_2_NodeDriver):
    """Libcloud's own, that also takes Nova's words `none` and `auto` for networks (from microversion 2.37 on)."""

    def _create_args_to_params(self, node: Any, **asked: Any) -> dict[str, Any]:
        word = asked.get("networks")
        if not isinstance(word, str):
            word = None
        else:
            asked = {**asked, "networks": None}
        params: Any = super()._create_args_to_params
        found: dict[str, Any] = params(node, **asked)
        return {**found, "networks": word} if word is not None else found


class OpenStack(Profile):
    """Metadata in the creation; pages that are followed; errors that name themselves. No idempotency."""

    whole_lists = True
    lists_images = True
    retags = True
    console = True
    max_user_data: int | None = 49_149
    """65,535 characters of base64 are what Nova takes."""

    def __init__(self, driver: Any) -> None:
        super().__init__(OpenStackDriver)
        self._projects: dict[int, str] = {}

    def arguments(self, service: Service) -> dict[str, Any]:
        """The endpoint is that of Keystone; the driver adds `/v3` itself."""
        what = "Keystone, such as https://cloud.example:5000/v3"
        url = str(endpoint_url(service.endpoint, what, plain=True)).rstrip("/")  # judged with the settings
        found: dict[str, Any] = {
            "ex_force_auth_url": url.removesuffix("/v3"),
            "ex_force_auth_version": "3.x_password" if service.project else "3.x_appcred",
        }
        if service.project:
            found["ex_tenant_name"] = service.project
        if service.region:
            found["ex_force_service_region"] = service.region
        return found

    def prepare(self, driver: Any) -> None:
        """Find services by their types alone: the names that the driver expects (nova, glance) are a habit."""
        for name in ("connection", "image_connection", "network_connection"):
            getattr(driver, name).service_name = None

    def observe(self, driver: Any, exchange: Exchange) -> None:
        """A token names its project."""
        for reply in exchange.replies:
            if _is_token(reply) and reply.status == 201:
                project = _json(reply).get("token", {}).get("project", {}).get("id")
                if isinstance(project, str):
                    self._projects[id(driver)] = project

    def account(self, driver: Any, exchange: Exchange) -> str | None:
        """The project of the token; something has to be asked, so that there is one."""
        driver.connection.request("/limits")
        reply = exchange.last
        if reply is None or "limits" not in _json(reply):
            raise Unavailable(stranger("Keystone"))
        self.observe(driver, exchange)
        if id(driver) not in self._projects:
            raise Unavailable("the token names no project")
        return self._projects[id(driver)]

    def nodes(self, driver: Any, exchange: Exchange, key: str | None = None) -> list[Node]:
        """The driver follows the pages, and takes an answer without servers for an empty list."""
        asked = {"limit": self.page_size}
        listed = driver._paginated_request("/servers/detail", "servers", driver.connection, params=asked)
        found: list[Node] = driver._to_nodes(listed)
        pages = [reply for reply in exchange.replies if "/servers/detail" in reply.url]
        if not pages or any(not isinstance(_json(reply).get("servers"), list) for reply in pages):
            raise Unavailable("the answer is no list of servers")
        return found

    def node(self, driver: Any, exchange: Exchange, provider_id: str) -> Node:
        """The driver says nothing for any 404, so what was answered is looked at."""
        found: Node | None = driver.ex_get_node_details(_checked(provider_id))
        if found is None:
            reply = exchange.last
            raise (self.refusal(reply) if reply is not None else None) or Unavailable("status 404")
        if found.id != provider_id:
            raise Unavailable("the service answered with another server than the one asked for")
        return found

    def handle(self, driver: Any, exchange: Exchange, provider_id: str) -> Node:
        """The id is all that the driver wants."""
        return only_id(_checked(provider_id), driver)

    def state(self, node: Node) -> ServerState | None:
        """What is under way is told by its task."""
        return _TASKS.get(str(node.extra.get("task_state"))) or super().state(node)

    def details(self, node: Node) -> Details:
        """Of `extra`. Image and flavor are shown by ids, and were asked for by names: they are not told."""
        fault = node.extra.get("fault") or {}
        message = str(fault.get("message", "")) if isinstance(fault, dict) else ""
        return Details(zone=node.extra.get("availability_zone") or None, message=message)

    def retag(self, driver: Any, exchange: Exchange, node: Node, tags: Mapping[str, str]) -> None:
        """The driver's own way sets all metadata at once, and what somebody else writes meanwhile would be lost."""
        driver.connection.request(f"/servers/{node.id}/metadata", method="POST", data={"metadata": dict(tags)})

    def read_console(self, driver: Any, exchange: Exchange, provider_id: str) -> str:
        """os-getConsoleOutput."""
        found = driver.ex_get_console_output(self.handle(driver, exchange, provider_id), length=1000)
        return str(found["output"] or "")

    def creates(self, reply: Reply) -> bool:
        """A server that was accepted."""
        path = reply.url.partition("?")[0]
        return reply.method == "POST" and path.endswith("/servers") and 200 <= reply.status < 300

    def refusal(self, reply: Reply) -> HostingError | None:
        """Nova's answers are an object with one name, that of the error. Keystone's is called `error`."""
        body = _json(reply)
        name, error = next(iter(body.items()), ("", None))
        if len(body) != 1 or not isinstance(error, dict):
            return None
        text = f"{name}: {error.get('message', '')}"
        if _is_token(reply):
            # Keystone says nothing but that it lets nobody in, whatever the reason.
            text += " The credentials may be wrong or have expired, and the user or the project disabled or gone."
            return AuthenticationError(text) if name == "error" and reply.status in {401, 403, 404} else None
        if name in {"overLimit", "tooManyRequests"} or reply.status == 429:
            return Throttled(text, retry_after=retry_after(reply.headers))
        if name == "itemNotFound" and reply.status == 404:
            # What a creation does not find is something that it names.
            creating = reply.method == "POST" and reply.url.endswith("/servers")
            return Invalid(text, field=_field(text)) if creating else NotFound(text)
        if name == "forbidden":
            # Nova has one name for what is not allowed and what is too much; the text alone tells which.
            return QuotaError(text) if "quota" in text.lower() else AuthenticationError(text)
        if name in {"unauthorized", "error"} and reply.status == 401:
            return AuthenticationError(text)
        if name == "badRequest":
            return Invalid(text, field=_field(text))
        if name in {"computeFault", "conflictingRequest", "serviceUnavailable"}:
            return Unavailable(text)
        return None

    def expired(self, exchange: Exchange) -> bool:
        """A token that was there before and is refused: the driver has forgotten it by now."""
        last = exchange.last
        return last is not None and last.status == 401 and not any(_is_token(reply) for reply in exchange.replies)


def _field(text: str) -> str | None:
    # Nova names the field in its text alone; it decides nothing but which field is pointed at.
    lowered = text.lower()
    return next((field for word, field in _WORDS.items() if word in lowered), None)


def _is_token(reply: Reply) -> bool:
    return reply.url.partition("?")[0].endswith("/auth/tokens")


def _json(reply: Reply) -> dict[str, Any]:
    try:
        found = json.loads(reply.body)
    except (ValueError, RecursionError):
        return {}
    return found if isinstance(found, dict) else {}


def _checked(provider_id: str) -> str:
    if len(provider_id) > 64 or not provider_id.isascii() or not provider_id.replace("-", "").isalnum():
        raise NotFound("the id is not one of a server of OpenStack")
    return provider_id
