"""A body is read up to its bound, and no further."""

from __future__ import annotations

import aiohttp
import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from moorage.net import read_bounded


async def endless(request: web.Request) -> web.StreamResponse:
    answer = web.StreamResponse()
    await answer.prepare(request)
    while True:
        await answer.write(b"x" * 4096)


async def ten(_: web.Request) -> web.Response:
    return web.Response(body=b"0123456789")


@pytest.mark.parametrize(
    ("path", "most", "found"), [("/ten", 10, b"0123456789"), ("/ten", 9, None), ("/endless", 9000, None)]
)
async def test_a_body_is_whole_or_refused(path: str, most: int, found: bytes | None) -> None:
    app = web.Application()
    app.add_routes([web.get("/ten", ten), web.get("/endless", endless)])
    async with (
        TestServer(app) as server,
        aiohttp.ClientSession() as session,
        session.get(server.make_url(path)) as answer,
    ):
        assert await read_bounded(answer, most) == found
