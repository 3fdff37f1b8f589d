"""The backend `toycloud`. Machine names are unique there, so a machine's name is the key it was created with."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from decimal import Decimal
from typing import Any
from urllib.parse import quote

from pydantic import AwareDatetime, BaseModel, ConfigDict, ValidationError

from moorage.hosting.contract import (
    MAX_CONSOLE,
    Address,
    AddressType,
    Capacity,
    CreateRequest,
    Inventory,
    Offering,
    ServerRecord,
    ServerState,
)
from moorage.hosting.errors import (
    AuthenticationError,
    Invalid,
    KeyConflict,
    NotFound,
    TimedOut,
    Unavailable,
    clean,
    stranger,
)
from moorage.hosting.factory import ServiceSpec, capabilities, parse_settings
from moorage.hosting.http import Http, endpoint_url, tls_context
from moorage_toycloud.answers import TOYCLOUD, NameTakenError, parsed, refuse
from moorage_toycloud.settings import ServerSettings, ServiceSettings

LABEL_REQUEST, LABEL_NAME = "moorage-request", "moorage-name"
OWN_LABELS = frozenset({LABEL_REQUEST, LABEL_NAME})
MAX_PAGES = 10_000
STATES = {
    "booting": ServerState.PENDING,
    "up": ServerState.RUNNING,
    "deleting": ServerState.TERMINATING,
    "broken": ServerState.FAILED,
}


class Machine(BaseModel):
    """A machine as the service tells it. What does not fit is no answer at all."""

    model_config = ConfigDict(extra="ignore", frozen=True)

    id: int
    name: str
    state: str
    labels: dict[str, str]
    image: str = ""
    size: str = ""
    address: str = ""
    message: str = ""
    created: AwareDatetime | None = None


def open_backend(spec: ServiceSpec, credentials: Mapping[str, bytes]) -> ToycloudBackend:
    """See `BackendFactory.open`: no I/O here. The credentials have the key `token`."""
    settings = parse_settings(ServiceSettings, spec.settings)
    if spec.project:
        raise Invalid("a service of type toycloud has no projects", field="project")
    token = credentials.get("token", b"").decode("ascii", errors="replace").strip()
    if not token or not token.isprintable():
        raise AuthenticationError("the credentials hold no key `token` with a token in it")
    http = Http(
        endpoint_url(spec.endpoint, "a Toycloud", plain=settings.allow_plain_http),
        headers={"Authorization": f"Bearer {token}"},
        tls=tls_context(settings.ca_bundle),
    )
    return ToycloudBackend(http, settings)


class ToycloudBackend:
    """One account of a Toycloud. Satisfies `Backend`, and the ability Retag."""

    def __init__(self, http: Http, settings: ServiceSettings) -> None:
        self._http = http
        self._settings = settings
        self.capabilities = capabilities(settings, idempotent_create=True, listing_lag=settings.listing_lag)

    async def account(self) -> str:
        """See `Backend.account`."""
        account = (await self._ask("GET", "me", "account")).get("account")
        if not isinstance(account, str) or not account:
            raise Unavailable(f"account: {stranger(TOYCLOUD)}")
        return account

    async def offerings(self) -> tuple[Offering, ...]:
        """See `Backend.offerings`."""
        found = await self._ask("GET", "sizes", "offerings")
        try:
            return tuple(
                Offering(
                    name=size["name"],
                    cpu=Decimal(size["cores"]),
                    memory=Decimal(size["memory"]),
                    price_per_hour=Decimal(size["price"]),
                )
                for size in found["sizes"]
            )
        except (KeyError, TypeError, ValueError, ArithmeticError):
            raise Unavailable("offerings: the answer makes no sense") from None

    async def capacity(self) -> Capacity:
        """See `Backend.capacity`: the service tells no limit, so its machines are counted."""
        return Capacity(limit=None, used=len((await self.inventory()).servers))

    async def inventory(self) -> Inventory:
        """See `Backend.inventory`."""
        async with self._bounded("the inventory did not end in time"):
            return Inventory(account=await self.account(), servers=await self._machines())

    async def find(self, key: str) -> tuple[ServerRecord, ...]:
        """See `Backend.find`."""
        async with self._bounded("the search did not end in time"):
            return await self._machines(name=key)

    async def get(self, provider_id: str) -> ServerRecord:
        """See `Backend.get`."""
        machine = _machine(await self._ask("GET", f"machines/{_segment(provider_id)}", "get"))
        if str(machine.id) != provider_id:
            raise Unavailable("get: the service answered with another machine")
        return _record(machine)

    async def create(self, request: CreateRequest) -> ServerRecord:
        """See `Backend.create`. The name is taken where the creation is repeated, or where the key has been used for
        something else: the digest of the request, a label, tells."""
        settings = parse_settings(ServerSettings, request.settings)
        labels = {**request.tags, LABEL_REQUEST: request.digest(), LABEL_NAME: request.name}
        body = {
            "name": request.key,
            "image": request.image,
            "size": request.offering,
            "script": request.user_data,
            "labels": labels,
            **settings.model_dump(exclude_none=True),
        }
        async with self._bounded("the creation did not end in time", self._settings.create_timeout):
            try:
                machine = _machine(await self._ask("POST", "machines", "create", body=body))
            except NameTakenError:
                machine = await self._named(request.key)
                if machine.labels.get(LABEL_REQUEST) != labels[LABEL_REQUEST]:
                    raise KeyConflict("create: the key is a machine's that was asked for otherwise") from None
        if machine.name != request.key:
            raise Unavailable("create: the service answered with another machine")
        return _record(machine)

    async def delete(self, provider_id: str) -> None:
        """See `Backend.delete`."""
        answer = await self._call("DELETE", f"machines/{_segment(provider_id)}", "delete")
        if answer.status not in {200, 202, 204}:
            try:
                refuse(answer, "delete")
            except NotFound:
                return

    async def console(self, provider_id: str) -> str | None:
        """See `Backend.console`."""
        found = await self._ask("GET", f"machines/{_segment(provider_id)}/console", "console")
        text = found.get("text")
        if not isinstance(text, str):
            raise Unavailable("console: the answer makes no sense")
        return "".join(c for c in text if c == "\n" or c.isprintable())[-MAX_CONSOLE:]

    async def retag(self, provider_id: str, tags: Mapping[str, str]) -> None:
        """See `Retag.retag`. The service merges labels by itself."""
        path = f"machines/{_segment(provider_id)}/labels"
        machine = _machine(await self._ask("PATCH", path, "retag", body={"labels": dict(tags)}))
        if str(machine.id) != provider_id or not tags.items() <= machine.labels.items():
            raise Unavailable("retag: the service did not confirm the new labels")

    async def close(self) -> None:
        """See `Backend.close`."""
        await self._http.close()

    async def _named(self, name: str) -> Machine:
        found = await self._pages({"name": name})
        if len(found) != 1:
            raise Unavailable("create: the name is taken, and no machine has it: it is just coming or going")
        return found[0]

    async def _machines(self, **query: str) -> tuple[ServerRecord, ...]:
        return tuple(_record(machine) for machine in await self._pages(query))

    async def _pages(self, query: Mapping[str, str]) -> list[Machine]:
        """All machines over all pages, in the order of their ids, or an error: never some of them."""
        machines: list[Machine] = []
        after = 0
        for _ in range(MAX_PAGES):
            asked = {**query, "after": str(after), "limit": str(self._settings.page_size)}
            page = await self._ask("GET", "machines", "list", query=asked)
            items, following = page.get("machines"), page.get("next")
            if not isinstance(items, list) or not (following is None or isinstance(following, int)):
                raise Unavailable("list: the answer makes no sense")
            for item in items:
                machine = _machine(item)
                if machines and machine.id <= machines[-1].id:
                    raise Unavailable("list: a page came twice, or out of order")
                machines.append(machine)
            if following is None:
                return machines
            if following <= after:
                raise Unavailable("list: it does not go on where it stopped")
            after = following
        raise Unavailable(f"list: more than {MAX_PAGES} pages")

    async def _ask(self, method: str, path: str, what: str, **options: Any) -> dict[str, Any]:
        return parsed(await self._call(method, path, what, **options), what)

    async def _call(
        self, method: str, path: str, what: str, *, query: Mapping[str, str] | None = None, body: object = None
    ) -> Any:
        raw = json.dumps(body).encode() if body is not None else None
        # The HTTP client of Moorage bounds time and bytes, sends once and raises typed errors.
        limit = self._settings.create_timeout if what == "create" else self._settings.request_timeout
        return await self._http.call(method, f"v1/{path}", what, seconds_allowed=limit, query=query, body=raw)

    @asynccontextmanager
    async def _bounded(self, what: str, seconds: float | None = None) -> AsyncIterator[None]:
        try:
            async with asyncio.timeout(seconds or self._settings.inventory_timeout):
                yield
        except TimeoutError:
            raise TimedOut(what) from None


def _segment(provider_id: str) -> str:
    if not provider_id.isascii() or not provider_id.isdigit() or len(provider_id) > 18:
        raise Invalid("is not the id of a machine, which is a number", field="providerID")
    return quote(provider_id, safe="")


def _machine(data: object) -> Machine:
    try:
        return Machine.model_validate(data)
    except ValidationError:
        raise Unavailable("the service's machine makes no sense") from None


def _record(machine: Machine) -> ServerRecord:
    return ServerRecord(
        provider_id=str(machine.id),
        # A name that somebody else gave is no key.
        key=machine.name if LABEL_REQUEST in machine.labels else None,
        tags={name: value for name, value in machine.labels.items() if name not in OWN_LABELS},
        state=STATES.get(machine.state, ServerState.UNKNOWN),
        addresses=(Address(AddressType.INTERNAL, machine.address),) if machine.address else (),
        created=machine.created,
        message=clean(machine.message),
        name=machine.labels.get(LABEL_NAME, machine.name),
        image=machine.image or None,
        offering=machine.size or None,
    )
