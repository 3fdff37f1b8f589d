"""The proxy's HTTP side: EC2 and STS at `/`, and below `/_bed/` the switches, for whoever has the token."""

from __future__ import annotations

import hmac
import json
import time
from collections.abc import Awaitable, Callable
from dataclasses import asdict
from typing import Any

from aiohttp import web

from moorage.testbed.ec2 import query
from moorage.testbed.ec2.faults import Faults
from moorage.testbed.ec2.query import Refused
from moorage.testbed.ec2.service import Service
from moorage.testbed.ec2.signing import AccessKey, verify
from moorage.testbed.ec2.simulator import Simulator

MAX_BODY = 4 * 1024 * 1024
Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


class App:
    """Both sides."""

    def __init__(self, service: Service, simulator: Simulator, keys: dict[str, AccessKey], token: str) -> None:
        self._service = service
        self._simulator = simulator
        self._keys = keys
        self._token = token

    def build(self) -> web.Application:
        """The web application."""
        app = web.Application(client_max_size=MAX_BODY)
        controls: dict[tuple[str, str], Callable[[web.Request], Awaitable[Any]]] = {
            ("GET", "ledger"): self._ledger,
            ("GET", "calls"): self._calls,
            ("DELETE", "calls"): self._forget_calls,
            ("GET", "faults"): self._faults,
            ("PUT", "faults"): self._set_faults,
            ("DELETE", "faults"): self._clear_faults,
            ("PUT", "guests"): self._set_guests,
            ("PUT", "keys/{id}"): self._set_key,
            ("DELETE", "keys/{id}"): self._remove_key,
            ("GET", "instances/{id}"): self._instance,
            ("DELETE", "instances/{id}"): self._vanish,
            ("DELETE", "instances"): self._remove_all,
        }
        for (method, path), control in controls.items():
            app.router.add_route(method, f"/_bed/{path}", self._guarded(control))
        app.router.add_route("*", "/{rest:.*}", self._serve)
        return app

    # EC2 and STS

    async def _serve(self, request: web.Request) -> web.Response:
        body = await request.read()
        service = "ec2"
        try:
            now = time.time() + self._service.faults.now.skew
            caller = verify(request.method, request.rel_url.raw_path, request.headers, body, self._keys, now)
            service = caller.service
            form = query.parse(body)
            if service == "ec2":
                reply = await self._service.call(caller, form)
            else:
                self._service.calls[form.get("Action", "")] += 1
                reply = await self._simulator.ask(caller, form)
        except Refused as refused:
            headers = {} if refused.retry_after is None else {"Retry-After": f"{refused.retry_after:g}"}
            return web.Response(
                status=refused.status, body=refused.body(service), content_type=query.XML, headers=headers
            )
        return web.Response(status=reply.status, body=reply.body, content_type=query.XML)

    # The switches

    def _guarded(self, control: Callable[[web.Request], Awaitable[Any]]) -> Handler:
        async def handle(request: web.Request) -> web.Response:
            given = request.headers.get("Authorization", "").encode(errors="replace")
            if not hmac.compare_digest(given, f"Bearer {self._token}".encode()):
                return web.json_response({"message": "the bearer token is missing or wrong"}, status=401)
            try:
                return web.json_response(await control(request))
            except (ValueError, TypeError, KeyError) as error:
                return web.json_response({"message": f"{type(error).__name__}: {error}"}, status=400)

        return handle

    async def _ledger(self, _: web.Request) -> Any:
        return {"items": [entry.to_json() for entry in self._service.ledger]}

    async def _calls(self, _: web.Request) -> Any:
        return dict(self._service.calls)

    async def _forget_calls(self, _: web.Request) -> Any:
        self._service.calls.clear()
        return {}

    async def _faults(self, _: web.Request) -> Any:
        return asdict(self._service.faults.now)

    async def _set_faults(self, request: web.Request) -> Any:
        self._service.faults.set(Faults.from_json(json.loads(await request.read())))
        return {}

    async def _clear_faults(self, _: web.Request) -> Any:
        self._service.faults.set(Faults())
        return {}

    async def _set_guests(self, request: web.Request) -> Any:
        self._service.boot(enabled=bool(json.loads(await request.read())["enabled"]))
        return {}

    async def _set_key(self, request: web.Request) -> Any:
        self._keys[request.match_info["id"]] = AccessKey.from_json(json.loads(await request.read()))
        return {}

    async def _remove_key(self, request: web.Request) -> Any:
        self._keys.pop(request.match_info["id"], None)
        return {}

    async def _instance(self, request: web.Request) -> Any:
        entry = self._service.ledger.get(request.match_info["id"])
        return None if entry is None else {**entry.to_json(), "userData": entry.user_data.decode(errors="replace")}

    async def _vanish(self, request: web.Request) -> Any:
        entry = self._service.ledger.get(request.match_info["id"])
        if entry is not None:
            await self._service.vanish(entry.account, entry.id)
        return {}

    async def _remove_all(self, _: web.Request) -> Any:
        await self._service.remove_all()
        return {}
