"""The calls of a backend, each with what it needs beforehand and what must be true in the end.

The tests that break calls go through this table, so that an ability is broken in all the ways that the contract is.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from moorage.hosting.abilities import Ability, abilities_of
from moorage.hosting.contract import Backend, CreateRequest, ServerState
from moorage.testing.base import (
    addresses_of,
    finish,
    hangs_on,
    in_state,
    is_gone,
    listed,
    made_only,
    repeat,
    until,
    volume_identity,
)
from moorage.testing.service import ServiceUnderTest

TAG = "suite"


@dataclass(frozen=True, slots=True)
class Scene:
    """What an operation works on: a server, another that must not be touched, a request for a third; and a volume,
    where it is about one."""

    service: ServiceUnderTest
    server: str
    bystander: str
    request: CreateRequest
    nonce: str
    volume: str = ""


Act = Callable[[Any, Scene], Awaitable[Any]]
Check = Callable[[Scene, Any], Awaitable[None]]
Prepare = Callable[[Scene], Awaitable[Scene]]


@dataclass(frozen=True, slots=True)
class Operation:
    """`act` is the call. `check` gets what it returned at last, undisturbed and repeated, and leaves all as it was;
    `sane` what it returned while it was disturbed, where it returned at all. `ends`: the server is gone afterwards.
    `undoes`: a call that arrives late undoes what was done after it, which nobody can prevent. `prepare` brings about
    what is there only for it. `needs`: what the harness has to tell for it. `looks`: it goes on asking after it has
    changed something, so that of a slow service's calls it is the changes that are broken."""

    name: str
    act: Act
    check: Check
    sane: Check | None = None
    ability: Ability | None = None
    ends: bool = False
    undoes: bool = False
    prepare: Prepare | None = None
    needs: str = ""
    looks: bool = False

    def lacks(self, service: ServiceUnderTest, backend: Backend) -> str:
        """Why it cannot be tried; "" where it can."""
        if self.ability is not None and self.ability not in abilities_of(backend):
            return f"the backend has not the ability {self.ability}"
        return f"the harness tells no {self.needs}" if self.needs and not getattr(service, self.needs) else ""

    async def prepared(self, scene: Scene) -> Scene:
        """The scene with what is there only for this operation."""
        return scene if self.prepare is None else await self.prepare(scene)

    async def complete(self, scene: Scene, backend: Backend) -> Any:
        """Repeat it, undisturbed, until it succeeds."""
        if self.name == "create":
            return await finish(scene.service, backend, scene.request)
        return await repeat(lambda: self.act(backend, scene))


async def scene(service: ServiceUnderTest) -> Scene:
    """A scene with servers that run."""
    backend = service.observer
    made = [await backend.create(service.request()) for _ in range(2)]
    for record in made:
        await in_state(service, backend, record.provider_id)
    await listed(service, backend, {record.provider_id for record in made}, set())
    return _scene(service, made[0].provider_id, made[1].provider_id)


async def again(before: Scene, *, ended: bool) -> Scene:
    """The scene for the next case: with a new server where the one before was ended, and a new request."""
    server = before.server
    if ended:
        backend = before.service.observer
        server = (await backend.create(before.service.request())).provider_id
        await in_state(before.service, backend, server)
    return _scene(before.service, server, before.bystander)


def _scene(service: ServiceUnderTest, server: str, bystander: str) -> Scene:
    request = service.request()
    return Scene(service, server, bystander, request, request.key)


async def _nothing(_: Scene, __: Any) -> None:
    return


async def _is_created(scene: Scene, record: Any) -> None:
    backend = scene.service.observer
    assert record.key == scene.request.key
    await made_only(scene.service, scene.request.key, record.provider_id)
    await listed(scene.service, backend, {record.provider_id}, set())
    shown = (await backend.inventory()).with_key(scene.request.key)
    assert [server.provider_id for server in shown] == [record.provider_id]
    assert shown[0].tags == scene.request.tags
    await repeat(lambda: backend.delete(record.provider_id))


async def _is_deleted(scene: Scene, _: Any) -> None:
    backend = scene.service.observer
    await is_gone(scene.service, backend, scene.server)
    await backend.get(scene.bystander)


async def _is_complete(scene: Scene, inventory: Any) -> None:
    ids = [server.provider_id for server in inventory.servers]
    assert {scene.server, scene.bystander} <= set(ids)
    assert len(ids) == len(set(ids))


async def _is_the_server(scene: Scene, record: Any) -> None:
    assert record.provider_id == scene.server


async def _is_tagged(scene: Scene, _: Any) -> None:
    backend = scene.service.observer
    record = await backend.get(scene.server)
    assert record.tags.get(TAG) == scene.nonce
    assert len(record.tags) > 1
    assert (await backend.get(scene.bystander)).tags.get(TAG) != scene.nonce


def _is(state: ServerState) -> Check:
    async def check(scene: Scene, _: Any) -> None:
        await in_state(scene.service, scene.service.observer, scene.server, state)

    return check


async def _knows_the_image(scene: Scene, images: Any) -> None:
    assert scene.service.image in images


async def _are_the_servers(scene: Scene, records: Mapping[str, Any]) -> None:
    assert {i: r and r.provider_id for i, r in records.items()} == {i: i for i in (scene.server, scene.bystander)}


async def _is_running(scene: Scene, _: Any) -> None:
    # Back to what the next case expects: a server that runs.
    await in_state(scene.service, scene.service.observer, scene.server)


async def _stopped(scene: Scene, _: Any) -> None:
    backend: Any = scene.service.observer
    await in_state(scene.service, backend, scene.server, ServerState.STOPPED)
    # One that is still being stopped may be told as stopped, and cannot be started yet.
    await repeat(lambda: backend.start(scene.server))
    await _is_running(scene, None)


async def _is_resized(scene: Scene, _: Any) -> None:
    service = scene.service
    backend: Any = service.observer
    await _has_offering(scene, backend, service.other_offering)
    assert (await backend.get(scene.bystander)).offering == service.offering
    await repeat(lambda: backend.resize(scene.server, service.offering))
    await _has_offering(scene, backend, service.offering)


async def _has_offering(scene: Scene, backend: Backend, offering: str) -> None:
    async def probe() -> bool:
        record = await backend.get(scene.server)
        return record.offering == offering and record.state is ServerState.RUNNING

    await until(scene.service, probe, f"the server has the offering {offering} and runs")


async def _with_volume(scene: Scene) -> Scene:
    backend: Any = scene.service.observer
    zone = (await backend.get(scene.server)).zone
    key, tags = volume_identity(scene.service.request().key)
    made = await backend.create_volume(key, scene.service.volume_gib, tags, zone)
    return replace(scene, volume=made.volume_id)


async def _with_attached_volume(scene: Scene) -> Scene:
    backend: Any = scene.service.observer
    scene = await _with_volume(scene)
    await repeat(lambda: backend.attach_volume(scene.volume, scene.server))
    await hangs_on(scene.service, backend, scene.volume, scene.server)
    return scene


async def _with_address(scene: Scene) -> Scene:
    backend: Any = scene.service.observer
    await repeat(lambda: backend.attach_address(scene.service.public_address, scene.server))
    return scene


def _volume_of(scene: Scene) -> tuple[str, int, dict[str, str]]:
    key, tags = volume_identity(scene.nonce)
    return key, scene.service.volume_gib, tags


async def _volume_is_created(scene: Scene, volume: Any) -> None:
    backend: Any = scene.service.observer
    key, tags = volume_identity(scene.nonce)
    with_key = [each for each in await backend.volumes() if each.key == key]
    assert [(each.volume_id, each.tags) for each in with_key] == [(volume.volume_id, tags)]
    await repeat(lambda: backend.delete_volume(volume.volume_id))


async def _volume_is_attached(scene: Scene, _: Any) -> None:
    backend: Any = scene.service.observer
    await hangs_on(scene.service, backend, scene.volume, scene.server)
    await repeat(lambda: backend.detach_volume(scene.volume))
    await _volume_is_detached(scene, None)


async def _volume_is_detached(scene: Scene, _: Any) -> None:
    backend: Any = scene.service.observer
    await hangs_on(scene.service, backend, scene.volume, None)
    await repeat(lambda: backend.delete_volume(scene.volume))


async def _volume_is_deleted(scene: Scene, _: Any) -> None:
    backend: Any = scene.service.observer

    async def probe() -> bool:
        return all(each.volume_id != scene.volume for each in await backend.volumes())

    await until(scene.service, probe, "the volume is gone")


async def _address_leads_there(scene: Scene, _: Any) -> None:
    backend: Any = scene.service.observer

    async def probe() -> bool:
        return scene.service.public_address in await addresses_of(backend, scene.server)

    await until(scene.service, probe, "the address leads to the server")
    await repeat(lambda: backend.detach_address(scene.service.public_address))


async def _address_leads_nowhere(scene: Scene, _: Any) -> None:
    backend = scene.service.observer

    async def probe() -> bool:
        found = [await addresses_of(backend, each) for each in (scene.server, scene.bystander)]
        return all(scene.service.public_address not in addresses for addresses in found)

    await until(scene.service, probe, "the address leads nowhere")


OPERATIONS: tuple[Operation, ...] = (
    Operation("account", lambda b, s: b.account(), _nothing),
    Operation("offerings", lambda b, s: b.offerings(), _nothing),
    Operation("capacity", lambda b, s: b.capacity(), _nothing),
    Operation("inventory", lambda b, s: b.inventory(), _is_complete, _is_complete),
    Operation("get", lambda b, s: b.get(s.server), _is_the_server, _is_the_server),
    Operation("find", lambda b, s: b.find(s.request.key), _nothing),
    Operation("console", lambda b, s: b.console(s.server), _nothing),
    Operation("create", lambda b, s: b.create(s.request), _is_created),
    Operation("delete", lambda b, s: b.delete(s.server), _is_deleted, ends=True),
    Operation("retag", lambda b, s: b.retag(s.server, {TAG: s.nonce}), _is_tagged, ability=Ability.RETAG, undoes=True),
    Operation("images", lambda b, s: b.images(), _knows_the_image, _knows_the_image, ability=Ability.IMAGES),
    Operation("start", lambda b, s: b.start(s.server), _is(ServerState.RUNNING), ability=Ability.POWER, undoes=True),
    Operation("stop", lambda b, s: b.stop(s.server), _stopped, ability=Ability.POWER, undoes=True),
    Operation("spot_prices", lambda b, s: b.spot_prices(), _nothing, ability=Ability.SPOT),
    Operation("volumes", lambda b, s: b.volumes(), _nothing, ability=Ability.VOLUMES),
    Operation(
        "get_many",
        lambda b, s: b.get_many([s.server, s.bystander]),
        _are_the_servers,
        _are_the_servers,
        ability=Ability.BATCH_GET,
    ),
    Operation(
        "delete_many", lambda b, s: b.delete_many([s.server]), _is_deleted, ability=Ability.BATCH_DELETE, ends=True
    ),
    Operation(
        "resize",
        lambda b, s: b.resize(s.server, s.service.other_offering),
        _is_resized,
        ability=Ability.RESIZE,
        needs="other_offering",
        undoes=True,
        looks=True,
    ),
    Operation(
        "create_volume",
        lambda b, s: b.create_volume(*_volume_of(s), None),
        _volume_is_created,
        ability=Ability.VOLUMES,
        undoes=True,
    ),
    Operation(
        "attach_volume",
        lambda b, s: b.attach_volume(s.volume, s.server),
        _volume_is_attached,
        ability=Ability.VOLUMES,
        prepare=_with_volume,
        undoes=True,
    ),
    Operation(
        "detach_volume",
        lambda b, s: b.detach_volume(s.volume),
        _volume_is_detached,
        ability=Ability.VOLUMES,
        prepare=_with_attached_volume,
        undoes=True,
    ),
    Operation(
        "delete_volume",
        lambda b, s: b.delete_volume(s.volume),
        _volume_is_deleted,
        ability=Ability.VOLUMES,
        prepare=_with_volume,
    ),
    Operation(
        "attach_address",
        lambda b, s: b.attach_address(s.service.public_address, s.server),
        _address_leads_there,
        ability=Ability.ADDRESSES,
        needs="public_address",
        undoes=True,
    ),
    Operation(
        "detach_address",
        lambda b, s: b.detach_address(s.service.public_address),
        _address_leads_nowhere,
        ability=Ability.ADDRESSES,
        needs="public_address",
        prepare=_with_address,
        undoes=True,
    ),
)
BY_NAME = {operation.name: operation for operation in OPERATIONS}
