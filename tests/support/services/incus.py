"""A real Incus, for the contract's suite."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import json
import ssl
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any, TypeVar

import aiohttp
from tests.support.hostd import until

from moorage.hosting.contract import Backend
from moorage.hosting.http import tls_context
from moorage.hosting.registry import backend
from moorage.testbed import Running
from moorage.testbed.incus.bed import client_certificate, remove, restart
from moorage.testbed.incus.rest import Refused, Rest
from moorage.testing.service import Faults, Made, ServiceUnderTest, Spec

T = TypeVar("T")
_names = itertools.count(1)

WHY = {
    "capacity": "Incus knows no room but quotas: a machine that is full makes slow or failing servers",
    "throttle": "Incus refuses nobody for a rate; the proxy does it",
    "lag": "Incus's lists are consistent",
    "project_gone": "a project with servers can be neither deleted nor renamed; a test of its own deletes one",
    "expire": "a client certificate is not a session",
    "skew": "nothing in the protocol is signed with a time",
}


class IncusFaults(Faults):
    """What Incus can be told, by the administrator's socket, and what can be done to its daemon."""

    def __init__(self, service: IncusService) -> None:
        self._service = service
        self._revoked = False
        self._limited = False
        self.why = WHY

    async def clear(self) -> None:
        self._service.image = self._service.running.image
        if self._revoked:
            await self._service.trust()
            self._revoked = False
        if self._limited:
            await self._service.limit(None)
            self._limited = False

    async def quota(self, servers: int) -> None:
        self._limited = True
        await self._service.limit(servers)

    async def revoke(self) -> None:
        self._revoked = True
        await self._service.distrust()

    async def vanish(self, provider_id: str) -> None:
        await self._service.do(remove, self._service.project_rest, provider_id.partition("/")[0])

    async def boot_fails(self) -> None:
        self._service.image = self._service.running.extra["broken"]

    async def restart(self) -> None:
        await self._service.do(restart, self._service.running)


def _client(pair: tuple[str, str]) -> dict[str, bytes]:
    return {name: text.encode() for name, text in zip(("tls.crt", "tls.key"), pair, strict=True)}


class IncusService(ServiceUnderTest):
    """One project of the bed's Incus."""

    type = "incus"
    silence = "moorage.hosting.incus.backend:SILENCE"
    faults_at = "one per operation"
    console_says = "booted"
    other_offering = "medium"
    unknown_id = "m-aaaaaaaaaaaaaaaaaaaaaaaaaa/00000000-0000-0000-0000-000000000000"

    def __init__(self, running: Running) -> None:
        super().__init__()
        self.running = running
        self.endpoint, self.project = running.endpoint, running.project
        # So that Incus itself refuses them.
        self.settings = {
            **running.settings,
            "serverProfiles": ["default", "no-such-profile"],
            "serverOptions": ["no.such.option", "security.privileged"],
        }
        self.credentials = {name: value.encode() for name, value in running.credentials.items()}
        self.image, self.offering = running.image, running.offering
        self.faults = IncusFaults(self)
        known = {"server.crt": self.credentials["server.crt"]}
        self.wrong_credentials = (
            {**known, **_client(client_certificate())},
            {**known, **_client(client_certificate(-timedelta(days=1)))},
            {**self.credentials, "tls.key": b"no key"},
            known,
        )
        self.upstream_tls = self._upstream_tls()
        socket = Path(running.extra["socket"])
        self.root, self.project_rest = Rest(socket), Rest(socket, running.project or "default")
        self._events: asyncio.Task[None] | None = None
        self._ledger: dict[str, Made] = {}
        self._gone = itertools.count(1)

    def small_pages(self, size: int) -> dict[str, Any] | None:
        """Incus has no pages."""
        return None

    def invalid_requests(self) -> Sequence[tuple[Mapping[str, Any], str]]:
        """What Incus finds missing in a request."""
        return [
            *super().invalid_requests(),
            ({"image": "f" * 64}, "image"),
            ({"settings": {"instanceType": "virtual-machine"}}, "image"),
            ({"settings": {"profiles": ["no-such-profile"]}}, "settings.profiles"),
            ({"settings": {"network": "no-such-network"}}, "settings.network"),
            ({"settings": {"storagePool": "no-such-pool"}}, "settings.storagePool"),
            ({"settings": {"config": {"no.such.option": "1"}}}, "settings"),
            ({"settings": {"config": {"security.privileged": "true"}}}, "settings"),
            ({"settings": {"diskSize": "1Gi"}}, "settings"),
            ({"settings": {"target": "node-2"}}, "settings.target"),
            ({"tags": {"moorage-key": "mine"}}, "tags.moorage-key"),
        ]

    def invalid_specs(self) -> Sequence[tuple[Mapping[str, Any], str]]:
        """What is refused of a HostingService."""
        return [
            ({"region": "north"}, "region"),
            ({"endpoint": "http://127.0.0.1:8443"}, "endpoint"),
            ({"caBundle": "no certificate"}, "settings.caBundle"),
        ]

    async def elsewhere(self) -> Backend | None:
        """The same server's other project."""
        spec = Spec(self.endpoint, "", self.running.extra["other"], dict(self.settings))
        opened = backend(self.type).open(spec, self.credentials)
        self._opened.append(opened)
        return opened

    async def begin(self) -> None:
        """An empty project, and a ledger from here on."""
        await super().begin()
        self._ledger.clear()
        listening = asyncio.Event()
        self._events = asyncio.create_task(self._follow(listening))
        await listening.wait()

    async def end(self) -> None:
        """Remove what is there."""
        if self._events is not None:
            self._events.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._events
        await super().end()

    async def ledger(self) -> list[Made]:
        """What the service's events told, and what is there (events are lost while its daemon is down)."""
        for instance in await self.do(self.project_rest.get, "/instances?recursion=1"):
            self._enter(instance)
        return list(self._ledger.values())

    async def foreign(self) -> str:
        """A container without an option of ours."""
        name = f"foreign-{next(_names)}-{id(self):x}"
        source = {"type": "image", "alias": self.running.image}
        await self.do(self.project_rest.post, "/instances", {"name": name, "type": "container", "source": source})
        return str(self._enter(await self.do(self.project_rest.get, f"/instances/{name}")).provider_id)

    async def remove_all(self) -> None:
        """Remove all containers of the project, also those that an operation under way still makes."""

        async def empty() -> bool:
            for instance in await self.do(self.project_rest.get, "/instances?recursion=1"):
                await self.do(remove, self.project_rest, instance["name"])
            under_way = await self.do(self.project_rest.get, "/operations")
            return not await self.do(self.project_rest.get, "/instances") and not under_way.get("running")

        await until(empty, "an empty project")

    async def untag(self, provider_id: str, tag: str) -> None:
        """Take a tag off: Incus drops options that are emptied."""
        path = f"/instances/{provider_id.partition('/')[0]}"
        await self.do(self.project_rest.patch, path, {"config": {f"user.{tag}": ""}})

    # What the faults do

    async def limit(self, servers: int | None) -> None:
        """Set or take away the project's limit. Incus changes features that a partial change leaves out."""
        path = f"/projects/{self.project}"
        found = await self.do(self.root.get, path)
        config = {key: value for key, value in found["config"].items() if key != "limits.instances"}
        if servers is not None:
            config["limits.instances"] = str(servers)
        await self.do(self.root.put, path, {"description": found["description"], "config": config})

    @asynccontextmanager
    async def passing_project(self) -> AsyncIterator[Backend]:
        """A backend on a project without servers, that is deleted at the end."""
        name = "passing"
        await self.do(self.root.post, "/projects", {"name": name, "config": {}})
        for certificate in await self.do(self.root.get, "/certificates?recursion=1"):
            allowed = {**certificate, "projects": [*certificate["projects"], name]}
            await self.do(self.root.put, f"/certificates/{certificate['fingerprint']}", allowed)
        spec = Spec(self.endpoint, "", name, dict(self.settings))
        opened = backend(self.type).open(spec, self.credentials)
        self._opened.append(opened)
        try:
            yield opened
        finally:
            await self.do(self.root.delete, f"/projects/{name}")

    async def distrust(self) -> None:
        """Forget the client certificate."""
        for certificate in await self.do(self.root.get, "/certificates?recursion=1"):
            await self.do(self.root.delete, f"/certificates/{certificate['fingerprint']}")

    async def trust(self) -> None:
        """Know it again."""
        pem = self.running.credentials["tls.crt"]
        body = "".join(line for line in pem.splitlines() if not line.startswith("-----"))
        projects = [self.project, self.running.extra["other"]]
        trusted = {"name": "tests", "type": "client", "certificate": body, "restricted": True, "projects": projects}
        await self.do(self.root.post, "/certificates", trusted)

    async def do(self, call: Callable[..., T], *arguments: Any) -> T:
        """A blocking call of the administrator's."""
        return await asyncio.to_thread(call, *arguments)

    def _upstream_tls(self) -> ssl.SSLContext:
        context = tls_context(
            self.running.credentials["server.crt"], self.credentials["tls.crt"], self.credentials["tls.key"]
        )
        context.check_hostname = False
        context.verify_flags &= ~ssl.VERIFY_X509_STRICT
        return context

    def _enter(self, instance: Mapping[str, Any]) -> Made:
        config = instance.get("config") or {}
        made = Made(f"{instance['name']}/{config.get('volatile.uuid')}", config.get("user.moorage-key"))
        return self._ledger.setdefault(made.provider_id, made)

    async def _follow(self, listening: asyncio.Event) -> None:
        while True:
            with contextlib.suppress(aiohttp.ClientError, OSError):
                async for name in self._created(listening):
                    try:
                        self._enter(await self.do(self.project_rest.get, f"/instances/{name}"))
                    except Refused:  # it is gone already, and was there
                        self._ledger.setdefault(name, Made(f"{name}/gone-{next(self._gone)}", name))
            await asyncio.sleep(0.02)

    async def _created(self, listening: asyncio.Event) -> AsyncIterator[str]:
        connector = aiohttp.UnixConnector(path=self.running.extra["socket"])
        url = f"http://incus/1.0/events?type=lifecycle&project={self.project}"
        async with aiohttp.ClientSession(connector=connector) as session, session.ws_connect(url) as socket:
            listening.set()
            async for message in socket:
                event = json.loads(message.data)["metadata"]
                if event["action"] == "instance-created":
                    yield event["name"]
