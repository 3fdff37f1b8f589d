"""The hosting service: what its API does, and the task of each machine that makes it what it is to be."""

from __future__ import annotations

import asyncio
import hashlib
import logging
import secrets
from collections import Counter
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

from moorage.api.hostd import CreateServer, LedgerEntry, LedgerEvent, ServerState
from moorage.hostd.changes import Changes
from moorage.hostd.config import Config
from moorage.hostd.crashpoints import crash_point
from moorage.hostd.driver import BootFailed, Driver
from moorage.hostd.faults import FaultState
from moorage.hostd.ledger import Ledger
from moorage.hostd.machine import Goal, Machine
from moorage.hostd.refusals import conflict, invalid, key_conflict, no_capacity, not_found
from moorage.hostd.room import check_room
from moorage.hostd.store import Home, Store
from moorage.hostd.volumes import Volumes

log = logging.getLogger(__name__)
RETRY_HALT = 1.0


class Service:
    """All machines of one hostd."""

    def __init__(self, config: Config, home: Home, store: Store, ledger: Ledger, driver: Driver, faults: FaultState):
        self.config = config
        self.home = home
        self.faults = faults
        self.ledger = ledger
        self.driver = driver
        self.changes = Changes()
        self.volumes = Volumes(home.path, driver, durable=store.blocking)
        self.machines: dict[str, Machine] = {}
        self.calls: Counter[str] = Counter()
        self._store = store
        self._blocking = store.blocking
        self.offerings = {offering.name: offering for offering in config.priced_offerings()}
        self._images = set(config.images)
        self._next = 1
        self._reserved = 0
        self._addresses: set[str] = set()
        self._making: dict[str, asyncio.Task[Machine]] = {}
        self._ghosts: dict[str, Machine] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._closing = False

    # -- life of the service ---------------------------------------------------------------------------------------

    async def open(self) -> None:
        """Find the machines of an earlier life and go on where it stopped. Raises ConfigError and OSError."""
        await self.driver.prepare()
        await self._call(self.volumes.load)
        for machine in await self._call(self._store.load):
            self.machines[machine.id] = machine
            self._addresses.add(machine.address)
            if machine.id not in self.ledger.created:
                await self.ledger.append(self._entry(machine, LedgerEvent.CREATED))
            attached = await self.driver.attach(machine, self._lost)
            machine.running = attached is True
            if attached is False and machine.goal is Goal.RUN and not machine.halted:
                await self._fail(machine, "its processes were gone when hostd came back")
            elif attached is True and machine.goal is Goal.RUN:
                await self._set_state(machine, ServerState.RUNNING)
            self._spur(machine)
        self._next = max([len(self.ledger.created), *(m.sequence for m in self.machines.values())]) + 1

    async def close(self) -> None:
        """Stop working; the machines live on unless they are ephemeral."""
        self._closing = True
        self.changes.close()
        tasks = [*self._tasks, *self._making.values()]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await self.driver.close()
        await self.ledger.close()

    # -- what the API asks -----------------------------------------------------------------------------------------

    async def create(self, request: CreateServer) -> tuple[Machine, bool]:
        """The machine of the request, and whether it is new. Raises Refusal."""
        if self.faults.now.ignore_keys:
            return await self._make(f"i-{secrets.token_hex(8)}", request), True
        server_id = self.server_id(request.key)
        making = self._making.get(server_id)
        if making is None:
            known = self.machines.get(server_id)
            if known is not None:
                return self._same(known, request), False
            if server_id in self.ledger.ended:
                raise key_conflict("the server of this key is gone; a key means one server for ever")
            # A caller that goes away must not leave a half-made server: the making runs to its end.
            making = asyncio.create_task(self._make(server_id, request))
            self._making[server_id] = making
            making.add_done_callback(lambda task: self._made(server_id, task))
            return await asyncio.shield(making), True
        return self._same(await asyncio.shield(making), request), False

    def _same(self, machine: Machine, request: CreateServer) -> Machine:
        if machine.request != request:
            raise key_conflict("the key was used with another request")
        return machine

    def _made(self, server_id: str, making: asyncio.Task[Machine]) -> None:
        del self._making[server_id]
        if not making.cancelled():
            making.exception()

    def server_id(self, key: str) -> str:
        """The id of the one server that a key ever means."""
        return "i-" + hashlib.sha256(f"{self.home.account}/{key}".encode()).hexdigest()[:16]

    def get(self, server_id: str) -> Machine:
        """A live machine. Raises Refusal."""
        machine = self.machines.get(server_id)
        if machine is None:
            raise not_found(server_id)
        return machine

    def listing(self) -> list[Machine]:
        """What a listing shows now, oldest first."""
        now = asyncio.get_running_loop().time()
        for server_id in [i for i, ghost in self._ghosts.items() if ghost.listed_until <= now]:
            del self._ghosts[server_id]
        lag = self.faults.now.listing_lag
        shown = [m for m in self.machines.values() if not lag or m.listed_from <= now]
        if self._ghosts:
            shown += self._ghosts.values()
            shown.sort(key=lambda machine: machine.sequence)
        return shown

    @property
    def limit(self) -> int | None:
        """How many machines fit now."""
        fault = self.faults.now.capacity
        return self.config.capacity if fault is None else fault

    async def delete(self, machine: Machine) -> None:
        """Order the machine's end; returns when the order is kept."""
        if machine.goal in {Goal.GONE, Goal.VANISHED}:
            return
        machine.goal = Goal.GONE
        await self._set_state(machine, ServerState.TERMINATING)
        crash_point("delete.ordered")
        self._spur(machine)

    async def retag(self, machine: Machine, tags: dict[str, str]) -> None:
        """Set these tags and leave the others."""
        merged = {**machine.tags, **tags}
        if merged != machine.tags:
            machine.tags = merged
            await self._save(machine)

    async def power(self, machine: Machine, goal: Goal) -> None:
        """Stop, start or reboot. Raises Refusal where the machine is being deleted."""
        if machine.goal in {Goal.GONE, Goal.VANISHED}:
            raise conflict("the server is being deleted")
        if goal is Goal.REBOOT and not machine.running:
            goal = Goal.RUN
        machine.goal = goal
        machine.halted = False
        await self._save(machine)
        self._spur(machine)

    async def resize(self, machine: Machine, offering: str) -> None:
        """Give the machine another offering. Raises Refusal; it is then as it was."""
        if offering not in self.offerings:
            raise invalid(f"there is no offering {offering!r}", "offering")
        if offering == machine.offering:
            return
        if machine.goal in {Goal.GONE, Goal.VANISHED}:
            raise conflict("the server is being deleted")
        if self.faults.now.no_room_to_grow:
            raise no_capacity("there is no room for another offering")
        machine.resized = offering
        await self._save(machine)

    async def move_address(self, address: str, target: Machine | None) -> None:
        """Make the account's address lead to the machine (None: nowhere), and to no other. Raises Refusal."""
        if address not in self.config.addresses:
            raise invalid(f"{address} is not an address of the account", "address")
        for machine in [m for m in self.machines.values() if address in m.public and m is not target]:
            machine.public.remove(address)
            await self._save(machine)
        if target is not None and address not in target.public:
            target.public.append(address)
            await self._save(target)

    async def vanish(self, server_id: str) -> None:
        """Lose a machine, as a service does that breaks. Unknown ids are none of our business."""
        machine = self.machines.get(server_id)
        if machine is None or machine.goal is Goal.GONE:
            return
        machine.goal = Goal.VANISHED
        await self._save(machine)
        self.machines.pop(machine.id, None)
        self._spur(machine)

    # -- making machines -------------------------------------------------------------------------------------------

    async def _make(self, server_id: str, request: CreateServer) -> Machine:
        if request.image not in self._images:
            raise invalid(f"there is no image {request.image!r}", "image")
        offering, machines = self.offerings.get(request.offering), self.machines.values()
        check_room(request, offering, machines, self._reserved, self.limit, self.faults.now)
        machine = Machine(
            id=server_id,
            sequence=self._next,
            request=request,
            tags=dict(request.tags),
            address=self._take_address(),
            created=datetime.now(UTC) + timedelta(seconds=self.faults.now.skew),
            boot_never=self.faults.now.boot_never,
            boot_fail=self.faults.now.boot_fail,
        )
        refused = self.driver.check(machine)
        if refused is not None:
            self._addresses.discard(machine.address)
            raise refused
        self._next += 1
        self._reserved += 1
        machine.listed_from = asyncio.get_running_loop().time() + self.faults.now.listing_lag
        try:
            await self._call(self._store.claim, server_id)
            await self._save(machine)
            crash_point("create.recorded")
            await self.ledger.append(self._entry(machine, LedgerEvent.CREATED))
            crash_point("create.entered")
        except BaseException:
            self._addresses.discard(machine.address)
            raise
        finally:
            self._reserved -= 1
        self.machines[server_id] = machine
        self.changes.tell(server_id)
        self._spur(machine)
        return machine

    def _take_address(self) -> str:
        number = self._next
        while (address := self.home.address(number)) in self._addresses:
            number += 1
        self._addresses.add(address)
        return address

    def _entry(self, machine: Machine, event: LedgerEvent) -> LedgerEntry:
        return LedgerEntry(
            time=datetime.now(UTC),
            event=event,
            id=machine.id,
            key=machine.request.key,
            name=machine.request.name,
            tags=machine.tags,
        )

    # -- each machine's task ---------------------------------------------------------------------------------------

    def _spur(self, machine: Machine) -> None:
        machine.changed.set()
        if not self._closing and (machine.task is None or machine.task.done()):
            machine.task = asyncio.create_task(self._drive(machine))
            self._tasks.add(machine.task)
            machine.task.add_done_callback(self._tasks.discard)

    async def _drive(self, machine: Machine) -> None:
        while machine.changed.is_set():
            machine.changed.clear()
            try:
                await self._step(machine)
            except (OSError, TimeoutError) as error:
                log.warning("server %s: %s", machine.id, error)
                machine.message = f"cannot be brought to {machine.goal}: {error}"
                await self._pause(machine, RETRY_HALT)
                machine.changed.set()

    async def _step(self, machine: Machine) -> None:
        match machine.goal:
            case Goal.GONE | Goal.VANISHED:
                await self._end(machine)
            case Goal.STOP:
                await self._halt(machine)
                if machine.goal is Goal.STOP:  # or it is to run again, said meanwhile
                    machine.halted = True
                    await self._set_state(machine, ServerState.STOPPED)
            case Goal.REBOOT:
                await self._halt(machine)
                if machine.goal is Goal.REBOOT:
                    machine.goal = Goal.RUN
                    await self._boot(machine)
            case Goal.RUN:
                if not machine.running and not machine.halted:
                    await self._boot(machine)

    async def _boot(self, machine: Machine) -> None:
        await self._set_state(machine, ServerState.PENDING)
        delay = None if machine.boot_never else self.driver.boot_delay(machine)
        if await self._pause(machine, delay):
            return
        if machine.boot_fail:
            await self._fail(machine, "the boot failed")
            return
        machine.boots += 1
        await self._save(machine)
        crash_point("boot.counted")
        try:
            await self.driver.start(machine, self._lost)
        except BootFailed as error:
            await self._fail(machine, f"the boot failed: {error}")
            return
        machine.running = True
        crash_point("boot.started")
        if machine.goal is Goal.RUN:
            await self._set_state(machine, ServerState.RUNNING)

    async def _pause(self, machine: Machine, seconds: float | None) -> bool:
        """Wait so long, or for ever; True when something changed meanwhile."""
        if seconds == 0:
            return False
        try:
            async with asyncio.timeout(seconds):
                await machine.changed.wait()
        except TimeoutError:
            return False
        return True

    async def _halt(self, machine: Machine) -> None:
        await self.driver.halt(machine, graceful=True)
        machine.running = False

    async def _end(self, machine: Machine) -> None:
        event = LedgerEvent.DELETED if machine.goal is Goal.GONE else LedgerEvent.VANISHED
        await self.driver.halt(machine, graceful=False)
        machine.running = False
        crash_point("delete.halted")
        if machine.id not in self.ledger.ended:
            await self.ledger.append(self._entry(machine, event))
        crash_point("delete.entered")
        async with machine.writing:
            await self._call(self._store.remove, machine.id)
            machine.removed = True
        await self._call(self.volumes.release, machine.id)
        self.machines.pop(machine.id, None)
        self.changes.tell(machine.id)
        self._addresses.discard(machine.address)
        lag = self.faults.now.listing_lag
        if lag:
            machine.listed_until = asyncio.get_running_loop().time() + lag
            self._ghosts[machine.id] = machine

    async def _fail(self, machine: Machine, message: str) -> None:
        machine.halted = True
        machine.running = False
        await self._set_state(machine, ServerState.FAILED, message)

    def _lost(self, machine: Machine, message: str) -> None:
        """A machine went down by itself."""
        machine.running = False
        if self._closing or machine.goal is not Goal.RUN:
            return
        machine.halted = True
        machine.state, machine.message = ServerState.FAILED, message
        task = asyncio.create_task(self._save(machine))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    # -- keeping -----------------------------------------------------------------------------------------------------

    async def _set_state(self, machine: Machine, state: ServerState, message: str = "") -> None:
        machine.state, machine.message = state, message
        await self._save(machine)

    async def _save(self, machine: Machine) -> None:
        self.changes.tell(machine.id)
        if not self._blocking:
            return
        async with machine.writing:
            if not machine.removed:
                await asyncio.to_thread(self._store.save, machine.id, machine.to_record())

    async def _call(self, function: Callable[..., Any], *arguments: Any) -> Any:
        return await asyncio.to_thread(function, *arguments) if self._blocking else function(*arguments)
