"""What configd knows of the servers: a cache of their Secrets, and the way to ask the API server where it may lag."""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from typing import Any

from moorage.api.names import LABEL_SECRET, outputs_secret, session_secret
from moorage.configd.ports import Cluster
from moorage.configd.secrets import Outputs, Parsed, Revoked, ServerSecret, Session, parse_secret, trimmed
from moorage.kube.errors import NotFound
from moorage.kube.kinds import SECRET
from moorage.kube.store import Table

Obj = dict[str, Any]
ServerKey = tuple[str, str]
"""(namespace, VirtualServer uid)."""

_GONE_LIMIT = 16384


def new_table() -> Table[Parsed]:
    """The table of servers' Secrets; a Reflector with `secrets.SELECTOR` feeds it."""
    return Table(SECRET, parse_secret, trim=trimmed, parsed_limit=16384)


class Directory:
    """Reads of one server's Secrets: `cached_` from memory, the others ask the API server where that knows nothing."""

    def __init__(self, cluster: Cluster, table: Table[Parsed]) -> None:
        self.table = table
        self._cluster = cluster
        self._waiters: dict[ServerKey, set[asyncio.Future[None]]] = {}
        self._gone: OrderedDict[ServerKey, None] = OrderedDict()
        table.subscribe(self._changed)

    @property
    def waiting(self) -> int:
        """How many long polls wait."""
        return sum(len(waiters) for waiters in self._waiters.values())

    def waiting_for(self, key: ServerKey) -> int:
        """How many long polls of one server wait."""
        return len(self._waiters.get(key, ()))

    def cached_server(self, key: ServerKey) -> ServerSecret | None:
        """The server, as far as the cache knows."""
        found = self._parsed(key[0], key[1])
        return found if isinstance(found, ServerSecret) else None

    def cached_outputs(self, key: ServerKey) -> tuple[Obj, Outputs] | None:
        """The Secret of its outputs, raw and typed, as far as the cache knows."""
        obj = self.table.get(key[0], outputs_secret(key[1]))
        found = None if obj is None else self.table.parse(obj)
        return (obj, found) if obj is not None and isinstance(found, Outputs) else None

    async def server(self, key: ServerKey) -> ServerSecret | None:
        """The server; None where there is none. Raises ApiError."""
        if isinstance(self._parsed(*key), Revoked):
            return None
        return self.cached_server(key) or await self.ask_server(key)

    async def ask_server(self, key: ServerKey) -> ServerSecret | None:
        """The server as the API server has it now. Raises ApiError."""
        await self._ask(key[0], key[1])
        return self.cached_server(key)

    async def session(self, key: ServerKey) -> Session | None:
        """Its session; None before the join. Raises ApiError."""
        name = session_secret(key[1])
        if self.table.get(key[0], name) is None:
            await self._ask(key[0], name)
        return self.cached_session(key)

    def cached_session(self, key: ServerKey) -> Session | None:
        """Its session, as far as the cache knows."""
        found = self._parsed(key[0], session_secret(key[1]))
        return found if isinstance(found, Session) else None

    async def ask_outputs(self, key: ServerKey) -> tuple[Obj, Outputs] | None:
        """The Secret of its outputs as the API server has it now. Raises ApiError."""
        await self._ask(key[0], outputs_secret(key[1]))
        return self.cached_outputs(key)

    def is_gone(self, key: ServerKey) -> bool:
        """Whether the VirtualServer was deleted: its Secret was there and is gone, or its session was ended."""
        return key in self._gone or isinstance(self._parsed(*key), Revoked)

    async def changed(self, key: ServerKey, seconds: float) -> bool:
        """Wait until the server's Secret changes; False after `seconds` without a change."""
        waiter = asyncio.get_running_loop().create_future()
        self._waiters.setdefault(key, set()).add(waiter)
        try:
            async with asyncio.timeout(seconds):
                await waiter
        except TimeoutError:
            return False
        finally:
            waiters = self._waiters.get(key)
            if waiters is not None:
                waiters.discard(waiter)
                if not waiters:
                    del self._waiters[key]
        return True

    def wake_all(self) -> None:
        """End every wait, so that a stop need not wait for them."""
        for key in list(self._waiters):
            self._wake(key)

    def _parsed(self, namespace: str, name: str) -> Parsed:
        obj = self.table.get(namespace, name)
        return None if obj is None else self.table.parse(obj)

    async def _ask(self, namespace: str, name: str) -> None:
        held = self.table.get(namespace, name)
        try:
            found = await self._cluster.get(SECRET, namespace, name)
        except NotFound:
            if held is not None:
                self.table.removed(held["metadata"]["uid"])
            return
        # The name comes from a stranger: a Secret that is not a server's is none of our business.
        if LABEL_SECRET in (found["metadata"].get("labels") or {}):
            self.table.ingest(found)

    def _changed(self, old: Obj | None, new: Obj | None) -> None:
        meta = (new or old or {}).get("metadata") or {}
        key = (meta.get("namespace", ""), meta.get("name", ""))
        if new is None and old is not None and isinstance(parse_secret(old), ServerSecret):
            self._gone[key] = None
            while len(self._gone) > _GONE_LIMIT:
                self._gone.popitem(last=False)
        elif new is not None:
            self._gone.pop(key, None)
        self._wake(key)

    def _wake(self, key: ServerKey) -> None:
        for waiter in self._waiters.pop(key, ()):
            if not waiter.done():
                waiter.set_result(None)
