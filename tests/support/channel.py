"""A client of the configuration channel that says what a test tells it to, right or wrong."""

from __future__ import annotations

import hashlib
import io
import json
import ssl
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol, Self

import aiohttp


class Listening(Protocol):
    """A configd."""

    @property
    def address(self) -> tuple[str, int]: ...

    @property
    def bundle(self) -> bytes: ...


@dataclass(frozen=True)
class Answer:
    """An answer, read."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        """The body."""
        return json.loads(self.body)


class ChannelClient:
    """One agent's side of the channel."""

    def __init__(self, url: str, tls: ssl.SSLContext, server: str, key: str) -> None:
        self.server, self.key = server, key
        self.sequence = 0
        self._session = aiohttp.ClientSession(url, connector=aiohttp.TCPConnector(ssl=tls))

    @classmethod
    def to(cls, configd: Listening, server: str, key: str) -> Self:
        """Speak to that replica as the agent of that server."""
        tls = ssl.create_default_context(cadata=configd.bundle.decode())
        return cls("https://{}:{}".format(*configd.address), tls, server, key)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._session.close()

    async def request(
        self, method: str, path: str, *, body: bytes | None = None, headers: dict[str, str] | None = None
    ) -> Answer:
        """Any request, with the agent's authorization unless the headers say otherwise."""
        sent = {"Authorization": f"Bearer {self.server}:{self.key}", **(headers or {})}
        async with self._session.request(
            method, path, data=None if body is None else io.BytesIO(body), headers=sent
        ) as response:
            return Answer(response.status, response.headers, await response.read())

    async def join(self, token: str, key_hash: str = "") -> Answer:
        """Join with the hash of the key, or another one."""
        digest = key_hash or hashlib.sha256(self.key.encode()).hexdigest()
        body = json.dumps({"server": self.server, "token": token, "keyHash": digest}).encode()
        return await self.request("POST", "/v1/join", body=body)

    async def configuration(self, wait: float, have: int = 0) -> Answer:
        """Ask for another configuration than `have`."""
        headers = {"If-None-Match": f'"{have}"'} if have else {}
        return await self.request("GET", f"/v1/configuration?wait={wait:g}", headers=headers)

    async def state(self, sequence: int, **parts: Any) -> Answer:
        """Post a state."""
        return await self.request("POST", "/v1/state", body=json.dumps({"sequence": sequence, **parts}).encode())
