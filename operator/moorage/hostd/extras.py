"""Handlers of what is beyond servers one by one: batches, events, sizes, volumes and addresses."""

from __future__ import annotations

import asyncio
import json

from aiohttp import web

from moorage.api.hostd import Attach, Change, CreateVolume, Ids, Operation, Resize, ServerBatch, ServerState, VolumeList
from moorage.hostd.refusals import not_found
from moorage.hostd.routes import MAX_PAGE, SERVICE, Handler, answer, machine_of, number, read
from moorage.hostd.service import Service


async def resize(request: web.Request) -> web.Response:
    machine = machine_of(request)
    await request.app[SERVICE].resize(machine, (await read(request, Resize)).offering)
    return answer(machine, 202)


def _batch(service: Service, ids: tuple[str, ...]) -> web.Response:
    there = [service.machines[server_id] for server_id in dict.fromkeys(ids) if server_id in service.machines]
    missing = tuple(dict.fromkeys(server_id for server_id in ids if server_id not in service.machines))
    body = ServerBatch(missing=missing).to_json()
    return answer({**body, "items": [machine.to_wire() for machine in there]})


async def get_many(request: web.Request) -> web.Response:
    return _batch(request.app[SERVICE], (await read(request, Ids)).ids)


async def delete_many(request: web.Request) -> web.Response:
    service, ids = request.app[SERVICE], (await read(request, Ids)).ids
    response = _batch(service, ids)
    await asyncio.gather(*(service.delete(service.machines[i]) for i in set(ids) if i in service.machines))
    return response


async def events(request: web.Request) -> web.StreamResponse:
    response = web.StreamResponse(headers={"Content-Type": "application/x-ndjson"})
    response.enable_chunked_encoding()
    await response.prepare(request)
    async for server_id in request.app[SERVICE].changes.listen():
        line = json.dumps(Change(id=server_id).to_json()).encode() if server_id is not None else b""
        try:
            await response.write(line + b"\n")
        except ConnectionError:
            break
    return response


async def list_volumes(request: web.Request) -> web.Response:
    limit = max(1, min(number(request, "limit", MAX_PAGE), MAX_PAGE))
    after = request.query.get("continue", "")
    found = [volume for volume in request.app[SERVICE].volumes.listing() if volume.id > after]
    more = found[limit - 1].id if len(found) > limit else None
    return answer(VolumeList(items=tuple(found[:limit]), continue_=more))


async def create_volume(request: web.Request) -> web.Response:
    wanted = await read(request, CreateVolume)
    return answer(await asyncio.to_thread(request.app[SERVICE].volumes.create, wanted), 201)


async def attach_volume(request: web.Request) -> web.Response:
    service = request.app[SERVICE]
    server = service.get((await read(request, Attach)).server)
    if server.state is ServerState.TERMINATING:
        raise not_found(server.id)
    return answer(await asyncio.to_thread(service.volumes.attach, request.match_info["id"], server.id))


async def detach_volume(request: web.Request) -> web.Response:
    return answer(await asyncio.to_thread(request.app[SERVICE].volumes.detach, request.match_info["id"]))


async def delete_volume(request: web.Request) -> web.Response:
    await asyncio.to_thread(request.app[SERVICE].volumes.delete, request.match_info["id"])
    return answer({})


async def attach_address(request: web.Request) -> web.Response:
    service = request.app[SERVICE]
    server = service.get((await read(request, Attach)).server)
    await service.move_address(request.match_info["address"], server)
    return answer(server)


async def detach_address(request: web.Request) -> web.Response:
    await request.app[SERVICE].move_address(request.match_info["address"], None)
    return answer({})


OPERATIONS: tuple[tuple[str, str, Operation, Handler], ...] = (
    ("POST", "/v1/servers/{id}/resize", Operation.RESIZE, resize),
    ("POST", "/v1/batch/get", Operation.BATCH, get_many),
    ("POST", "/v1/batch/delete", Operation.BATCH, delete_many),
    ("GET", "/v1/events", Operation.EVENTS, events),
    ("GET", "/v1/volumes", Operation.VOLUME, list_volumes),
    ("POST", "/v1/volumes", Operation.VOLUME, create_volume),
    ("POST", "/v1/volumes/{id}/attach", Operation.VOLUME, attach_volume),
    ("POST", "/v1/volumes/{id}/detach", Operation.VOLUME, detach_volume),
    ("DELETE", "/v1/volumes/{id}", Operation.VOLUME, delete_volume),
    ("POST", "/v1/addresses/{address}/attach", Operation.ADDRESS, attach_address),
    ("POST", "/v1/addresses/{address}/detach", Operation.ADDRESS, detach_address),
)
"""What faults apply to."""
