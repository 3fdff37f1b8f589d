"""The calls of a backend, each with what it needs beforehand and what must be true in the end.

The tests that break calls go through this table, so that an ability is broken in all the ways that the contract is.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any

from moorage.hosting.abilities import Ability, abilities_of
from moorage.hosting.contract import Backend, CreateRequest, ServerState
from moorage.testing.base import finish, in_state, is_gone, listed, made_only, repeat
from moorage.testing.service import ServiceUnderTest

TAG = "suite"


@dataclass(frozen=True, slots=True)
class Scene:
    """What an operation works on: a server, another that must not be touched, a request for a third."""

    service: ServiceUnderTest
    server: str
    bystander: str
    request: CreateRequest
    nonce: str


Act = Callable[[Any, Scene], Awaitable[Any]]
Check = Callable[[Scene, Any], Awaitable[None]]


@dataclass(frozen=True, slots=True)
class Operation:
    """`act` is the call. `check` gets what it returned at last, undisturbed and repeated; `sane` what it returned while
    it was disturbed, where it returned at all. `ends`: the server is gone afterwards. `undoes`: a call that arrives
    late undoes what was done after it, which nobody can prevent."""

    name: str
    act: Act
    check: Check
    sane: Check | None = None
    ability: Ability | None = None
    ends: bool = False
    undoes: bool = False

    def possible(self, backend: Backend) -> bool:
        """Whether the backend can do it."""
        return self.ability is None or self.ability in abilities_of(backend)

    async def complete(self, scene: Scene, backend: Backend) -> Any:
        """Repeat it, undisturbed, until it succeeds."""
        if self.name == "create":
            return await finish(scene.service, backend, scene.request)
        return await repeat(lambda: self.act(backend, scene))


async def scene(service: ServiceUnderTest) -> Scene:
    """A scene with servers that run."""
    backend = service.open()
    made = [await backend.create(service.request()) for _ in range(2)]
    for record in made:
        await in_state(service, backend, record.provider_id)
    await listed(service, backend, {record.provider_id for record in made}, set())
    return _scene(service, made[0].provider_id, made[1].provider_id)


async def again(before: Scene, *, ended: bool) -> Scene:
    """The scene for the next case: with a new server where the one before was ended, and a new request."""
    server = before.server
    if ended:
        backend = before.service.open()
        server = (await backend.create(before.service.request())).provider_id
        await in_state(before.service, backend, server)
    return _scene(before.service, server, before.bystander)


def _scene(service: ServiceUnderTest, server: str, bystander: str) -> Scene:
    request = service.request()
    return Scene(service, server, bystander, request, request.key)


async def _nothing(_: Scene, __: Any) -> None:
    return


async def _is_created(scene: Scene, record: Any) -> None:
    backend = scene.service.open()
    assert record.key == scene.request.key
    await made_only(scene.service, scene.request.key, record.provider_id)
    await listed(scene.service, backend, {record.provider_id}, set())
    shown = (await backend.inventory()).with_key(scene.request.key)
    assert [server.provider_id for server in shown] == [record.provider_id]
    assert shown[0].tags == scene.request.tags
    await repeat(lambda: backend.delete(record.provider_id))


async def _is_deleted(scene: Scene, _: Any) -> None:
    backend = scene.service.open()
    await is_gone(scene.service, backend, scene.server)
    await backend.get(scene.bystander)


async def _is_complete(scene: Scene, inventory: Any) -> None:
    ids = [server.provider_id for server in inventory.servers]
    assert {scene.server, scene.bystander} <= set(ids)
    assert len(ids) == len(set(ids))


async def _is_the_server(scene: Scene, record: Any) -> None:
    assert record.provider_id == scene.server


async def _is_tagged(scene: Scene, _: Any) -> None:
    backend = scene.service.open()
    record = await backend.get(scene.server)
    assert record.tags.get(TAG) == scene.nonce
    assert len(record.tags) > 1
    assert (await backend.get(scene.bystander)).tags.get(TAG) != scene.nonce


def _is(state: ServerState) -> Check:
    async def check(scene: Scene, _: Any) -> None:
        await in_state(scene.service, scene.service.open(), scene.server, state)

    return check


async def _knows_the_image(scene: Scene, images: Any) -> None:
    assert scene.service.image in images


async def _are_the_servers(scene: Scene, records: Mapping[str, Any]) -> None:
    assert {i: r and r.provider_id for i, r in records.items()} == {i: i for i in (scene.server, scene.bystander)}


async def _is_running(scene: Scene, _: Any) -> None:
    # Back to what the next case expects: a server that runs.
    await in_state(scene.service, scene.service.open(), scene.server)


async def _stopped(scene: Scene, _: Any) -> None:
    backend: Any = scene.service.open()
    await in_state(scene.service, backend, scene.server, ServerState.STOPPED)
    await backend.start(scene.server)
    await _is_running(scene, None)


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
)
BY_NAME = {operation.name: operation for operation in OPERATIONS}
