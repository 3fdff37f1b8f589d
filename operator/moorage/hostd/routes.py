"""The HTTP API: one handler per operation, none of which knows about faults, tokens or errors."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

from aiohttp import web
from pydantic import BaseModel, ValidationError

from moorage.api.hostd import (
    Account,
    Capacity,
    CreateServer,
    Faults,
    ImageList,
    Ledger,
    OfferingList,
    Operation,
    Session,
    TagPatch,
    Wire,
)
from moorage.hostd.machine import Goal, Machine
from moorage.hostd.refusals import Refusal, invalid
from moorage.hostd.service import Service
from moorage.hostd.sessions import Sessions

SERVICE: web.AppKey[Service] = web.AppKey("service", Service)
SESSIONS: web.AppKey[Sessions] = web.AppKey("sessions", Sessions)
MAX_PAGE = 1000
Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]
Body = TypeVar("Body", bound=BaseModel)


def answer(data: Any, status: int = 200) -> web.Response:
    """A JSON answer."""
    if isinstance(data, Wire):
        data = data.to_json()
    elif isinstance(data, Machine):
        data = data.to_wire()
    body = json.dumps(data, separators=(",", ":")).encode()
    return web.Response(body=body, status=status, content_type="application/json")


async def read(request: web.Request, model: type[Body]) -> Body:
    """The body as a model. Raises Refusal naming the field."""
    try:
        raw = await request.read()
    except web.HTTPRequestEntityTooLarge:
        raise Refusal(413, "TooLarge", "the body is too large") from None
    try:
        return model.model_validate_json(raw)
    except ValidationError as error:
        first = error.errors(include_input=False, include_url=False, include_context=False)[0]
        path = ".".join(str(part) for part in first["loc"])
        raise invalid(f"{path}: {first['msg']}" if path else first["msg"], path or None) from None


async def account(request: web.Request) -> web.Response:
    service = request.app[SERVICE]
    return answer(Account(id=service.home.account, name=service.config.name, region=service.config.region))


async def session(request: web.Request) -> web.Response:
    sessions = request.app[SESSIONS]
    return answer(Session(token=sessions.begin(), expires_in=sessions.length), 201)


async def offerings(request: web.Request) -> web.Response:
    return answer(OfferingList(items=request.app[SERVICE].config.priced_offerings()))


async def images(request: web.Request) -> web.Response:
    return answer(ImageList(items=request.app[SERVICE].driver.images()))


async def capacity(request: web.Request) -> web.Response:
    service = request.app[SERVICE]
    return answer(Capacity(limit=service.limit, used=len(service.machines)))


async def list_servers(request: web.Request) -> web.Response:
    limit, after = number(request, "limit", MAX_PAGE), number(request, "continue", 0)
    key = request.query.get("key")
    found = [
        machine
        for machine in request.app[SERVICE].listing()
        if machine.sequence > after and (key is None or machine.request.key == key)
    ]
    size = max(1, min(limit, MAX_PAGE))
    page = found[:size]
    body: dict[str, Any] = {"items": [machine.to_wire() for machine in page]}
    if len(found) > size:
        body["continue"] = str(page[-1].sequence)
    return answer(body)


def number(request: web.Request, field: str, default: int) -> int:
    """A parameter of the query. Raises Refusal."""
    text = request.query.get(field, str(default))
    if not text.isascii() or not text.isdigit() or len(text) > 15:
        raise invalid("must be a whole number", field)
    return int(text)


async def create(request: web.Request) -> web.Response:
    machine, new = await request.app[SERVICE].create(await read(request, CreateServer))
    return answer(machine, 201 if new else 200)


def machine_of(request: web.Request) -> Machine:
    """The live machine that the path names. Raises Refusal."""
    return request.app[SERVICE].get(request.match_info["id"])


async def get(request: web.Request) -> web.Response:
    return answer(machine_of(request))


async def delete(request: web.Request) -> web.Response:
    machine = machine_of(request)
    await request.app[SERVICE].delete(machine)
    return answer(machine, 202)


async def retag(request: web.Request) -> web.Response:
    machine = machine_of(request)
    await request.app[SERVICE].retag(machine, (await read(request, TagPatch)).tags)
    return answer(machine)


async def console(request: web.Request) -> web.Response:
    return answer(await request.app[SERVICE].driver.console(machine_of(request)))


def power(goal: Goal) -> Handler:
    async def handler(request: web.Request) -> web.Response:
        machine = machine_of(request)
        await request.app[SERVICE].power(machine, goal)
        return answer(machine, 202)

    return handler


async def ledger(request: web.Request) -> web.Response:
    return answer(Ledger(items=tuple(request.app[SERVICE].ledger.entries)))


async def get_faults(request: web.Request) -> web.Response:
    return answer(request.app[SERVICE].faults.now)


async def put_faults(request: web.Request) -> web.Response:
    service = request.app[SERVICE]
    faults = await read(request, Faults)
    service.faults.set(faults)
    if faults.expire_sessions and SESSIONS in request.app:
        request.app[SESSIONS].expire()
    for server_id in faults.vanish:
        await service.vanish(server_id)
    return answer(faults)


async def delete_faults(request: web.Request) -> web.Response:
    request.app[SERVICE].faults.set(Faults())
    return answer(Faults())


async def stats(request: web.Request) -> web.Response:
    service = request.app[SERVICE]
    states = Counter(machine.state.value for machine in service.machines.values())
    return answer({"calls": dict(service.calls), "servers": dict(states)})


async def health(request: web.Request) -> web.Response:
    return web.Response(text="ok\n")


SESSION_PATH = "/v1/session"
OPERATIONS: tuple[tuple[str, str, Operation, Handler], ...] = (
    ("GET", "/v1/account", Operation.ACCOUNT, account),
    ("GET", "/v1/offerings", Operation.OFFERINGS, offerings),
    ("GET", "/v1/images", Operation.IMAGES, images),
    ("GET", "/v1/capacity", Operation.CAPACITY, capacity),
    ("GET", "/v1/servers", Operation.LIST, list_servers),
    ("POST", "/v1/servers", Operation.CREATE, create),
    ("GET", "/v1/servers/{id}", Operation.GET, get),
    ("DELETE", "/v1/servers/{id}", Operation.DELETE, delete),
    ("PATCH", "/v1/servers/{id}/tags", Operation.TAG, retag),
    ("GET", "/v1/servers/{id}/console", Operation.CONSOLE, console),
    ("POST", "/v1/servers/{id}/stop", Operation.POWER, power(Goal.STOP)),
    ("POST", "/v1/servers/{id}/start", Operation.POWER, power(Goal.RUN)),
    ("POST", "/v1/servers/{id}/reboot", Operation.POWER, power(Goal.REBOOT)),
)
"""What faults apply to."""

CONTROLS: tuple[tuple[str, str, Handler], ...] = (
    ("GET", "/v1/ledger", ledger),
    ("GET", "/v1/faults", get_faults),
    ("PUT", "/v1/faults", put_faults),
    ("DELETE", "/v1/faults", delete_faults),
    ("GET", "/v1/stats", stats),
)
"""What tells the truth under any fault."""
