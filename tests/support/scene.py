"""One test's part of a whole installation: a hosting service of its own name, and looks into everything."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import secrets
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from tests.support.stack import Api, Hostd, Obj, Stack, always, condition, group, service

from moorage.api.names import server_secret, session_secret
from moorage.kube.errors import ApiError, Gone
from moorage.kube.kinds import HOSTING_SERVICE, SECRET, SERVER_GROUP, VIRTUAL_SERVER, Kind


class Watcher:
    """Every version of the objects of one kind in a namespace, as any watcher of the API server sees them."""

    def __init__(self, api: Api, kind: Kind) -> None:
        self._api = api
        self._kind = kind
        self._task: asyncio.Task[None] | None = None
        self.versions: list[Obj] = []
        self.types: list[str] = []
        self.times: list[datetime] = []
        """When each version came here."""

    async def __aenter__(self) -> Self:
        listing = await self._api.client.list(self._kind, self._api.namespace)
        self._task = asyncio.create_task(self._follow(listing.resource_version))
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        assert self._task is not None
        self._task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await self._task

    async def _follow(self, version: str) -> None:
        with contextlib.suppress(Gone):
            async for event in self._api.client.watch(self._kind, self._api.namespace, resource_version=version):
                if event.type != "BOOKMARK":
                    self.times.append(datetime.now(UTC))
                    self.types.append(event.type)
                    self.versions.append(event.object)

    def of(self, name: str) -> list[Obj]:
        """All versions of one object, oldest first."""
        return [o for o in self.versions if o["metadata"]["name"] == name]

    def told(self, name: str, look: Callable[[Obj], Any]) -> list[Any]:
        """What `look` saw in the versions of one object, without repetitions and without None."""
        found: list[Any] = []
        for version in self.of(name):
            value = look(version)
            if value is not None and (not found or found[-1] != value):
                found.append(value)
        return found

    def item_states(self, server: str, item: str) -> list[str]:
        """The states that an item of a server went through."""

        def look(obj: Obj) -> str | None:
            return state["state"] if (state := item_of(obj, item)) else None

        return self.told(server, look)


def item_of(server: Obj, name: str) -> Obj | None:
    """What status says of an item of a server's configuration."""
    items = ((server.get("status") or {}).get("configuration") or {}).get("items") or ()
    return next((item for item in items if item["name"] == name), None)


def step_of(server: Obj, name: str) -> Obj | None:
    """What the agent told of a step."""
    steps = ((server.get("status") or {}).get("agent") or {}).get("steps") or ()
    return next((step for step in steps if step["name"] == name), None)


def output_of(server: Obj, name: str) -> str | None:
    """The value of an output as status shows it."""
    outputs = ((server.get("status") or {}).get("agent") or {}).get("outputs") or ()
    return next((output.get("value") for output in outputs if output["name"] == name), None)


def agent(server: Obj, field_: str) -> int:
    """A revision that the agent told."""
    return int(((server.get("status") or {}).get("agent") or {}).get(field_) or 0)


def is_true(obj: Obj, type_: str) -> bool:
    """Whether a condition holds."""
    found = condition(obj, type_)
    return found is not None and found["status"] == "True"


async def is_sent(api: Api, server: Obj) -> bool:
    """Whether any configuration was rendered for a server: only what is in its Secret can be sent."""
    secret = await api.get(SECRET, server_secret(server["metadata"]["uid"]))
    return secret is not None and "configuration" in (secret.get("data") or {})


@dataclass
class Scene:
    """A namespace, one hosting service in it, and short words for what tests do with them."""

    stack: Stack
    api: Api
    host: Hostd
    service: str = field(default_factory=lambda: f"s-{secrets.token_hex(4)}")
    services: list[str] = field(default_factory=list)

    async def serve(self, name: str = "", host: Hostd | None = None, **spec: Any) -> str:
        """Make a HostingService for this test (over another hostd), and wait until it is available."""
        name = name or self.service
        spec = {"inventoryInterval": "1s", **spec}
        await self.api.apply(service(name, (host or self.host).url, **spec))
        self.services.append(name)
        await self.api.condition(HOSTING_SERVICE, name, "Available")
        return name

    async def begin(
        self, *objects: Obj, members: tuple[tuple[str, str, int], ...], name: str = "g", **more: Any
    ) -> None:
        """The service, a policy that is always met, these objects, and a group of these members."""
        if not self.services:
            await self.serve()
        await self.api.apply(always("policy", self.service), *objects, group(name, "policy", *members, **more))

    async def server(self, name: str) -> Obj:
        """A VirtualServer that exists."""
        found = await self.api.get(VIRTUAL_SERVER, name)
        assert found is not None, f"there is no VirtualServer {name}"
        return found

    async def until(self, what: str, probe: Callable[[list[Obj]], Any], name: str = "g") -> Any:
        """Wait until the servers of a group are as `probe` wants them; gives what it gave."""

        async def ask() -> Any:
            return probe(await self.api.servers(name))

        return await self.api.until(what, ask)

    async def count(self, number: int, name: str = "g") -> None:
        """Wait until the group has that many servers."""

        def right(servers: list[Obj]) -> bool:
            return len(servers) == number

        await self.until(f"{number} servers", right, name)

    async def replaced(self, old: Obj) -> Obj:
        """Wait until another server has the name, and its agent has told something."""

        async def ask() -> Obj | None:
            new = await self.api.get(VIRTUAL_SERVER, old["metadata"]["name"])
            return new if new is not None and new["metadata"]["uid"] != old["metadata"]["uid"] else None

        return await self.api.until(f"{old['metadata']['name']} to be another server", ask)

    def root(self, server: Obj, host: Hostd | None = None) -> Path:
        """The root directory of a guest."""
        host = host or self.host
        found: Path = host.folder / host.name / "servers" / server["status"]["providerID"] / "root"
        return found

    def read(self, server: Obj, path: str) -> str | None:
        """A file in a guest, or None."""
        try:
            return (self.root(server) / path.lstrip("/")).read_text()
        except FileNotFoundError:
            return None

    async def file(self, server: Obj, path: str, content: str) -> None:
        """Wait until a file in a guest has this content."""

        async def ask() -> bool:
            return self.read(server, path) == content

        await self.api.until(f"{path} of {server['metadata']['name']} to be {content!r}", ask)

    async def joined(self, name: str) -> None:
        """Wait until the agent of a server has joined."""
        session = session_secret((await self.server(name))["metadata"]["uid"])

        async def ask() -> bool:
            return await self.api.get(SECRET, session) is not None

        await self.api.until(f"the agent of {name} to join", ask)

    async def joined_all(self, name: str = "g") -> None:
        """Wait until every server of a group has an agent that has its first configuration."""

        def begun(servers: list[Obj]) -> bool:
            return bool(servers) and all(agent(s, "acknowledgedRevision") for s in servers)

        await self.until("the agents to have configuration", begun, name)

    async def sent(self, server: Obj) -> bool:
        """Whether any configuration was rendered for a server."""
        return await is_sent(self.api, server)

    async def data(self, secret: str, key: str) -> str:
        """A decoded key of a Secret."""
        found = await self.api.client.get(SECRET, self.api.namespace, secret)
        return base64.b64decode(found["data"][key]).decode()

    def ledger(self, host: Hostd | None = None) -> list[Obj]:
        """What the service's ledger tells of this namespace, in order."""
        entries = (host or self.host).ledger()
        return [e for e in entries if e["tags"].get("moorage-namespace") == self.api.namespace]

    def events(self, event: str) -> list[str]:
        """Names of the servers of this namespace with such an entry, in the ledger's order."""
        return [e["name"] for e in self.ledger() if e["event"] == event]

    def here(self, host: Hostd | None = None) -> list[Obj]:
        """The servers of this namespace that the service has now."""
        found = (host or self.host).servers()
        return [s for s in found if s["tags"].get("moorage-namespace") == self.api.namespace]

    async def end(self) -> None:
        """Let everything go; what a failed test left behind too."""
        self.host.faults()
        with contextlib.suppress(ApiError):
            for item in (await self.api.client.list(SERVER_GROUP, self.api.namespace)).items:
                name = item["metadata"]["name"]
                spec = {"deletionProtection": False, "deletionPolicy": "Delete"}
                await self.api.patch(SERVER_GROUP, name, {"spec": spec})
                await self.api.delete(SERVER_GROUP, name)
        for name in self.services:
            await self.api.delete(HOSTING_SERVICE, name)


@contextlib.asynccontextmanager
async def scene_of(stack: Stack, api: Api, host: str) -> AsyncIterator[Scene]:
    """A scene over one of the stack's hosting services."""
    scene = Scene(stack, api, stack.hosts[host])
    try:
        yield scene
    finally:
        await scene.end()


async def kubectl(api: Api, stack: Stack, *arguments: str) -> str:
    """Run kubectl in the namespace, as a user does."""
    done = await asyncio.to_thread(stack.plane.run_kubectl, "--namespace", api.namespace, *arguments)
    return str(done.stdout)
