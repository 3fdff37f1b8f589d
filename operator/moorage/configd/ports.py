"""What configd needs of the rest of the world, as small protocols."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

from moorage.kube.kinds import Kind

Obj = dict[str, Any]


class Cluster(Protocol):
    """The calls of `moorage.kube.client.Client` that configd makes; they raise `moorage.kube.errors`."""

    async def get(self, kind: Kind, namespace: str | None, name: str) -> Obj:
        """One object. Raises NotFound."""
        ...

    async def create(self, kind: Kind, obj: Mapping[str, Any], *, manager: str = "") -> Obj:
        """POST. Raises AlreadyExists."""
        ...

    async def update(self, kind: Kind, obj: Mapping[str, Any], *, manager: str = "") -> Obj:
        """PUT, guarded by resourceVersion. Raises Conflict, NotFound."""
        ...

    async def patch(
        self,
        kind: Kind,
        namespace: str | None,
        name: str,
        body: Mapping[str, Any] | Sequence[Obj],
        *,
        subresource: str = "",
        manager: str = "",
    ) -> Obj:
        """A JSON patch. Raises Invalid where a test in it fails, NotFound."""
        ...


class Reporter(Protocol):
    """Who is told of what happens on the channel. Called at once and never awaited; must not raise."""

    def joined(self, namespace: str, server: str, uid: str) -> None:
        """The agent of a VirtualServer has joined for the first time."""
        ...

    def token_replayed(self, namespace: str, server: str, uid: str) -> None:
        """Somebody presented the right join token with another key than the one that burnt it."""
        ...

    def state_written(self, virtual_server: Obj) -> None:
        """A VirtualServer as the API server answered the write of its agent's state."""
        ...


class Silent:
    """A Reporter that tells nobody."""

    def joined(self, namespace: str, server: str, uid: str) -> None:
        """Nothing."""

    def token_replayed(self, namespace: str, server: str, uid: str) -> None:
        """Nothing."""

    def state_written(self, virtual_server: Obj) -> None:
        """Nothing."""
