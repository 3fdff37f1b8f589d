"""Toycloud: a hosting service of a hundred lines, for the tests. Yours is a real one, or a simulator of it."""

from __future__ import annotations

import asyncio
import itertools
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from aiohttp import web

IMAGES = {"toy-linux"}
SIZES = {"s": ("1", 1 << 30, "0.01"), "m": ("2", 4 << 30, "0.04")}


class Refusal(Exception):
    """An answer other than success."""

    def __init__(
        self, status: int, code: str, message: str, headers: dict[str, str] | None = None, **more: str
    ) -> None:
        super().__init__(message)
        self.status, self.headers = status, headers or {}
        self.body = {"code": code, "message": message, **more}


@dataclass
class Machine:
    """One machine."""

    id: int
    body: dict[str, Any]
    state: str
    created: str = field(default_factory=lambda: datetime.now(UTC).isoformat())

    def to_json(self) -> dict[str, Any]:
        """As the API tells it."""
        told = {name: self.body[name] for name in ("name", "image", "size", "labels")}
        message = "the boot failed" if self.state == "broken" else ""
        address = f"192.0.2.{self.id % 250 + 1}"
        return {**told, "id": self.id, "state": self.state, "created": self.created, "address": address} | (
            {"message": message} if message else {}
        )


class Toycloud:
    """The service: its machines, and everything it ever made."""

    def __init__(self, account: str, token: str) -> None:
        self.account, self.token = account, token
        self.machines: dict[int, Machine] = {}
        self.made: list[Machine] = []
        self.room: int | None = None
        self.limit: int | None = None
        self.throttle: float | None = None
        self.throttling = self.breaks = False
        self._ids = itertools.count(1)
        self._tasks: set[asyncio.Task[None]] = set()

    # -- the API -----------------------------------------------------------------------------------------------------

    def application(self) -> web.Application:
        """The web application."""
        app = web.Application(middlewares=[self._refusals])
        app.router.add_get("/v1/me", self._me)
        app.router.add_get("/v1/sizes", self._sizes)
        app.router.add_get("/v1/machines", self._list)
        app.router.add_post("/v1/machines", self._create)
        app.router.add_get("/v1/machines/{id}", self._get)
        app.router.add_delete("/v1/machines/{id}", self._delete)
        app.router.add_patch("/v1/machines/{id}/labels", self._label)
        app.router.add_get("/v1/machines/{id}/console", self._console)
        return app

    @web.middleware
    async def _refusals(self, request: web.Request, handler: Any) -> web.StreamResponse:
        try:
            if request.headers.get("Authorization") != f"Bearer {self.token}":
                raise Refusal(401, "bad_token", "the token is not good")
            if self.throttling:
                wait = {} if self.throttle is None else {"Retry-After": f"{self.throttle:g}"}
                raise Refusal(429, "slow_down", "too many requests", wait)
            return web.json_response(await handler(request))
        except Refusal as refusal:
            return web.json_response(refusal.body, status=refusal.status, headers=refusal.headers)

    async def _me(self, _: web.Request) -> Any:
        return {"account": self.account}

    async def _sizes(self, _: web.Request) -> Any:
        return {"sizes": [{"name": n, "cores": c, "memory": m, "price": p} for n, (c, m, p) in SIZES.items()]}

    async def _list(self, request: web.Request) -> Any:
        after, limit = int(request.query["after"]), int(request.query["limit"])
        name = request.query.get("name")
        found = [m for m in self.machines.values() if m.id > after and name in {None, m.body["name"]}]
        following = found[limit - 1].id if len(found) > limit else None
        return {"machines": [machine.to_json() for machine in found[:limit]], "next": following}

    async def _create(self, request: web.Request) -> Any:
        return self.create(await request.json()).to_json()

    def create(self, body: dict[str, Any]) -> Machine:
        """Make a machine. Raises Refusal."""
        if any(machine.body["name"] == body["name"] for machine in self.machines.values()):
            raise Refusal(409, "name_taken", "a machine has this name")
        if body["image"] not in IMAGES:
            raise Refusal(422, "bad_field", "there is no such image", field="image")
        if body["size"] not in SIZES:
            raise Refusal(422, "bad_field", "there is no such size", field="size")
        if self.limit is not None and len(self.machines) >= self.limit:
            raise Refusal(403, "limit_reached", "you may not have more machines")
        if self.room is not None and len(self.machines) >= self.room:
            raise Refusal(409, "no_room", "there is no room")
        machine = Machine(next(self._ids), body, "booting")
        self.machines[machine.id] = machine
        self.made.append(machine)
        self._later(self._boot(machine, "broken" if self.breaks else "up"))
        return machine

    def _machine(self, request: web.Request) -> Machine:
        text = request.match_info["id"]
        machine = self.machines.get(int(text)) if text.isdigit() else None
        if machine is None:
            raise Refusal(404, "no_such_machine", "there is no such machine")
        return machine

    async def _get(self, request: web.Request) -> Any:
        return self._machine(request).to_json()

    async def _delete(self, request: web.Request) -> Any:
        machine = self._machine(request)
        machine.state = "deleting"
        self._later(self._end(machine))
        return {}

    async def _label(self, request: web.Request) -> Any:
        machine = self._machine(request)
        machine.body["labels"] |= (await request.json())["labels"]
        return machine.to_json()

    async def _console(self, request: web.Request) -> Any:
        return {"text": f"\x07toy {self._machine(request).state}\r\n"}

    # -- what happens by itself --------------------------------------------------------------------------------------

    async def _boot(self, machine: Machine, state: str) -> None:
        await asyncio.sleep(0.02)
        if machine.state == "booting":
            machine.state = state

    async def _end(self, machine: Machine) -> None:
        await asyncio.sleep(0.02)
        self.machines.pop(machine.id, None)

    def _later(self, work: Any) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def settle(self) -> None:
        """Wait for what goes on."""
        await asyncio.gather(*self._tasks)
