"""The watch of virtual machines."""

from __future__ import annotations

import asyncio
from collections import Counter

import pytest
from aiohttp import web

from moorage.hosting.errors import Unavailable
from moorage.hosting.kubevirt import FACTORY
from moorage.hosting.kubevirt import backend as kubevirt_backend
from moorage.testing.service import Spec

ERROR = b'{"type": "ERROR", "object": {"code": 410}}\n'
BOOKMARK = b'{"type": "BOOKMARK", "object": {"metadata": {"resourceVersion": "8"}}}\n'


@pytest.mark.parametrize("said", [b"", ERROR, BOOKMARK], ids=["nothing", "an error", "a bookmark"])
async def test_a_watch_that_ends_at_once_is_no_reason_to_ask_without_a_pause(
    said: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(kubevirt_backend, "SHORTEST_WATCH", 60.0)
    asked: Counter[str] = Counter()

    async def answer(request: web.Request) -> web.Response:
        watches = "watch" in request.query
        asked["watch" if watches else "list"] += 1
        return web.Response(body=said) if watches else web.json_response({"metadata": {"resourceVersion": "7"}})

    app = web.Application()
    app.router.add_get("/{path:.*}", answer)
    runner = web.AppRunner(app)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    backend = FACTORY.open(Spec(f"http://127.0.0.1:{runner.addresses[0][1]}", "", "ns", {}), {"token": b"x"})
    try:
        async with asyncio.timeout(10):
            with pytest.raises(Unavailable, match="ends each watch at once"):
                _ = [event async for event in backend.events()]  # type: ignore[attr-defined]
    finally:
        await backend.close()
        await runner.cleanup()
    assert asked == {"list": 1, "watch": 1}
