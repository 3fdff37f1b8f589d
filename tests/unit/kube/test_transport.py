"""The connections of a session end with it."""

from __future__ import annotations

import asyncio
import base64
import os
import socket
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.unit.kube.test_credentials import kubeconfig

from moorage.kube.client import Client
from moorage.kube.kinds import CONFIG_MAP
from moorage.testing.certificates import loopback_tls


class Deaf:
    """A server that speaks TLS, takes one request, and neither answers it nor says good-bye."""

    def __init__(self) -> None:
        self.context, self.authority = loopback_tls()
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.asked, self._over = threading.Event(), threading.Event()
        self.inode = ""
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._thread.start()

    def _serve(self) -> None:
        raw, _ = self.listener.accept()
        with self.context.wrap_socket(raw, server_side=True) as connection:
            self.inode = os.readlink(f"/proc/self/fd/{connection.fileno()}")
            connection.recv(65536)
            self.asked.set()
            self._over.wait(30)

    def end(self) -> None:
        self._over.set()
        self._thread.join()
        self.listener.close()


@pytest.fixture
def deaf() -> Iterator[Deaf]:
    server = Deaf()
    yield server
    server.end()


def sockets() -> set[str]:
    """The sockets that this process has open."""
    found = set()
    for descriptor in os.listdir("/proc/self/fd"):
        try:
            found.add(os.readlink(f"/proc/self/fd/{descriptor}"))
        except FileNotFoundError:
            continue
    return {target for target in found if target.startswith("socket:")}


async def test_a_request_that_is_given_up_leaves_no_connection_behind_its_session(deaf: Deaf, tmp_path: Path) -> None:
    before = sockets()
    authority = base64.b64encode(deaf.authority.encode()).decode()
    port = deaf.listener.getsockname()[1]
    path = kubeconfig(tmp_path, {}, f"https://127.0.0.1:{port}", **{"certificate-authority-data": authority})
    async with await Client.connect(path) as client:
        asking = asyncio.create_task(client.get(CONFIG_MAP, "ns", "x"))
        await asyncio.to_thread(deaf.asked.wait, 20)
        asking.cancel()
        with pytest.raises(asyncio.CancelledError):
            await asking
    await asyncio.sleep(0)
    assert sockets() - before - {deaf.inode} == set()
