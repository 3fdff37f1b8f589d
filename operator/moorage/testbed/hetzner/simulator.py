"""The Hetzner Cloud API, simulated over HTTP: `python -m moorage.testbed.hetzner.simulator FOLDER`.

Written from its reference, https://docs.hetzner.cloud/reference/cloud: servers, their actions, server types, images,
locations, SSH keys, placement groups, volumes; errors (#errors), labels and their limits (#labels), label
selectors (#label-selector), pagination (#pagination), the rate limit and its headers (#rate-limiting). Its fields and
limits were compared with the OpenAPI description of the same reference, and Hetzner's own SDK parses the answers in the
tests. What it cannot tell: how late real lists are, how a real placement fails, how long anything takes.

It writes `address.json` into the folder once it answers. `POST /control/VERB` tells it what to do wrong, `GET
/control/ledger` what was ever made; a token is a project.
"""

from __future__ import annotations

import asyncio
import json
import secrets
import signal
import sys
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any, Final

from aiohttp import web

from moorage.testbed.hetzner.catalogue import IMAGES, LOCATIONS, SERVER_TYPES
from moorage.testbed.hetzner.project import Faults, Project, Refusal, id_source, missing
from moorage.testbed.hetzner.servers import Obj
from moorage.testbed.hetzner.storage import add_storage
from moorage.testbed.hetzner.wire import Handler, body_of, number_of, page, project_of, refused, selected

RATE: Final = 3600
"""Calls an hour of a project; one comes back each second."""


class Budget:
    """The rate limit of one project."""

    def __init__(self) -> None:
        self.left = float(RATE)
        self.at = time.time()

    def take(self) -> bool:
        """Use one call, if there is one."""
        now = time.time()
        self.left = min(float(RATE), self.left + (now - self.at) * RATE / 3600)
        self.at = now
        if self.left < 1:
            return False
        self.left -= 1
        return True

    def headers(self) -> dict[str, str]:
        """As the API tells it: when the budget is whole again, in seconds since 1970."""
        full = time.time() + (RATE - self.left) * 3600 / RATE
        return {
            "RateLimit-Limit": str(RATE),
            "RateLimit-Remaining": str(int(self.left)),
            "RateLimit-Reset": str(int(full)),
        }


class Simulator:
    """The projects and what is served of them."""

    def __init__(self) -> None:
        ids = id_source()
        self.tokens = {name: secrets.token_hex(32) for name in ("main", "readonly", "other")}
        main = Project(ids)
        self.projects = {self.tokens["main"]: main, self.tokens["readonly"]: main, self.tokens["other"]: Project(ids)}
        self.budgets = {id(project): Budget() for project in self.projects.values()}

    def app(self) -> web.Application:
        """All routes."""
        app = web.Application(middlewares=[self._guard], client_max_size=1024 * 1024)
        fixed: dict[str, Iterable[Obj]] = {"locations": LOCATIONS.values(), "server_types": SERVER_TYPES.values()}
        for name, items in fixed.items():
            app.router.add_get(f"/v1/{name}", _listing(name, items))
        add = app.router.add_route
        add("GET", "/v1/images", self.list_images)
        add("GET", "/v1/ssh_keys", self.list_keys)
        add("GET", "/v1/servers", self.list_servers)
        add("POST", "/v1/servers", self.create_server)
        add("GET", "/v1/servers/{id}", self.get_server)
        add("PUT", "/v1/servers/{id}", self.put_server)
        add("DELETE", "/v1/servers/{id}", self.delete_server)
        add("GET", "/v1/servers/{id}/actions", self.list_actions)
        for command, (on, name) in _POWER.items():
            add("POST", f"/v1/servers/{{id}}/actions/{command}", self.power(on, name))
        add("GET", "/v1/placement_groups", self.list_groups)
        add("POST", "/v1/placement_groups", self.create_group)
        add("GET", "/v1/placement_groups/{id}", self.get_group)
        add_storage(app)
        add("GET", "/control/ledger", self.ledger)
        add("POST", "/control/{verb}", self.control)
        return app

    @web.middleware
    async def _guard(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        if request.path.startswith("/control/"):
            return await handler(request)
        headers: dict[str, str] = {}
        try:
            project = self._admit(request)
            headers = self.budgets[id(project)].headers()
            self._throttle(project, headers)
            request["project"] = project
            answer = await handler(request)
            answer.headers.update(headers)
        except Refusal as refusal:
            return refused(refusal, headers)
        except web.HTTPNotFound:
            return refused(missing("path"), headers)
        except web.HTTPMethodNotAllowed:
            return refused(Refusal(405, "method_not_allowed", "method not allowed"), headers)
        except json.JSONDecodeError:
            return refused(Refusal(400, "json_error", "invalid JSON"), headers)
        return answer

    def _admit(self, request: web.Request) -> Project:
        kind, _, token = request.headers.get("Authorization", "").partition(" ")
        project = self.projects.get(token) if kind == "Bearer" else None
        if project is None or project.faults.revoked:
            raise Refusal(401, "unauthorized", "unable to authenticate")
        if request.method != "GET":
            if token == self.tokens["readonly"]:
                raise Refusal(403, "token_readonly", "the token is only allowed to perform GET requests")
            if project.faults.refuse is not None:
                raise Refusal(*project.faults.refuse, "told to refuse")
        return project

    def _throttle(self, project: Project, headers: dict[str, str]) -> None:
        told = project.faults.throttle
        if project.faults.throttled and told is None:
            headers.clear()
        elif project.faults.throttled and told is not None:
            headers |= {"RateLimit-Limit": f"{3600 / told:.0f}", "RateLimit-Remaining": "0"}
        elif self.budgets[id(project)].take():
            return
        raise Refusal(429, "rate_limit_exceeded", "limit of 3600 requests per hour reached")

    # Lists

    async def list_images(self, request: web.Request) -> web.Response:
        """GET /images."""
        deprecated = request.query.get("include_deprecated", "false").lower() in {"true", "1"}
        kinds, names = request.query.getall("type", []), request.query.getall("name", [])
        found = [
            image
            for image in IMAGES
            if (deprecated or image["deprecated"] is None)
            and (not kinds or image["type"] in kinds)
            and (not names or image["name"] in names)
        ]
        return page(request, "images", found)

    async def list_keys(self, request: web.Request) -> web.Response:
        """GET /ssh_keys."""
        keys = project_of(request).keys
        return page(request, "ssh_keys", [{"id": number, "name": name} for name, number in keys.items()])

    async def list_servers(self, request: web.Request) -> web.Response:
        """GET /servers."""
        project = project_of(request)
        found = [project.show(server) for server in project.listed()]
        if "name" in request.query:
            found = [each for each in found if each["name"] == request.query["name"]]
        if states := request.query.getall("status", []):
            found = [each for each in found if each["status"] in states]
        return page(request, "servers", selected(request, found))

    async def list_actions(self, request: web.Request) -> web.Response:
        """GET /servers/{id}/actions."""
        now, server = time.time(), self._server(request)
        return page(request, "actions", [action.show(now) for action in server.actions])

    async def list_groups(self, request: web.Request) -> web.Response:
        """GET /placement_groups."""
        project = project_of(request)
        found = [project.group_view(number) for number in sorted(project.groups)]
        if "name" in request.query:
            found = [each for each in found if each["name"] == request.query["name"]]
        return page(request, "placement_groups", selected(request, found))

    # Servers and groups

    def _server(self, request: web.Request) -> Any:
        return project_of(request).server(number_of(request, "server"))

    async def create_server(self, request: web.Request) -> web.Response:
        """POST /servers."""
        project, asked = project_of(request), await body_of(request)
        server, following, action = project.create_server(asked)
        now = time.time()
        answer = {
            "server": project.show(server),
            "action": action.show(now),
            "next_actions": [each.show(now) for each in following],
            "root_password": None if asked.get("ssh_keys") else secrets.token_hex(8),
        }
        return web.json_response(answer, status=201)

    async def get_server(self, request: web.Request) -> web.Response:
        """GET /servers/{id}."""
        return web.json_response({"server": project_of(request).show(self._server(request))})

    async def put_server(self, request: web.Request) -> web.Response:
        """PUT /servers/{id}."""
        server, asked = self._server(request), await body_of(request)
        project_of(request).update_server(server, asked)
        return web.json_response({"server": project_of(request).show(server)})

    async def delete_server(self, request: web.Request) -> web.Response:
        """DELETE /servers/{id}."""
        action = project_of(request).delete_server(self._server(request))
        return web.json_response({"action": action.show(time.time())})

    def power(self, on: bool, command: str) -> Handler:
        """POST /servers/{id}/actions/poweron, poweroff or shutdown."""

        async def handle(request: web.Request) -> web.StreamResponse:
            action = project_of(request).power(self._server(request), on, command)
            return web.json_response({"action": action.show(time.time())}, status=201)

        return handle

    async def create_group(self, request: web.Request) -> web.Response:
        """POST /placement_groups."""
        group = project_of(request).create_group(await body_of(request))
        return web.json_response({"placement_group": group, "action": None}, status=201)

    async def get_group(self, request: web.Request) -> web.Response:
        """GET /placement_groups/{id}."""
        number = number_of(request, "placement group")
        return web.json_response({"placement_group": project_of(request).group_view(number)})

    # What is not the API's

    async def ledger(self, request: web.Request) -> web.Response:
        """Every server that was ever made in the main project."""
        return web.json_response({"servers": self.projects[self.tokens["main"]].made})

    async def control(self, request: web.Request) -> web.Response:
        """Faults of the main project, all at once (`faults`); `reset`; `vanish`, `protect` and `create` a server."""
        project, asked = self.projects[self.tokens["main"]], await request.json()
        match request.match_info["verb"]:
            case "faults":
                refuse = asked.pop("refuse", None)
                project.faults = Faults(**asked, refuse=tuple(refuse) if refuse else None)
            case "reset":
                project.faults = Faults()
                project.remove_all()
                self.budgets = {number: Budget() for number in self.budgets}
            case "vanish":
                project.servers[asked["id"]].ends = 0.0
            case "protect":
                project.servers[asked["id"]].protected = True
            case "create":
                return web.json_response({"id": project.create_server(asked)[0].id})
            case _:
                raise web.HTTPNotFound
        return web.json_response({})


_POWER: Final = {
    "poweron": (True, "start_server"),
    "poweroff": (False, "stop_server"),
    "shutdown": (False, "shutdown_server"),
}


def _listing(name: str, items: Iterable[Obj]) -> Handler:
    async def handle(request: web.Request) -> web.StreamResponse:
        wanted = request.query.get("name")
        return page(request, name, [each for each in items if wanted is None or each["name"] == wanted])

    return handle


async def serve(folder: Path) -> None:
    """Serve on a free port of the loopback until SIGTERM."""
    simulator = Simulator()
    runner = web.AppRunner(simulator.app(), access_log=None)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    partial = folder / "address.json~"
    partial.touch(mode=0o600)
    address = f"http://127.0.0.1:{runner.addresses[0][1]}"
    project = simulator.projects[simulator.tokens["main"]]
    known = {"network": project.networks[0], "firewall": project.firewalls[0]}
    partial.write_text(json.dumps({"address": address, "tokens": simulator.tokens, "known": known}))
    partial.rename(folder / "address.json")
    ended = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, ended.set)
    await ended.wait()
    await runner.cleanup()


if __name__ == "__main__":
    asyncio.run(serve(Path(sys.argv[1])))
