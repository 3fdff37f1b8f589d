"""A hosting service's API behind a barrier: a creation gets through only once so many are in flight together."""

from __future__ import annotations

import asyncio
from types import TracebackType
from typing import Self

import aiohttp
from aiohttp import web


class Barrier:
    """Forwards to `url`. `together` creations must have arrived before any of them goes on."""

    def __init__(self, url: str, together: int) -> None:
        self._target = url
        self._together = together
        self._full = asyncio.Event()
        self._runner: web.AppRunner | None = None
        self._client: aiohttp.ClientSession | None = None
        self.creations: list[dict[str, str]] = []
        self.url = ""

    async def __aenter__(self) -> Self:
        app = web.Application()
        app.router.add_route("*", "/{path:.*}", self._forward)
        self._client = aiohttp.ClientSession()
        # An event stream has no end of its own.
        self._runner = web.AppRunner(app, access_log=None, shutdown_timeout=1.0)
        await self._runner.setup()
        site = web.TCPSite(self._runner, "127.0.0.1", 0)
        await site.start()
        self.url = f"http://127.0.0.1:{self._runner.addresses[0][1]}"
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        assert self._runner is not None
        assert self._client is not None
        self._full.set()
        await self._client.close()
        await self._runner.cleanup()

    async def _forward(self, request: web.Request) -> web.Response:
        assert self._client is not None
        body = await request.read()
        if request.method == "POST" and request.path == "/v1/servers":
            self.creations.append(await request.json())
            if len(self.creations) >= self._together:
                self._full.set()
            await self._full.wait()
        target = self._target + request.path_qs
        headers = {"Content-Type": "application/json"}
        async with self._client.request(request.method, target, data=body, headers=headers) as answer:
            return web.Response(status=answer.status, body=await answer.read(), content_type="application/json")
