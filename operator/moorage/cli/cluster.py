"""Reads what the commands show, and turns the API server's refusals into errors that say what to do."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any, TypeVar

from pydantic import ValidationError

from moorage.api import names
from moorage.api.base import Model
from moorage.api.hostingpolicy import HostingPolicy
from moorage.api.servergroup import ServerGroup
from moorage.api.virtualserver import VirtualServer
from moorage.cli.errors import CliError, Exit, missing_rule, nearby
from moorage.kube.client import Client
from moorage.kube.errors import (
    ApiError,
    ConfigError,
    Forbidden,
    InvalidObject,
    KubeError,
    NotFound,
    Unauthorized,
    Unavailable,
)
from moorage.kube.kinds import HOSTING_POLICY, SERVER_GROUP, VIRTUAL_SERVER, Kind

T = TypeVar("T")
M = TypeVar("M", bound=Model)


@dataclass(frozen=True, slots=True)
class Target:
    """Which cluster, and which namespace of it; empty strings are the kubeconfig's own choice."""

    namespace: str = ""
    context: str = ""
    kubeconfig: str = ""


class Cluster:
    """The objects of one namespace."""

    def __init__(self, client: Client, namespace: str) -> None:
        self.client = client
        self.namespace = namespace

    async def group(self, name: str) -> ServerGroup:
        """A group. Raises CliError where it does not exist."""
        return read(ServerGroup, await self.one(SERVER_GROUP, name))

    async def server(self, name: str) -> VirtualServer:
        """A server. Raises CliError where it does not exist."""
        return read(VirtualServer, await self.one(VIRTUAL_SERVER, name))

    async def servers(self, group: str) -> tuple[VirtualServer, ...]:
        """The servers of a group, by name."""
        found = await self.client.list(VIRTUAL_SERVER, self.namespace, labels=f"{names.LABEL_GROUP}={group}")
        return tuple(sorted((read(VirtualServer, obj) for obj in found.items), key=lambda s: s.metadata.name))

    async def policy(self, name: str) -> HostingPolicy | None:
        """A policy, or None where it does not exist."""
        obj = await self.maybe(HOSTING_POLICY, name)
        return None if obj is None else read(HostingPolicy, obj)

    async def one(self, kind: Kind, name: str) -> dict[str, Any]:
        """An object. Raises CliError, which names those that are there, where it does not exist."""
        found = await self.maybe(kind, name)
        if found is not None:
            return found
        where = f" in namespace {self.namespace}" if kind.namespaced else ""
        raise CliError(f"there is no {kind.kind} {name}{where}", Exit.NOT_FOUND, hint=await self._elsewhere(kind, name))

    async def maybe(self, kind: Kind, name: str) -> dict[str, Any] | None:
        """An object, or None where it does not exist. Raises CliError where the kind itself is unknown."""
        try:
            return await self.client.get(kind, self.namespace if kind.namespaced else None, name)
        except NotFound as error:
            # A missing object is named in the message, a missing kind is not.
            if "could not find the requested resource" in error.message or "page not found" in error.message:
                raise CliError(
                    f"the cluster does not know the kind {kind.kind}",
                    Exit.NOT_FOUND,
                    hint="install Moorage's kinds: kubectl apply --server-side -f crds/",
                ) from None
            return None

    async def _elsewhere(self, kind: Kind, name: str) -> str:
        try:
            here = await self.client.list(kind, self.namespace if kind.namespaced else None, metadata_only=True)
            if here.items or not kind.namespaced:
                return nearby(name, (obj["metadata"]["name"] for obj in here.items))
            everywhere = await self.client.list(kind, None, metadata_only=True)
        except KubeError:
            return ""  # a hint only: whoever may not list is told no more than that it is not there
        return nearby(name, (f"-n {o['metadata']['namespace']} {o['metadata']['name']}" for o in everywhere.items))


def read(model: type[M], obj: Mapping[str, Any]) -> M:
    """The typed form of an object. Raises CliError where it does not fit."""
    try:
        return model.from_dict(obj)
    except ValidationError as error:
        where = ", ".join(".".join(map(str, e["loc"])) for e in error.errors(include_url=False, include_input=False))
        raise CliError(
            f"{obj.get('kind')} {obj.get('metadata', {}).get('name')} does not fit this version of moorage: {where}",
            hint="use the version of the command that the controller has, and apply its crds/",
        ) from None


async def _with_cluster(target: Target, work: Callable[[Cluster], Awaitable[T]]) -> T:
    async with await Client.connect(target.kubeconfig or None, target.context or None) as client:
        return await work(Cluster(client, target.namespace or client.namespace or "default"))


def use_cluster(target: Target, work: Callable[[Cluster], Awaitable[T]]) -> T:
    """Run `work` with a connection. Raises CliError for whatever the cluster refuses."""
    try:
        return asyncio.run(_with_cluster(target, work))
    except KubeError as error:
        raise as_cli_error(error) from None


def as_cli_error(error: KubeError) -> CliError:
    """What a person can do about a failure of the API server or on the way to it."""
    match error:
        case ConfigError():
            hint = "name one with --kubeconfig or --context, or try everything without a cluster: moorage demo"
            return CliError(f"no cluster to talk to: {error}", Exit.NO_CLUSTER, hint=hint)
        case Unauthorized():
            return CliError(f"the cluster does not accept the credentials: {error.message}", Exit.FORBIDDEN)
        case Forbidden():
            return CliError(error.message, Exit.FORBIDDEN, hint=missing_rule(error.message))
        case Unavailable(status=0):
            hint = "is it running? kubectl cluster-info asks the same server"
            return CliError(f"the API server does not answer: {error.message}", Exit.NO_CLUSTER, hint=hint)
        case ApiError() | InvalidObject():
            return CliError(str(error))
        case _:
            return CliError(str(error))
