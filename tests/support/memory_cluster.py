"""What following others' objects asks of the API server, in memory."""

from __future__ import annotations

import copy
from collections.abc import AsyncGenerator
from typing import Any, Self

from tests.support.memory_api import MemoryApi

from moorage.kube.answers import Listing
from moorage.kube.errors import NotFound
from moorage.kube.kinds import Kind


class Cluster(MemoryApi):
    """What `Following` asks of a client besides; `offered` is what discovery tells of v1."""

    def __init__(self) -> None:
        super().__init__()
        self.offered: list[dict[str, Any]] = [
            {"name": "configmaps", "kind": "ConfigMap", "namespaced": True, "verbs": ["list", "watch"]},
            {"name": "configmaps/status", "kind": "MapStatus", "namespaced": True, "verbs": ["list", "watch"]},
            {"name": "secrets", "kind": "Hidden", "namespaced": True, "verbs": ["list", "watch"]},
            {"name": "bindings", "kind": "Binding", "namespaced": True, "verbs": ["create"]},
            {"name": "nodes", "kind": "Node", "namespaced": False, "verbs": ["list", "watch"]},
        ]
        self.refuse: BaseException | None = None

    def acting_as(self, namespace: str, account: str, *, most: int | None = None) -> Self:
        return self

    async def resources(self, api_version: str) -> list[dict[str, Any]]:
        self.calls.append(f"resources {api_version}")
        if api_version != "v1":
            raise NotFound(404, "NotFound", "no such version")
        return copy.deepcopy(self.offered)

    async def pages(self, kind: Kind, namespace: str | None = None, **_: Any) -> AsyncGenerator[Listing, None]:
        if self.refuse is not None:
            raise self.refuse
        yield await self.list(kind, namespace)
