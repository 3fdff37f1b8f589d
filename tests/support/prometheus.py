"""A real Prometheus of the test's own, which scrapes an exporter of the test's own."""

from __future__ import annotations

import asyncio
import base64
import socket
import subprocess
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import aiohttp
from aiohttp import web
from tests.support import needs
from tests.support.configd import eventually

from moorage.configd.pki import issue_leaf, new_authority, utc_now

USER, PASSWORD = "reader", "reading"
_BCRYPT = "$2b$04$abcdefghijklmnopqrstuunlU.WldpuNAbnWBAkfWLvuSdDznuaLO"  # of PASSWORD


@dataclass
class Prometheus:
    """``ca`` is the PEM of the authority of its certificate; empty: it speaks no TLS and asks for no password.

    ``exported`` are the values that it scrapes each 200 ms, by the series.
    """

    process: asyncio.subprocess.Process
    url: str
    ca: str
    exported: dict[str, str]

    async def knows(self, query: str) -> None:
        """Wait until the query has a result."""

        async def asked() -> bool:
            login = f"Basic {base64.b64encode(f'{USER}:{PASSWORD}'.encode()).decode()}"
            async with aiohttp.ClientSession(headers={"Authorization": login} if self.ca else {}) as session:
                try:
                    async with session.get(f"{self.url}/api/v1/query", params={"query": query}, ssl=False) as answer:
                        return answer.status == 200 and bool((await answer.json())["data"]["result"])
                except aiohttp.ClientError:
                    return False

        assert self.process.returncode is None, "Prometheus ended"
        await eventually(asked, 120.0, f"a result of {query}")


@asynccontextmanager
async def prometheus(folder: Path, *, secured: bool = False) -> AsyncIterator[Prometheus]:
    """Start one; with ``secured`` it speaks TLS and asks for USER and PASSWORD."""
    program = needs.program("prometheus")
    exported: dict[str, str] = {}
    async with _exporter(exported) as port:
        (folder / "prometheus.yml").write_text(
            "global: {scrape_interval: 200ms}\n"
            f"scrape_configs: [{{job_name: test, static_configs: [{{targets: ['127.0.0.1:{port}']}}]}}]\n"
        )
        arguments, ca = _security(folder) if secured else ([], "")
        address = f"127.0.0.1:{_free_port()}"
        with (folder / "log").open("wb") as log:
            process = await asyncio.create_subprocess_exec(
                program,
                f"--config.file={folder / 'prometheus.yml'}",
                f"--storage.tsdb.path={folder / 'data'}",
                f"--web.listen-address={address}",
                *arguments,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )
        try:
            yield Prometheus(process, f"http{'s' if secured else ''}://{address}", ca, exported)
        finally:
            if process.returncode is None:
                process.kill()  # it has nothing worth keeping, and may have been stopped
            await process.wait()


def _security(folder: Path) -> tuple[list[str], str]:
    authority = new_authority(utc_now())
    leaf = issue_leaf(authority, ["127.0.0.1"], utc_now())
    (folder / "tls.crt").write_bytes(leaf.chain)
    (folder / "tls.key").write_bytes(leaf.key)
    (folder / "web.yml").write_text(
        f"tls_server_config: {{cert_file: tls.crt, key_file: tls.key}}\nbasic_auth_users: {{{USER}: '{_BCRYPT}'}}\n"
    )
    return [f"--web.config.file={folder / 'web.yml'}"], authority.bundle.decode()


@asynccontextmanager
async def _exporter(exported: dict[str, str]) -> AsyncIterator[int]:
    async def metrics(_: web.Request) -> web.Response:
        return web.Response(text="".join(f"{series} {value}\n" for series, value in exported.items()))

    app = web.Application()
    app.router.add_get("/metrics", metrics)
    runner = web.AppRunner(app)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    try:
        yield runner.addresses[0][1]
    finally:
        await runner.cleanup()


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
