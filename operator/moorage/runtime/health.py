"""/healthz, /readyz and /metrics, and the watchdog that measures how late the event loop runs."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable

from aiohttp import web

from moorage.runtime.metrics import Metrics

log = logging.getLogger(__name__)

Check = Callable[[], str | None]
"""None where all is well, else what is wrong, for people; nothing sensitive."""


class HealthServer:
    """Serves the checks and the metrics; `lag_limit` (seconds) is when the watchdog warns.

    Every check is named; `/readyz?verbose` lists them all, `/readyz?exclude=lease` leaves one out (as the API server's
    own checks do). 200 or, as soon as one check fails, 503.
    """

    def __init__(self, metrics: Metrics, *, lag_interval: float = 0.5, lag_limit: float = 1.0) -> None:
        self._metrics = metrics
        self._live: dict[str, Check] = {}
        self._ready: dict[str, Check] = {}
        self._lag_interval, self._lag_limit = lag_interval, lag_limit
        self._runner: web.AppRunner | None = None
        self._watchdog: asyncio.Task[None] | None = None

    def add_live_check(self, name: str, check: Check) -> None:
        """A check of /healthz: failing means that only a restart helps."""
        self._live[name] = check

    def add_ready_check(self, name: str, check: Check) -> None:
        """A check of /readyz: failing means not yet, or not now."""
        self._ready[name] = check

    async def start(self, host: str, port: int) -> int:
        """Listen; gives the port (useful with port 0). Raises OSError where the port is taken."""
        app = web.Application()
        app.router.add_get("/healthz", self._alive)
        app.router.add_get("/livez", self._alive)
        app.router.add_get("/readyz", self._is_ready)
        app.router.add_get("/metrics", self._scrape)
        self._runner = web.AppRunner(app, access_log=None, shutdown_timeout=1.0)
        await self._runner.setup()
        site = web.TCPSite(self._runner, host, port)
        await site.start()
        self._watchdog = asyncio.create_task(self._watch(), name="loop-lag")
        return int(self._runner.addresses[0][1])

    async def stop(self) -> None:
        """Stop listening."""
        if self._watchdog is not None:
            self._watchdog.cancel()
            self._watchdog = None
        if self._runner is not None:
            await self._runner.cleanup()
            self._runner = None

    async def _alive(self, request: web.Request) -> web.Response:
        return self._answer(request, self._live)

    async def _is_ready(self, request: web.Request) -> web.Response:
        return self._answer(request, self._ready)

    @staticmethod
    def _answer(request: web.Request, checks: dict[str, Check]) -> web.Response:
        excluded = set(request.query.getall("exclude", ()))
        results = {name: _run(check) for name, check in checks.items() if name not in excluded}
        failed = [name for name, problem in results.items() if problem is not None]
        if not failed and "verbose" not in request.query:
            return web.Response(text="ok")
        lines = [
            f"[+]{name} ok" if problem is None else f"[-]{name} failed: {problem}" for name, problem in results.items()
        ]
        lines.append("check failed" if failed else "check passed")
        return web.Response(text="\n".join(lines) + "\n", status=503 if failed else 200)

    async def _scrape(self, _: web.Request) -> web.Response:
        return web.Response(
            body=self._metrics.render(), headers={"Content-Type": "text/plain; version=0.0.4; charset=utf-8"}
        )

    async def _watch(self) -> None:
        loop = asyncio.get_running_loop()
        while True:
            due = loop.time() + self._lag_interval
            await asyncio.sleep(self._lag_interval)
            lag = max(0.0, loop.time() - due)
            self._metrics.loop_lag.set(lag)
            if lag > self._lag_limit:
                log.warning("the event loop was blocked for %.1f s", lag)


def _run(check: Check) -> str | None:
    try:
        return check()
    except Exception as error:
        log.exception("a health check failed")
        return type(error).__name__
