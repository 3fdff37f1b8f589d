"""Hosting services on which controllers are killed: the embedded one, EC2's bed, Incus."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from tests.support import real
from tests.support.killing import Place
from tests.support.services.ec2 import Ec2Service
from tests.support.stack import Api, Obj, Stack, config, service

from moorage.testbed import Running
from moorage.testing.service import Made, ServiceUnderTest

LIMITS = {"servers": 100_000, "requestsPerSecond": 10_000, "burst": 10_000}
WORK: dict[str, Any] = {
    "configuration": [{"name": "port", "value": "80"}],
    "steps": [{"name": "start", "script": "true"}],
    "outputs": [{"name": "address", "command": "hostname", "after": ["start"]}],
}
"""What each server has to do before it is ready."""


@asynccontextmanager
async def hostd(stack: Stack) -> AsyncIterator[Place]:
    """A hostd that simulates its servers, started for this."""
    host = stack.hostd("harbour", "--simulate", "--boot-time", "0.2", "--capacity", "-1")

    async def serve(_: Stack, api: Api) -> None:
        await api.apply(service("harbour", host.url, inventoryInterval="2s", limits=LIMITS))

    async def made() -> list[Made]:
        return [Made(entry["id"], entry.get("key")) for entry in host.ledger() if entry["event"] == "Created"]

    async def living() -> set[str]:
        return {server["id"] for server in host.servers()}

    try:
        yield Place("harbour", serve, lambda name: config(name, **WORK), made, living)
    finally:
        host.stop()


@asynccontextmanager
async def ec2(running: Running, **limits: int) -> AsyncIterator[Place]:
    """EC2's bed, whose instances boot. `limits`: of the HostingService."""
    harness = Ec2Service(running)
    async with _place(harness, running, **limits) as place:
        harness.control.guests(enabled=True)
        try:
            yield place
        finally:
            await harness.remove_all()
            harness.control.guests(enabled=False)


@asynccontextmanager
async def incus(running: Running) -> AsyncIterator[Place]:
    """A real Incus."""
    from tests.support.services.incus import IncusService

    async with _place(IncusService(running), running) as place:
        yield place


@asynccontextmanager
async def _place(harness: ServiceUnderTest, running: Running, **limits: int) -> AsyncIterator[Place]:
    async def serve(stack: Stack, api: Api) -> None:
        await real.serve(stack, api, running, running.type, limits=LIMITS | limits)

    async def living() -> set[str]:
        return {server.provider_id for server in (await real.inventory(running)).servers}

    def machine(name: str) -> Obj:
        return real.machine(running, name, **WORK)

    async with harness:
        yield Place(running.type, serve, machine, harness.ledger, living)
