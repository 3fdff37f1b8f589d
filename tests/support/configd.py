"""A configd over an API server that lives in memory, and what tests of the channel do with it."""

from __future__ import annotations

import asyncio
import base64
import copy
import itertools
import json
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from prometheus_client import CollectorRegistry

from moorage.api.channel import Document
from moorage.configd.directory import Directory, new_table
from moorage.configd.metrics import Metrics
from moorage.configd.pki import Authority, new_authority, utc_now
from moorage.configd.secrets import Parsed
from moorage.configd.server import ConfigdConfig, Server, new_server
from moorage.configd.userdata import Format, render_user_data
from moorage.kube.errors import AlreadyExists, Conflict, Invalid, NotFound
from moorage.kube.kinds import SECRET, VIRTUAL_SERVER, Kind
from moorage.kube.store import Table

Obj = dict[str, Any]


async def eventually(probe: Callable[[], Any], deadline: float = 20.0, what: str = "it") -> Any:
    """The first true answer of `probe`, which may be a coroutine function. Raises AssertionError after the deadline."""
    end = time.monotonic() + deadline
    while True:
        answer = probe()
        if isinstance(answer, Awaitable):
            answer = await answer
        if answer:
            return answer
        assert time.monotonic() < end, f"{what} did not happen"
        await asyncio.sleep(0.01)


class FakeCluster:
    """Secrets and VirtualServers with resourceVersions, uids and JSON patches; tables that follow the Secrets."""

    def __init__(self) -> None:
        self.objects: dict[tuple[str, str, str], Obj] = {}
        self.calls: list[tuple[str, str, str]] = []
        self.before: Callable[[str, str, str], Awaitable[None]] | None = None
        """Awaited before each call with (verb, plural, name); may raise, or change things."""
        self.followers: list[Table[Parsed]] = []
        self._versions = itertools.count(100)
        self._uids = itertools.count(1)

    def put(self, kind: Kind, obj: Obj) -> Obj:
        """Store an object, as some other client would."""
        meta = obj["metadata"]
        meta.setdefault("uid", f"fake-{next(self._uids)}")
        meta.setdefault("creationTimestamp", "2026-01-02T03:04:05Z")
        meta["resourceVersion"] = str(next(self._versions))
        self.objects[kind.plural, meta["namespace"], meta["name"]] = copy.deepcopy(obj)
        self._tell(kind, obj)
        return copy.deepcopy(obj)

    def remove(self, kind: Kind, namespace: str, name: str) -> None:
        """Delete an object, as some other client would."""
        obj = self.objects.pop((kind.plural, namespace, name))
        obj["metadata"]["resourceVersion"] = str(next(self._versions))
        self._tell(kind, obj, deleted=True)

    def found(self, kind: Kind, namespace: str, name: str) -> Obj:
        """An object as it is now."""
        return copy.deepcopy(self.objects[kind.plural, namespace, name])

    async def get(self, kind: Kind, namespace: str | None, name: str) -> Obj:
        await self._called("get", kind, name)
        try:
            return self.found(kind, namespace or "", name)
        except KeyError:
            raise NotFound(404, "NotFound", f"{name} not found") from None

    async def create(self, kind: Kind, obj: Mapping[str, Any], *, manager: str = "") -> Obj:
        meta = obj["metadata"]
        await self._called("create", kind, meta["name"])
        if (kind.plural, meta["namespace"], meta["name"]) in self.objects:
            raise AlreadyExists(409, "AlreadyExists", f"{meta['name']} exists")
        return self.put(kind, copy.deepcopy(dict(obj)))

    async def update(self, kind: Kind, obj: Mapping[str, Any], *, manager: str = "") -> Obj:
        meta = obj["metadata"]
        await self._called("update", kind, meta["name"])
        held = self.objects.get((kind.plural, meta["namespace"], meta["name"]))
        if held is None:
            raise NotFound(404, "NotFound", f"{meta['name']} not found")
        if held["metadata"]["resourceVersion"] != meta["resourceVersion"]:
            raise Conflict(409, "Conflict", "changed")
        return self.put(kind, copy.deepcopy(dict(obj)))

    async def patch(
        self,
        kind: Kind,
        namespace: str | None,
        name: str,
        body: Mapping[str, Any] | Sequence[Obj],
        *,
        subresource: str = "",
        manager: str = "",
    ) -> Obj:
        await self._called("patch", kind, name)
        if (kind.plural, namespace or "", name) not in self.objects:
            raise NotFound(404, "NotFound", f"{name} not found")
        assert isinstance(body, Sequence)
        patched = self.found(kind, namespace or "", name)
        for operation in body:
            *parents, last = operation["path"].strip("/").split("/")
            target = patched
            for part in parents:
                if part not in target:
                    raise Invalid(422, "Invalid", f"no {operation['path']}")
                target = target[part]
            if operation["op"] == "test":
                if target.get(last) != operation["value"]:
                    raise Invalid(422, "Invalid", "the test failed")
            else:
                target[last] = copy.deepcopy(operation["value"])
        return self.put(kind, patched)

    async def _called(self, verb: str, kind: Kind, name: str) -> None:
        self.calls.append((verb, kind.plural, name))
        if self.before is not None:
            await self.before(verb, kind.plural, name)

    def _tell(self, kind: Kind, obj: Obj, deleted: bool = False) -> None:
        # As a watch with the label selector does.
        if kind == SECRET and "moorage.dev/secret" in obj["metadata"].get("labels", {}):
            for table in self.followers:
                table.ingest(copy.deepcopy(obj), deleted=deleted)


@dataclass
class Told:
    """A Reporter that remembers."""

    joins: list[str] = field(default_factory=list)
    replays: list[str] = field(default_factory=list)

    def joined(self, namespace: str, server: str, uid: str) -> None:
        self.joins.append(f"{namespace}/{server}")

    def token_replayed(self, namespace: str, server: str, uid: str) -> None:
        self.replays.append(f"{namespace}/{server}")

    def state_written(self, virtual_server: Obj) -> None:
        """Nothing to remember."""


class World:
    """One API server in memory and any number of configd replicas, on ports of their own."""

    NAMESPACE = "shop"
    TOKEN = "the-join-token-of-this-server"

    def __init__(self) -> None:
        self.cluster = FakeCluster()
        self.authority: Authority = new_authority(utc_now())
        self.told = Told()
        self.replicas: list[Server] = []
        self._ports: dict[int, int] = {}

    async def start(self, *, port: int = 0, follow: bool = True, primed: Sequence[Obj] = (), **changes: Any) -> Server:
        """Start one more replica; without `follow` its cache has `primed` and sees nothing but what it asks for."""
        table = new_table()
        for obj in primed:
            table.ingest(copy.deepcopy(obj))
        for (plural, _, _), obj in self.cluster.objects.items():
            if plural == SECRET.plural and follow:
                table.ingest(copy.deepcopy(obj))
        if follow:
            self.cluster.followers.append(table)
        config = ConfigdConfig(host="127.0.0.1", port=port, names=("127.0.0.1",), **changes)
        metrics = Metrics(CollectorRegistry())
        directory = Directory(self.cluster, table)
        server = new_server(config, self.cluster, directory, self.authority, self.told, metrics)
        await server.start()
        self.replicas.append(server)
        return server

    async def stop(self, server: Server | None = None) -> None:
        """Stop one replica, or all."""
        for replica in [server] if server else list(self.replicas):
            self.replicas.remove(replica)
            await replica.stop()

    @staticmethod
    def url(server: Server) -> str:
        """Where agents reach a replica."""
        return "https://{}:{}".format(*server.address)

    def add_server(self, name: str = "db", uid: str | None = None) -> str:
        """A VirtualServer and its Secret, without a configuration. Its server id."""
        uid = uid or f"uid-of-{name}"
        meta = {"name": name, "namespace": self.NAMESPACE, "uid": uid}
        self.cluster.put(VIRTUAL_SERVER, {"metadata": meta, "spec": {}, "status": {"observedGeneration": -1}})
        self.cluster.put(SECRET, self.secret(name, uid, {"token": self.TOKEN, "request": "{}"}))
        return f"{self.NAMESPACE}/{uid}"

    def secret(self, name: str, uid: str, data: Mapping[str, str]) -> Obj:
        """The Secret `<uid>` of a server."""
        return {
            "metadata": {
                "name": uid,
                "namespace": self.NAMESPACE,
                "labels": {"moorage.dev/secret": "server"},
                "annotations": {"moorage.dev/server": name},
            },
            "data": {key: base64.b64encode(value.encode()).decode() for key, value in data.items()},
        }

    def configure(self, server: str, revision: int, **parts: Any) -> None:
        """Write the configuration of a server, as the controller does."""
        uid = server.partition("/")[2]
        secret = self.cluster.found(SECRET, self.NAMESPACE, uid)
        name = secret["metadata"]["annotations"]["moorage.dev/server"]
        facts = {"name": name, "namespace": self.NAMESPACE}
        document = Document.model_validate({"revision": revision, "server": facts, **parts})
        secret["data"]["configuration"] = base64.b64encode(document.to_json()).decode()
        self.cluster.put(SECRET, secret)

    def agent_state(self, server: str) -> Obj:
        """`status.agent` of a server; empty before the first post."""
        uid = server.partition("/")[2]
        for (plural, _, _), obj in self.cluster.objects.items():
            if plural == VIRTUAL_SERVER.plural and obj["metadata"]["uid"] == uid:
                return dict(obj["status"].get("agent") or {})
        raise LookupError(server)

    def output_secret(self, server: str) -> dict[str, str]:
        """The values in `<uid>-outputs`."""
        uid = server.partition("/")[2]
        data = self.cluster.found(SECRET, self.NAMESPACE, f"{uid}-outputs")["data"]
        return {name: base64.b64decode(value).decode() for name, value in data.items()}

    def user_data(self, server: str, *replicas: Server, format: Format = "shell", pin: str = "") -> str:
        """What the server is booted with."""
        urls = [self.url(replica) for replica in replicas or self.replicas]
        return render_user_data(urls, pin or self.authority.pin, server, self.TOKEN, format)

    def everything(self) -> str:
        """All objects but Secrets, as text, to search for what must not be there."""
        return json.dumps([obj for (plural, _, _), obj in self.cluster.objects.items() if plural != SECRET.plural])
