"""Volumes of the simulated API."""

from __future__ import annotations

import time

from aiohttp import web

from moorage.testbed.hetzner.catalogue import LOCATIONS
from moorage.testbed.hetzner.project import Project, Refusal, check_labels, invalid, missing
from moorage.testbed.hetzner.servers import TURN, Action, Obj, stamp
from moorage.testbed.hetzner.wire import body_of, number_of, page, project_of, selected


def add_storage(app: web.Application) -> None:
    """Add the routes."""
    add = app.router.add_route
    add("GET", "/v1/volumes", _list_volumes)
    add("POST", "/v1/volumes", _create_volume)
    add("GET", "/v1/volumes/{id}", _get_volume)
    add("DELETE", "/v1/volumes/{id}", _delete_volume)
    add("POST", "/v1/volumes/{id}/actions/attach", _attach_volume)
    add("POST", "/v1/volumes/{id}/actions/detach", _detach_volume)


def _action(project: Project, command: str, volume: int) -> Obj:
    now = time.time()
    resources = [{"id": volume, "type": "volume"}]
    return Action(next(project.ids), command, resources, now, now + TURN).show(now)


def _volume(request: web.Request) -> Obj:
    number = number_of(request, "volume")
    found = project_of(request).volumes.get(number)
    if found is None:
        raise missing(f"volume with ID '{number}'")
    return found


async def _list_volumes(request: web.Request) -> web.Response:
    found = [each for _, each in sorted(project_of(request).volumes.items())]
    if "name" in request.query:
        found = [each for each in found if each["name"] == request.query["name"]]
    return page(request, "volumes", selected(request, found))


async def _create_volume(request: web.Request) -> web.Response:
    project, asked = project_of(request), await body_of(request)
    name, size, place = asked.get("name"), asked.get("size"), asked.get("location")
    if not isinstance(name, str) or not 1 <= len(name) <= 64:
        raise invalid("name", "is missing or too long")
    if not isinstance(size, int) or not 10 <= size <= 10240:
        raise invalid("size", "must be between 10 and 10240")
    if place not in LOCATIONS:
        raise invalid("location", "location not found")
    if any(each["name"] == name for each in project.volumes.values()):
        raise Refusal(409, "uniqueness_error", "volume name is already used")
    number = next(project.ids)
    project.volumes[number] = {
        "id": number,
        "name": name,
        "created": stamp(time.time()),
        "server": None,
        "location": LOCATIONS[place],
        "size": size,
        "linux_device": f"/dev/disk/by-id/scsi-0HC_Volume_{number}",
        "format": asked.get("format"),
        "protection": {"delete": False},
        "labels": check_labels(asked.get("labels")),
        "status": "available",
    }
    answer = {
        "volume": project.volumes[number],
        "action": _action(project, "create_volume", number),
        "next_actions": [],
    }
    return web.json_response(answer, status=201)


async def _get_volume(request: web.Request) -> web.Response:
    return web.json_response({"volume": _volume(request)})


async def _delete_volume(request: web.Request) -> web.Response:
    volume = _volume(request)
    if volume["server"] is not None:
        raise Refusal(423, "locked", "volume is still attached to a server")
    del project_of(request).volumes[volume["id"]]
    return web.Response(status=204)


async def _attach_volume(request: web.Request) -> web.Response:
    project, volume, asked = project_of(request), _volume(request), await body_of(request)
    server = project.server(asked["server"])
    if volume["server"] is not None:
        raise Refusal(422, "volume_already_attached", "volume is already attached")
    if volume["location"]["name"] != server.location:
        raise invalid("server", "volume and server are in different locations")
    volume["server"] = server.id
    server.volumes.append(volume["id"])
    return web.json_response({"action": _action(project, "attach_volume", volume["id"])}, status=201)


async def _detach_volume(request: web.Request) -> web.Response:
    project, volume = project_of(request), _volume(request)
    if volume["server"] is None:
        raise invalid("volume", "volume is not attached")
    holder = project.servers[volume["server"]]
    holder.volumes.remove(volume["id"])
    volume["server"] = None
    return web.json_response({"action": _action(project, "detach_volume", volume["id"])}, status=201)
