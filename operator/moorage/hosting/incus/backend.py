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
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import UTC, datetime
from typing import Final
from urllib.parse import quote

from moorage.hosting.contract import (
    MAX_CONSOLE,
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
    stranger,
)
from moorage.hosting.factory import capabilities, parse_settings
from moorage.hosting.incus import records
from moorage.hosting.incus.answers import INCUS, body, is_typed, refusal
from moorage.hosting.incus.client import MAX_LIST, Client
from moorage.hosting.incus.instances import Instances, path_of
from moorage.hosting.incus.reasons import explained
from moorage.hosting.incus.settings import IncusServerSettings, IncusSettings

SILENCE: Final = 40.0
"""Seconds without a word (a pong is one) after which the events' connection is taken for dead."""
MARK_TRIES: Final = 10
MARK_PAUSE: Final = 0.2


class IncusBackend:
    """One project of one Incus. Satisfies `Backend` and the abilities Retag, Images, Power, Resize and Events.
    `expires`: when the client's certificate does, where that is known."""

    def __init__(
        self, client: Client, project: str, settings: IncusSettings, *, expires: datetime | None = None
    ) -> None:
        self._client = client
        self._expires = expires
        self._project = project
        self._settings = settings
        self._instances = Instances(client, settings)
        self.capabilities = capabilities(settings, idempotent_create=True, listing_lag=0.0)

    # What the service is

    async def account(self) -> str:
        """See `Backend.account`: the server's certificate and the project. Where the project has an option
        `user.moorage-account`, that stands for the certificate, which may then be renewed."""
        server = await self._client.ask("", "server")
        if not isinstance(server, dict) or server.get("auth") not in {"trusted", "untrusted"}:
            raise Unavailable(f"server: {stranger(INCUS)}")
        if server["auth"] != "trusted":
            raise AuthenticationError(self._distrusted())
        project = await self._client.project()
        named = (project.get("config") or {}).get("user.moorage-account")
        found = named or (server.get("environment") or {}).get("certificate_fingerprint")
        if not isinstance(found, str) or not found:
            raise Unavailable(f"server: {stranger(INCUS)}")
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
            servers = await self._instances.listed(found)
            # Last, for a project that was deleted lists as an empty one.
            return Inventory(account=await self.account(), servers=servers)

    async def find(self, key: str) -> tuple[ServerRecord, ...]:
        """See `Backend.find`: the key is the name."""
        try:
            found = self._instances.record(await self._instances.named(key, "find")) if records.is_name(key) else None
        except NotFound:
            return ()
        return (found,) if found is not None and found.key == key else ()

    async def get(self, provider_id: str) -> ServerRecord:
        """See `Backend.get`."""
        return self._instances.record(await self._instances.get(provider_id, "get"))

    async def create(self, request: CreateRequest) -> ServerRecord:
        """See `Backend.create`."""
        server = parse_settings(IncusServerSettings, request.settings)
        self._settings.check(server)
        size = self._settings.size(request.offering)
        if size is None:
            raise Invalid(f"there is no size {request.offering} in the service's settings", field="offering")
        wanted = records.body(request, server, size)
        query = {"target": server.target} if server.target is not None else None
        async with _bounded(self._settings.create_timeout, "the creation did not end in time"):
            answer = await self._client.call(
                "POST", "instances", "create", content=wanted, query=query, seconds=self._settings.create_timeout
            )
            began = None
            if answer.status == 202:
                began = records.began(body(answer, "create").get("metadata"))
                failed = await self._client.outcome(answer, "create")
            else:
                # Refused, but a quota is checked before the name is: what an earlier attempt made may be there.
                failed = refusal(answer, "create")
                if isinstance(failed, AuthenticationError | Throttled) or not is_typed(answer):
                    raise failed
            return await self._made(request, server, failed, began)

    async def delete(self, provider_id: str) -> None:
        """See `Backend.delete`. A running instance is killed first, since Incus deletes none that runs."""
        try:
            async with _bounded(self._settings.request_timeout, "the deletion did not end in time"):
                await self._delete(provider_id)
        except NotFound:
            return

    async def console(self, provider_id: str) -> str | None:
        """See `Backend.console`."""
        path = path_of(await self._instances.get(provider_id, "console"))
        answer = await self._client.call("GET", f"{path}/console", "console", query={"type": "log"})
        if answer.status != 200:
            error = refusal(answer, "console")
            raise await self._instances.confirmed(error) if isinstance(error, NotFound) else error
        text = answer.raw.decode(errors="replace")
        return "".join(c for c in text if c == "\n" or c.isprintable())[-MAX_CONSOLE:]

    # Abilities

    async def retag(self, provider_id: str, tags: Mapping[str, str]) -> None:
        """See `Retag.retag`."""
        records.check_tags(tags)
        await self._instances.patch(
            provider_id, {f"{records.USER}{tag}": value for tag, value in tags.items()}, "retag"
        )
        found = (await self.get(provider_id)).tags
        if any(found.get(tag) != value for tag, value in tags.items()):
            raise Unavailable("retag: Incus did not confirm the new tags")

    async def resize(self, provider_id: str, offering: str) -> None:
        """See `Resize.resize`: limits of a running container change at once."""
        size = self._settings.size(offering)
        if size is None:
            raise Invalid(f"there is no size {offering} in the service's settings", field="offering")
        instance = await self._instances.get(provider_id, "resize")
        if self._instances.record(instance).offering != offering:
            change = {**records.limits(size), f"{records.USER}{records.OFFERING}": offering}
            await self._instances.patch(provider_id, change, "resize")

    async def start(self, provider_id: str) -> None:
        """See `Power.start`."""
        instance = await self._instances.get(provider_id, "start")
        if self._instances.record(instance).state is ServerState.RUNNING:
            return
        async with _bounded(self._settings.request_timeout, "the start did not end in time"):
            failed = await self._instances.start(instance)
            if failed is not None and (await self.get(provider_id)).state is not ServerState.RUNNING:
                raise failed
            if f"{records.USER}{records.FAILED}" in instance["config"]:
                await self._instances.patch(provider_id, {f"{records.USER}{records.FAILED}": ""}, "start")

    async def stop(self, provider_id: str) -> None:
        """See `Power.stop`: the guest is told to shut down."""
        instance = await self._instances.get(provider_id, "stop")
        if instance.get("status") == "Stopped":
            return
        action = {"action": "stop", "timeout": self._settings.stop_timeout, "force": False}
        answer = await self._client.call("PUT", f"{path_of(instance)}/state", "stop", content=action)
        if answer.status != 202:
            error = refusal(answer, "stop")
            raise await self._instances.confirmed(error) if isinstance(error, NotFound) else error

    async def events(self) -> AsyncIterator[str]:
        """See `Events.events`: the project's lifecycle events. They name instances, and their ids are looked up."""
        async for text in self._client.events(SILENCE):
            if not text:
                yield ""
                continue
            try:
                event = json.loads(text)["metadata"]
                named = str(event["action"]).startswith("instance-") and str(event.get("name") or "")
            except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
                raise Unavailable("events: what came makes no sense") from None
            if named:
                yield await self._instances.id_of(named)

    async def close(self) -> None:
        """See `Backend.close`."""
        await self._client.close()

    # How

    def _distrusted(self) -> str:
        trust = f"incus config trust add-certificate tls.crt --restricted --projects {self._project}"
        if self._expires is not None and self._expires <= datetime.now(UTC):
            return (
                f"the client certificate `tls.crt` has expired on {self._expires:%Y-%m-%d}: make another one, have "
                f"Incus trust it (`{trust}`), and write it and its key into the credentials"
            )
        return f"Incus does not trust the client certificate: `{trust}` adds it"

    async def _made(
        self,
        request: CreateRequest,
        server: IncusServerSettings,
        failed: HostingError | None,
        began: datetime | None,
    ) -> ServerRecord:
        """What a creation came to, by what is there now. `began`: when its operation did, if there was one."""
        try:
            instance = await self._instances.named(request.key, "create")
        except NotFound:
            if failed is None:
                raise Unavailable("create: the server was there a moment ago and is gone") from None
            raise await explained(self._client, request, server, failed) from None
        if (instance.get("config") or {}).get(f"{records.USER}{records.REQUEST}") != request.digest():
            raise KeyConflict("create: the key is used by a server that was asked for with another request")
        found = self._instances.record(instance)
        stopped = found.state in {ServerState.PENDING, ServerState.STOPPED}
        if failed is None or not stopped or await self._client.busy(request.key):
            return found
        if found.state is ServerState.PENDING:
            # It was made, but whoever made it died before its start, or the start failed.
            failed = await self._instances.start(instance)
            found = self._instances.record(await self._instances.named(request.key, "create"))
            return found if failed is None else await self._never_started(found, failed)
        # Stopped after it ran: by this very operation's failure, or by somebody long after it was made.
        own = began is not None and found.created is not None and found.created >= began
        return await self._never_started(found, failed) if own else found

    async def _never_started(self, found: ServerRecord, failed: HostingError) -> ServerRecord:
        """The failed server. That it failed is put on it, for whoever asks later. For a moment Incus takes what fails
        to start for running, and lets nothing be changed; and an instance whose making was cut short by the death of
        the daemon takes no change at all, only its end."""
        if found.state is ServerState.RUNNING:
            return found
        for _ in range(MARK_TRIES):
            try:
                await self._instances.patch(
                    found.provider_id, {f"{records.USER}{records.FAILED}": failed.message}, "create"
                )
                break
            except NotFound:
                break
            except HostingError:
                await asyncio.sleep(MARK_PAUSE)
        return replace(found, state=ServerState.FAILED, message=failed.message)

    async def _delete(self, provider_id: str) -> None:
        instance = await self._instances.get(provider_id, "delete")
        if (instance.get("expanded_config") or {}).get("security.protection.delete") in {"true", "1", "yes", "on"}:
            raise Invalid("delete: the instance is protected (security.protection.delete): unset it")
        path = path_of(instance)
        if instance.get("status") != "Stopped":
            action = {"action": "stop", "force": True, "timeout": 0}
            # Whether it failed shows in the deletion: it may have stopped by itself in between.
            await self._client.act("PUT", f"{path}/state", "delete", content=action)
        answer = await self._client.call("DELETE", path, "delete")
        if answer.status == 400:
            raise Unavailable("delete: the instance runs again, or is busy")
        if answer.status == 404 and isinstance(error := refusal(answer, "delete"), NotFound):
            raise await self._instances.confirmed(error)
        failed = await self._client.outcome(answer, "delete")
        if failed is not None:
            # Another deletion may have been quicker: then there is nothing any more, and that is NotFound.
            await self._instances.get(provider_id, "delete")
            raise failed


@asynccontextmanager
async def _bounded(seconds: float, what: str) -> AsyncIterator[None]:
    try:
        async with asyncio.timeout(seconds):
            yield
    except TimeoutError:
        raise TimedOut(what) from None
