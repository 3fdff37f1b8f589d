"""The backend `incus`: instances of one project, each named by the key it was created with.

Incus keeps names unique, so a repeated creation finds the first one's instance; what was asked for is told apart by an
option of it (`user.moorage-request`). Nearly everything that changes an instance is an operation: the answer 202 says
nothing about its end, and an operation that ended is forgotten within seconds. So whatever its end, the instance
itself is looked at, and only that is believed.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager, suppress
from dataclasses import replace
from typing import Any, Final
from urllib.parse import quote

from moorage.hosting.contract import (
    MAX_CONSOLE,
    Capabilities,
    Capacity,
    CreateRequest,
    Inventory,
    Offering,
    ServerRecord,
    ServerState,
)
from moorage.hosting.errors import (
    AuthenticationError,
    HostingError,
    Invalid,
    KeyConflict,
    NotFound,
    Throttled,
    TimedOut,
    Unavailable,
)
from moorage.hosting.factory import parse_settings
from moorage.hosting.incus import records
from moorage.hosting.incus.answers import is_typed, refusal
from moorage.hosting.incus.client import MAX_LIST, Client, metadata
from moorage.hosting.incus.reasons import explained
from moorage.hosting.incus.settings import IncusServerSettings, IncusSettings

SILENCE: Final = 40.0
"""Seconds without a word (a pong is one) after which the events' connection is taken for dead."""
ETAG_TRIES: Final = 3
MAX_BARE: Final = 20
"""Most instances of a list that are asked for one by one."""


class IncusBackend:
    """One project of one Incus. Satisfies `Backend` and the abilities Retag, Images, Power, Resize and Events."""

    def __init__(self, client: Client, project: str, settings: IncusSettings) -> None:
        self._client = client
        self._project = project
        self._settings = settings
        self._known: dict[str, str] = {}
        self.capabilities = Capabilities(
            idempotent_create=True, listing_lag=0.0, create_timeout=settings.create_timeout
        )

    # What the service is

    async def account(self) -> str:
        """See `Backend.account`: the server's certificate and the project. Where the project has an option
        `user.moorage-account`, that stands for the certificate, which may then be renewed."""
        server, project = await self._client.ask("", "server"), await self._client.project()
        if not isinstance(server, dict) or server.get("auth") not in {"trusted", "untrusted"}:
            raise Unavailable("server: the answer makes no sense, or is not Incus's")
        if server["auth"] != "trusted":
            raise AuthenticationError("Incus does not trust the client certificate: `incus config trust` adds it")
        named = (project.get("config") or {}).get("user.moorage-account")
        found = named or (server.get("environment") or {}).get("certificate_fingerprint")
        if not isinstance(found, str) or not found:
            raise Unavailable("server: the answer makes no sense")
        return f"{found[:64]}/{self._project}"

    async def offerings(self) -> tuple[Offering, ...]:
        """See `Backend.offerings`: those of the settings."""
        return tuple(
            Offering(name=s.name, cpu=s.cpu, memory=s.memory, arch=s.arch, price_per_hour=s.price_per_hour)
            for s in self._settings.sizes
        )

    async def images(self) -> tuple[str, ...]:
        """See `Images.images`: aliases, and fingerprints in full."""
        found = await self._client.ask("images", "images", query={"recursion": "1"}, limit=MAX_LIST)
        try:
            aliases = [alias["name"] for image in found for alias in image["aliases"] or ()]
            return (*aliases, *(image["fingerprint"] for image in found))
        except (KeyError, TypeError):
            raise Unavailable("images: the answer makes no sense") from None

    async def capacity(self) -> Capacity:
        """See `Backend.capacity`: what the project's limits leave, where it has any."""
        found = await self._client.ask(f"projects/{quote(self._project, safe='')}/state", "capacity")
        try:
            resources = found["resources"]
            used = resources["instances"]["Usage"]
            counts = [resources[kind] for kind in ("instances", "containers", "virtual-machines")]
            left = [count["Limit"] - count["Usage"] for count in counts if count["Limit"] >= 0]
        except (KeyError, TypeError):
            raise Unavailable("capacity: the answer makes no sense") from None
        return Capacity(limit=used + max(0, min(left)) if left else None, used=used)

    # Servers

    async def inventory(self) -> Inventory:
        """See `Backend.inventory`. Incus has no pages."""
        async with _bounded(self._settings.inventory_timeout, "the inventory did not end in time"):
            bound = self._settings.inventory_timeout
            query = {"recursion": "2"}
            try:
                found = await self._client.ask("instances", "inventory", query=query, limit=MAX_LIST, seconds=bound)
            except Unavailable:
                await self.account()  # a project that is not allowed is a 500 here, and told properly there
                raise
            servers = await self._listed(found)
            # Last, for a project that was deleted lists as an empty one.
            return Inventory(account=await self.account(), servers=servers)

    async def find(self, key: str) -> tuple[ServerRecord, ...]:
        """See `Backend.find`: the key is the name."""
        try:
            found = self._record(await self._named(key, "find")) if records.is_name(key) else None
        except NotFound:
            return ()
        return (found,) if found is not None and found.key == key else ()

    async def get(self, provider_id: str) -> ServerRecord:
        """See `Backend.get`."""
        return self._record(await self._instance(provider_id, "get"))

    async def create(self, request: CreateRequest) -> ServerRecord:
        """See `Backend.create`."""
        server = parse_settings(IncusServerSettings, request.settings)
        size = self._settings.size(request.offering)
        if size is None:
            raise Invalid(f"there is no size {request.offering} in the service's settings", field="offering")
        wanted = records.body(request, server, size)
        query = {"target": server.target} if server.target is not None else None
        async with _bounded(self._settings.create_timeout, "the creation did not end in time"):
            answer = await self._client.call(
                "POST", "instances", "create", content=wanted, query=query, seconds=self._settings.create_timeout
            )
            if answer.status == 202:
                failed = await self._client.outcome(answer, "create")
            else:
                # Refused, but a quota is checked before the name is: what an earlier attempt made may be there.
                failed = refusal(answer, "create")
                if isinstance(failed, AuthenticationError | Throttled) or not is_typed(answer):
                    raise failed
            return await self._made(request, server, failed)

    async def delete(self, provider_id: str) -> None:
        """See `Backend.delete`. A running instance is killed first, since Incus deletes none that runs."""
        try:
            async with _bounded(self._settings.request_timeout, "the deletion did not end in time"):
                await self._delete(provider_id)
        except NotFound:
            return

    async def console(self, provider_id: str) -> str | None:
        """See `Backend.console`."""
        path = _path(await self._instance(provider_id, "console"))
        answer = await self._client.call("GET", f"{path}/console", "console", query={"type": "log"})
        if answer.status != 200:
            error = refusal(answer, "console")
            raise await self._confirmed(error) if isinstance(error, NotFound) else error
        text = answer.raw.decode(errors="replace")
        return "".join(c for c in text if c == "\n" or c.isprintable())[-MAX_CONSOLE:]

    # Abilities

    async def retag(self, provider_id: str, tags: Mapping[str, str]) -> None:
        """See `Retag.retag`."""
        records.check_tags(tags)
        await self._patch(provider_id, {f"{records.USER}{tag}": value for tag, value in tags.items()}, "retag")
        found = (await self.get(provider_id)).tags
        if any(found.get(tag) != value for tag, value in tags.items()):
            raise Unavailable("retag: Incus did not confirm the new tags")

    async def resize(self, provider_id: str, offering: str) -> None:
        """See `Resize.resize`: limits of a running container change at once."""
        size = self._settings.size(offering)
        if size is None:
            raise Invalid(f"there is no size {offering} in the service's settings", field="offering")
        instance = await self._instance(provider_id, "resize")
        if self._record(instance).offering != offering:
            change = {**records.limits(size), f"{records.USER}{records.OFFERING}": offering}
            await self._patch(provider_id, change, "resize")

    async def start(self, provider_id: str) -> None:
        """See `Power.start`."""
        instance = await self._instance(provider_id, "start")
        if self._record(instance).state is ServerState.RUNNING:
            return
        async with _bounded(self._settings.request_timeout, "the start did not end in time"):
            failed = await self._start(instance)
            if failed is not None and (await self.get(provider_id)).state is not ServerState.RUNNING:
                raise failed

    async def stop(self, provider_id: str) -> None:
        """See `Power.stop`: the guest is told to shut down."""
        instance = await self._instance(provider_id, "stop")
        if instance.get("status") == "Stopped":
            return
        action = {"action": "stop", "timeout": self._settings.stop_timeout, "force": False}
        answer = await self._client.call("PUT", f"{_path(instance)}/state", "stop", content=action)
        if answer.status != 202:
            error = refusal(answer, "stop")
            raise await self._confirmed(error) if isinstance(error, NotFound) else error

    async def events(self) -> AsyncIterator[str]:
        """See `Events.events`: the project's lifecycle events. They name instances, and their ids are looked up."""
        async for text in self._client.events(SILENCE):
            if not text:
                yield ""
                continue
            try:
                event = json.loads(text)["metadata"]
                named = str(event["action"]).startswith("instance-") and str(event.get("name") or "")
            except (ValueError, KeyError, TypeError, AttributeError):
                raise Unavailable("events: what came makes no sense") from None
            if named:
                yield await self._id_of(named)

    async def close(self) -> None:
        """See `Backend.close`."""
        await self._client.close()

    # How

    def _record(self, instance: Any) -> ServerRecord:
        if not isinstance(instance, dict):
            raise Unavailable("an instance makes no sense")
        found = records.record(instance, self._settings)
        if len(self._known) > 20_000:
            self._known.clear()  # only what saves a look-up when an event names an instance
        self._known[instance["name"]] = found.provider_id
        return found

    async def _listed(self, found: Any) -> tuple[ServerRecord, ...]:
        """The instances of a list. One that Incus could not look at for a moment, or at all while its member of the
        cluster is away, is listed with nothing but its name: it is asked for again, by itself."""
        if not isinstance(found, list) or not all(isinstance(instance, dict) for instance in found):
            raise Unavailable("inventory: the answer makes no sense")
        bare = [str(instance.get("name")) for instance in found if not instance.get("config")]
        if len(bare) > MAX_BARE:
            raise Unavailable(f"inventory: Incus tells nothing of {len(bare)} instances: is a member of it away?")
        whole = [instance for instance in found if instance.get("config")]
        for name in bare:
            with suppress(NotFound):  # gone since it was listed
                whole.append(await self._named(name, "inventory"))
        servers = tuple(self._record(instance) for instance in whole)
        if len({server.provider_id for server in servers}) != len(servers):
            raise Unavailable("Incus listed an instance twice")
        return servers

    async def _named(self, name: str, what: str) -> dict[str, Any]:
        """The instance of that name, with its state. Raises NotFound."""
        path = f"instances/{quote(name, safe='')}"
        answer = await self._client.call("GET", path, what, query={"recursion": "1"})
        if answer.status == 500 and is_typed(answer):
            # While a container stops, its state cannot be read: then without it.
            answer = await self._client.call("GET", path, what)
        try:
            found = metadata(answer, what)
        except NotFound as error:
            raise await self._confirmed(error) from None
        if not isinstance(found, dict) or found.get("name") != name:
            raise Unavailable(f"{what}: the answer makes no sense")
        return found

    async def _instance(self, provider_id: str, what: str) -> dict[str, Any]:
        name, _, uuid = provider_id.partition("/")
        if not name or name in {".", ".."} or not uuid:
            raise Invalid("is not the id of an instance, which is NAME/UUID (volatile.uuid)", field="providerID")
        found = await self._named(name, what)
        if self._record(found).provider_id != provider_id:
            raise NotFound(f"{what}: another instance has the name by now")
        return found

    async def _confirmed(self, error: NotFound) -> HostingError:
        """A 404 for an instance, once its project is known to be there: Incus says the same for both."""
        await self._client.project()
        return error

    async def _id_of(self, name: str) -> str:
        """The id of an instance that an event names; "" (look at everything) for one that was never seen and is
        gone."""
        if name not in self._known:
            try:
                self._record(await self._named(name, "events"))
            except NotFound:
                return ""
        return self._known.get(name, "")

    async def _made(
        self, request: CreateRequest, server: IncusServerSettings, failed: HostingError | None
    ) -> ServerRecord:
        """What a creation came to, by what is there now."""
        try:
            instance = await self._named(request.key, "create")
        except NotFound:
            if failed is None:
                raise Unavailable("create: the server was there a moment ago and is gone") from None
            raise await explained(self._client, request, server, failed) from None
        if (instance.get("config") or {}).get(f"{records.USER}{records.REQUEST}") != request.digest():
            raise KeyConflict("create: the key is used by a server that was asked for with another request")
        found = self._record(instance)
        if found.state is not ServerState.PENDING or await self._client.busy(request.key):
            return found
        # It was made, but whoever made it died before its start, or the start failed.
        failed = await self._start(instance)
        found = self._record(await self._named(request.key, "create"))
        if failed is None or found.state is not ServerState.PENDING:
            return found
        return replace(found, state=ServerState.FAILED, message=failed.message)

    async def _start(self, instance: Mapping[str, Any]) -> HostingError | None:
        action = "unfreeze" if instance.get("status") in {"Frozen", "Freezing"} else "start"
        try:
            return await self._client.act("PUT", f"{_path(instance)}/state", "start", content={"action": action})
        except NotFound as error:
            raise await self._confirmed(error) from None

    async def _delete(self, provider_id: str) -> None:
        instance = await self._instance(provider_id, "delete")
        if (instance.get("expanded_config") or {}).get("security.protection.delete") in {"true", "1", "yes", "on"}:
            raise Invalid("delete: the instance is protected (security.protection.delete): unset it")
        path = _path(instance)
        if instance.get("status") != "Stopped":
            action = {"action": "stop", "force": True, "timeout": 0}
            # Whether it failed shows in the deletion: it may have stopped by itself in between.
            await self._client.act("PUT", f"{path}/state", "delete", content=action)
        answer = await self._client.call("DELETE", path, "delete")
        if answer.status == 400:
            raise Unavailable("delete: the instance runs again, or is busy")
        if answer.status == 404 and isinstance(error := refusal(answer, "delete"), NotFound):
            raise await self._confirmed(error)
        failed = await self._client.outcome(answer, "delete")
        if failed is not None:
            # Another deletion may have been quicker: then there is nothing any more, and that is NotFound.
            await self._instance(provider_id, "delete")
            raise failed

    async def _patch(self, provider_id: str, config: Mapping[str, str], what: str) -> None:
        """Change options of the very instance that was looked at."""
        for _ in range(ETAG_TRIES):
            instance = await self._instance(provider_id, what)
            path = _path(instance)
            seen = await self._client.call("GET", path, what)
            same = f'"{instance["config"]["volatile.uuid"]}"'.encode() in seen.raw
            if seen.status != 200 or not same or not seen.etag:
                raise Unavailable(f"{what}: the instance changed meanwhile")
            answer = await self._client.call("PATCH", path, what, content={"config": dict(config)}, etag=seen.etag)
            if answer.status == 200:
                return
            if answer.status != 412:  # changed since it was looked at, surely nothing was done
                error = refusal(answer, what)
                raise await self._confirmed(error) if isinstance(error, NotFound) else error
        raise Unavailable(f"{what}: the instance keeps changing")


@asynccontextmanager
async def _bounded(seconds: float, what: str) -> AsyncIterator[None]:
    try:
        async with asyncio.timeout(seconds):
            yield
    except TimeoutError:
        raise TimedOut(what) from None


def _path(instance: Mapping[str, Any]) -> str:
    return f"instances/{quote(str(instance['name']), safe='')}"
