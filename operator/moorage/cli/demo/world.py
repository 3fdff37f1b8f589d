"""The demo's objects as the API server has them, kept up to date by watches."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from typing import TypeVar

from moorage.api.hostingservice import HostingService
from moorage.api.servergroup import ServerGroup
from moorage.api.virtualserver import VirtualServer
from moorage.cli.demo.news import Obj, news
from moorage.cli.demo.timeline import Timeline
from moorage.cli.errors import CliError
from moorage.kube.client import Client
from moorage.kube.errors import ApiError
from moorage.kube.kinds import HOSTING_POLICY, HOSTING_SERVICE, SERVER_GROUP, VIRTUAL_SERVER, Kind

T = TypeVar("T")
_AGAIN = 0.3
"""Seconds until a broken watch is opened again."""


class World:
    """What is there."""

    def __init__(self, client: Client, namespace: str, timeline: Timeline) -> None:
        self.client = client
        self.namespace = namespace
        self._timeline = timeline
        self._objects: dict[Kind, dict[str, Obj]] = {
            kind: {} for kind in (HOSTING_SERVICE, HOSTING_POLICY, SERVER_GROUP, VIRTUAL_SERVER)
        }
        self._wake = asyncio.Event()

    async def follow(self) -> None:
        """Keep up to date until cancelled."""
        async with asyncio.TaskGroup() as tasks:
            for kind in self._objects:
                tasks.create_task(self._follow(kind))

    def objects(self, kind: Kind) -> Mapping[str, Obj]:
        """The objects of a kind, by name."""
        return self._objects[kind]

    def group(self, name: str) -> ServerGroup | None:
        """A group, once it is there."""
        obj = self._objects[SERVER_GROUP].get(name)
        return ServerGroup.from_dict(obj) if obj else None

    def servers(self, member: str = "") -> list[VirtualServer]:
        """The servers (of one member), by name."""
        servers = (VirtualServer.from_dict(obj) for _, obj in sorted(self._objects[VIRTUAL_SERVER].items()))
        return [server for server in servers if not member or server.spec.member == member]

    def services(self) -> list[HostingService]:
        """The hosting services, by name."""
        return [HostingService.from_dict(obj) for _, obj in sorted(self._objects[HOSTING_SERVICE].items())]

    def output(self, server: VirtualServer, name: str) -> str | None:
        """The value of an output that a server publishes."""
        outputs = server.status.agent.outputs if server.status.agent else ()
        return next((output.value for output in outputs if output.name == name), None)

    def urls(self) -> Iterator[tuple[str, str]]:
        """The pages that there are, by server."""
        for server in self.servers("web"):
            url = self.output(server, "url")
            if url:
                yield server.metadata.name, url

    def touch(self) -> None:
        """Something outside the API server changed: whoever waits looks again."""
        self._wake.set()

    async def until(
        self, what: str, look: Callable[[], T | None], seconds: float = 60.0, *, alive: Callable[[], None] | None = None
    ) -> T:
        """Wait until `look` gives something, looking after each change. `alive` raises where it is pointless to wait.

        Raises CliError where it takes longer than `seconds`.
        """
        loop = asyncio.get_running_loop()
        deadline = loop.time() + seconds
        while (found := look()) is None:
            if alive is not None:
                alive()
            left = deadline - loop.time()
            if left <= 0:
                raise CliError(f"waited {seconds:g} s in vain for {what}")
            self._wake.clear()
            # Not asyncio.wait_for: Python 3.11's loses a cancellation that comes in the moment of a change.
            with suppress(TimeoutError):
                async with asyncio.timeout(min(left, 1.0)):
                    await self._wake.wait()
        return found

    async def _follow(self, kind: Kind) -> None:
        namespace = self.namespace if kind.namespaced else None
        while True:
            try:
                listing = await self.client.list(kind, namespace)
                fresh = {obj["metadata"]["name"]: obj for obj in listing.items}
                for name in self._objects[kind].keys() - fresh.keys():
                    self._put(kind, name, None)
                for name, obj in fresh.items():
                    self._put(kind, name, obj)
                async for event in self.client.watch(kind, namespace, resource_version=listing.resource_version):
                    if event.type != "BOOKMARK":
                        gone = event.type == "DELETED"
                        self._put(kind, event.object["metadata"]["name"], None if gone else event.object)
            except ApiError:
                await asyncio.sleep(_AGAIN)

    def _put(self, kind: Kind, name: str, obj: Obj | None) -> None:
        old = self._objects[kind].get(name)
        if obj is None:
            self._objects[kind].pop(name, None)
        else:
            self._objects[kind][name] = obj
            if old is not None and old["metadata"]["uid"] != obj["metadata"]["uid"]:
                old = None
        for text in news(kind.kind, old, obj):
            self._timeline.mark(name, text)
        self.touch()
