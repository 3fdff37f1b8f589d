"""A server that somebody made at a real service, and what befalls it there: for tests of whole installations."""

from __future__ import annotations

import contextlib
import importlib
import secrets
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Protocol, runtime_checkable

from tests.support import beds
from tests.support.real import serve
from tests.support.stack import SYSTEM, Api, Obj, Stack

from moorage.api.names import API_VERSION
from moorage.hosting.abilities import Retag
from moorage.hosting.contract import Backend, CreateRequest, ServerRecord, identity_key
from moorage.kube.kinds import SECRET
from moorage.testbed import Running
from moorage.testing.service import ServiceUnderTest

HARNESSES = {
    "ec2": "Ec2Service",
    "hetzner": "HetznerService",
    "incus": "IncusService",
    "kubevirt": "KubevirtService",
    "libcloud": "LibcloudEc2Service",
    "libvirt": "LibvirtService",
    "openstack": "OpenStackService",
}
"""The types of services, and what the contract's suite has of each in `tests.support.services`."""
BEDS = {type_: type_ for type_ in HARNESSES} | {"libcloud": "ec2"}
"""And the bed that each is tried on."""


@runtime_checkable
class HasAnotherAccount(Protocol):
    """A service at whose endpoint other credentials lead to another account."""

    async def another_account(self) -> Mapping[str, bytes]:
        """Credentials of it."""
        ...


def harness_of(type_: str, running: Running) -> ServiceUnderTest:
    """The service as the contract's suite has it. Its libraries are on machines that have the bed only."""
    module = importlib.import_module(f"tests.support.services.{type_}")
    harness: ServiceUnderTest = getattr(module, HARNESSES[type_])(running)
    return harness


@runtime_checkable
class Untags(Protocol):
    """A service whose backend writes no empty tags."""

    async def untag(self, provider_id: str, tag: str) -> None:
        """Take a tag off a server."""
        ...


@dataclass(frozen=True)
class Place:
    """A HostingService over a real service, and the same account as somebody else works in it."""

    stack: Stack
    api: Api
    harness: ServiceUnderTest
    running: Running
    account: Backend
    service: str = field(default_factory=lambda: f"existing-{secrets.token_hex(4)}")
    """Name of the HostingService."""

    async def serve(self) -> None:
        """Make the HostingService. Where events tell of changes, inventories are ten times rarer than it says."""
        await serve(self.stack, self.api, self.running, self.service, inventoryInterval="1s")

    async def credentials(self, credentials: Mapping[str, bytes]) -> None:
        """Write others into its Secret."""
        texts = {key: value.decode() for key, value in credentials.items()}
        name = f"{self.service}-credentials"
        await self.api.client.patch(SECRET, SYSTEM, name, {"stringData": texts}, manager="test")

    async def make(self) -> str:
        """The id of a server that has no tag of Moorage's, once it is asked for."""
        nonce = secrets.token_hex(4)
        request = CreateRequest(
            key=identity_key("somebody", nonce),
            name=f"by-hand-{nonce}",
            image=self.running.image,
            offering=self.running.offering,
            user_data="#!/bin/sh\ntrue\n",
            tags={},
            settings=self.running.extra.get("server_settings") or {},
        )
        return (await self.account.create(request)).provider_id

    async def record(self, provider_id: str) -> ServerRecord:
        """The server, by the service's own word. Raises NotFound."""
        return await self.account.get(provider_id)

    async def untag(self, provider_id: str, tag: str) -> None:
        """Take a tag off a server, or empty it where none can be taken off."""
        if isinstance(self.harness, Untags):
            await self.harness.untag(provider_id, tag)
        else:
            assert isinstance(self.account, Retag)
            await self.account.retag(provider_id, {tag: ""})

    def adopting(self, name: str, provider_id: str, **spec: Any) -> Obj:
        """A VirtualServer that stands for it."""
        wanted = {"serviceRef": {"name": self.service}, "adopt": {"providerID": provider_id}, **spec}
        return {"apiVersion": API_VERSION, "kind": "VirtualServer", "metadata": {"name": name}, "spec": wanted}


@contextlib.asynccontextmanager
async def place(type_: str, stack: Stack, api: Api) -> AsyncIterator[Place]:
    """The service, empty at first and at last."""
    running = beds.running(BEDS[type_])
    async with harness_of(type_, running) as harness:
        if running.type == type_:
            # How late the bed's lists are: the backend's default is what to expect of the real service.
            lag = {name: value for name, value in harness.settings.items() if name == "listingLag"}
            running = replace(running, settings={**running.settings, **lag})
        else:
            credentials = {key: value.decode() for key, value in harness.credentials.items()}
            running = replace(running, type=type_, credentials=credentials, settings=dict(harness.settings), extra={})
        yield Place(stack, api, harness, running, harness.open())
