"""The instances of a project: looked at, listed, started and changed."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from typing import Any, Final
from urllib.parse import quote

from moorage.hosting.contract import ServerRecord
from moorage.hosting.errors import HostingError, Invalid, NotFound, Unavailable
from moorage.hosting.incus import records
from moorage.hosting.incus.answers import is_typed, refusal
from moorage.hosting.incus.client import Client, metadata
from moorage.hosting.incus.settings import IncusSettings

ETAG_TRIES: Final = 3
MAX_BARE: Final = 20
"""Most instances of a list that are asked for one by one."""


class Instances:
    """What is done with single instances and lists of them, in one project."""

    def __init__(self, client: Client, settings: IncusSettings) -> None:
        self._client = client
        self._settings = settings
        self._known: dict[str, str] = {}

    def record(self, instance: Any) -> ServerRecord:
        """The contract's record of it. Raises Unavailable where it makes no sense."""
        if not isinstance(instance, dict):
            raise Unavailable("an instance makes no sense")
        found = records.record(instance, self._settings)
        if len(self._known) > 20_000:
            self._known.clear()  # only what saves a look-up when an event names an instance
        self._known[instance["name"]] = found.provider_id
        return found

    async def listed(self, found: Any) -> tuple[ServerRecord, ...]:
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
                whole.append(await self.named(name, "inventory"))
        servers = tuple(self.record(instance) for instance in whole)
        if len({server.provider_id for server in servers}) != len(servers):
            raise Unavailable("Incus listed an instance twice")
        return servers

    async def named(self, name: str, what: str) -> dict[str, Any]:
        """The instance of that name, with its state. Raises NotFound."""
        path = f"instances/{quote(name, safe='')}"
        answer = await self._client.call("GET", path, what, query={"recursion": "1"})
        if answer.status == 500 and is_typed(answer):
            # While a container stops, its state cannot be read: then without it.
            answer = await self._client.call("GET", path, what)
        try:
            found = metadata(answer, what)
        except NotFound as error:
            raise await self.confirmed(error) from None
        if not isinstance(found, dict) or found.get("name") != name:
            raise Unavailable(f"{what}: the answer makes no sense")
        return found

    async def get(self, provider_id: str, what: str) -> dict[str, Any]:
        """The instance of that id. Raises NotFound, also where the name is another's by now."""
        name, _, uuid = provider_id.partition("/")
        if not name or name in {".", ".."} or not uuid:
            raise Invalid("is not the id of an instance, which is NAME/UUID (volatile.uuid)", field="providerID")
        found = await self.named(name, what)
        if self.record(found).provider_id != provider_id:
            raise NotFound(f"{what}: another instance has the name by now")
        return found

    async def confirmed(self, error: NotFound) -> HostingError:
        """A 404 for an instance, once its project is known to be there: Incus says the same for both."""
        await self._client.project()
        return error

    async def id_of(self, name: str) -> str:
        """The id of an instance that an event names; "" (look at everything) for one that was never seen and is
        gone."""
        if name not in self._known:
            try:
                self.record(await self.named(name, "events"))
            except NotFound:
                return ""
        return self._known.get(name, "")

    async def start(self, instance: Mapping[str, Any]) -> HostingError | None:
        """Let it run (on), and wait: None where it does, else why not. Raises NotFound."""
        action = "unfreeze" if instance.get("status") in {"Frozen", "Freezing"} else "start"
        try:
            return await self._client.act("PUT", f"{path_of(instance)}/state", "start", content={"action": action})
        except NotFound as error:
            raise await self.confirmed(error) from None

    async def patch(self, provider_id: str, config: Mapping[str, str], what: str) -> None:
        """Change options of the very instance that was looked at."""
        for _ in range(ETAG_TRIES):
            instance = await self.get(provider_id, what)
            path = path_of(instance)
            seen = await self._client.call("GET", path, what)
            same = f'"{instance["config"]["volatile.uuid"]}"'.encode() in seen.raw
            if seen.status != 200 or not same or not seen.etag:
                raise Unavailable(f"{what}: the instance changed meanwhile")
            answer = await self._client.call("PATCH", path, what, content={"config": dict(config)}, etag=seen.etag)
            if answer.status == 200:
                return
            if answer.status != 412:  # changed since it was looked at, surely nothing was done
                error = refusal(answer, what)
                raise await self.confirmed(error) if isinstance(error, NotFound) else error
        raise Unavailable(f"{what}: the instance keeps changing")


def path_of(instance: Mapping[str, Any]) -> str:
    """Its path in the API."""
    return f"instances/{quote(str(instance['name']), safe='')}"
