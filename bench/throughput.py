"""CPU per server from apply to Ready and for its deletion, writes per server, wall time, memory."""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass

from bench.harness import Installation, Requests, Usage
from bench.workloads import consumer, names, prepare, provider, tens

from moorage.kube.kinds import SERVER_GROUP


@dataclass(frozen=True, slots=True)
class Throughput:
    """Of one run. CPU in ms per server."""

    servers: int
    wall: float
    created: Usage
    deleted: Usage | None
    delete_wall: float
    memory: dict[str, float]

    def cpu(self, process: str) -> float:
        """ms of CPU per server until Ready."""
        return self.created.cpu[process] * 1000 / self.servers

    def delete_cpu(self, process: str) -> float:
        """ms of CPU per server for its deletion."""
        return self.deleted.cpu[process] * 1000 / self.servers if self.deleted is not None else 0.0

    def writes(self) -> float:
        """Writes per server until Ready, of all writers but the one that posted the groups."""
        return sum(without_user(self.created).values()) / self.servers


def without_user(used: Usage) -> Requests:
    """Writes but the benchmark's own (it posts and deletes groups) and the lease."""
    own = {("POST", "servergroups", ""), ("DELETE", "servergroups", "")}
    return {key: n for key, n in used.writes().items() if key not in own}


async def throughput(installed: Installation, namespace: str, groups: int, *, delete: bool = True) -> Throughput:
    """`groups` groups of 10, created at once."""
    await prepare(installed, namespace, provider("db"), consumer("web", "db"))
    objects = tens(groups)
    found = names(objects)
    before = await installed.usage()
    started = time.monotonic()
    await installed.create(namespace, *objects)
    moments = await installed.groups.until_ready(namespace, found, 600)
    wall = max(moments.values()) - started
    created = await installed.usage() - before
    await asyncio.sleep(3)  # what was held for company is written
    late = await installed.usage() - before
    created = Usage(created.at, created.cpu, late.requests, late.conflicts, late.calls)
    memory = installed.memory()
    deleted, delete_wall = None, 0.0
    if delete:
        before = await installed.usage()
        started = time.monotonic()
        slots = asyncio.Semaphore(8)

        async def remove(name: str) -> None:
            async with slots:
                await installed.client.delete(SERVER_GROUP, namespace, name)

        await asyncio.gather(*(remove(name) for name in found))
        await installed.groups.until_gone(namespace, found, 600)
        delete_wall = time.monotonic() - started
        deleted = await installed.usage() - before
    return Throughput(groups * 10, wall, created, deleted, delete_wall, memory)
