"""What the configuration channel costs: CPU and memory of a configd process of its own, beside a real API server.

    python bench/configd.py [--servers 300]

Each agent joins, takes two configurations, and posts two states over two connections, as the real one does. Then the
time is measured from a write of the Secret to the answer of the agent's long poll, one at a time, all others waiting.

CPU times grow with what else runs on the machine: compare runs by configd's share of what the benchmark itself took.
"""

from __future__ import annotations

import argparse
import asyncio
import base64
import json
import os
import secrets
import socket
import ssl
import statistics
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1]))

from tests.support.channel import ChannelClient

from moorage.api.channel import Document
from moorage.configd.pki import Authority, new_authority, utc_now
from moorage.controlplane import ControlPlane, Options, acquire
from moorage.kube.client import Client
from moorage.kube.errors import ApiError
from moorage.kube.kinds import NAMESPACE, SECRET, VIRTUAL_SERVER

SPACE = "bench"
TOKEN = "join-token-of-the-benchmark"
STEP = {"name": "start", "state": "Succeeded", "exitCode": 0, "attempts": 1}
_TICKS = os.sysconf("SC_CLK_TCK")


def cpu_ms(pid: int) -> float:
    """CPU time that a process has used, in ms."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) * 1000 / _TICKS


def rss_mb(pid: int) -> float:
    """Memory that a process holds, in MB."""
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmRSS")) / 1024


def encoded(text: bytes) -> str:
    return base64.b64encode(text).decode()


async def prepare(client: Client, count: int) -> list[str]:
    """The VirtualServers and their Secrets; their uids."""
    await client.create(NAMESPACE, {"metadata": {"name": SPACE}})
    limit = asyncio.Semaphore(16)

    async def one(number: int) -> str:
        name = f"s-{number}"
        spec: dict[str, Any] = {"serviceRef": {"name": "x"}, "group": {"name": "g", "uid": "1"}, "member": "m"}
        spec |= {"placement": 1, "image": "i", "offering": "small", "revision": "r-1"}
        async with limit:
            meta = {"name": name, "namespace": SPACE}
            made = await client.create(VIRTUAL_SERVER, {"metadata": meta, "spec": spec})
            uid: str = made["metadata"]["uid"]
            labels = {"moorage.dev/secret": "server"}
            meta = {"name": uid, "namespace": SPACE, "labels": labels, "annotations": {"moorage.dev/server": name}}  # type: ignore[dict-item]
            data = {"token": encoded(TOKEN.encode()), "request": encoded(b"x" * 3000)}
            await client.create(SECRET, {"metadata": meta, "data": data})
            return uid

    return list(await asyncio.gather(*(one(number) for number in range(count))))


async def configure(client: Client, uid: str, revision: int) -> None:
    """Write a configuration, as the controller does."""
    document = Document.model_validate(
        {
            "revision": revision,
            "server": {"name": "s", "namespace": SPACE},
            "items": {"port": "80"},
            "steps": [{"name": "start", "script": "exec server\n" * 20, "env": ["port"]}],
            "outputs": [{"name": "address", "command": "hostname", "pattern": "[0-9.:]+"}],
        }
    )
    await client.patch(SECRET, SPACE, uid, {"data": {"configuration": encoded(document.to_json())}})


class Agent:
    """Two connections, as the real agent has."""

    def __init__(self, url: str, tls: ssl.SSLContext, uid: str) -> None:
        key = secrets.token_urlsafe(32)
        self.uid = uid
        self.poll = ChannelClient(url, tls, f"{SPACE}/{uid}", key)
        self.post = ChannelClient(url, tls, f"{SPACE}/{uid}", key)

    async def live(self, client: Client, limit: asyncio.Semaphore) -> None:
        """From the join to the second state."""
        async with limit:
            assert (await self.poll.join(TOKEN)).status == 200
            for revision in (1, 2):
                waits = asyncio.create_task(self.poll.configuration(60, have=revision - 1))
                await configure(client, self.uid, revision)
                assert (await waits).json["revision"] == revision
                output = {"name": "address", "value": "10.0.0.1:80", "version": 1}
                parts: dict[str, Any] = {"deliveredRevision": revision, "acknowledgedRevision": revision}
                parts |= {"ready": revision == 2, "outputs": [output], "steps": [STEP]}
                assert (await self.post.state(revision, **parts)).status == 200

    async def close(self) -> None:
        await self.poll.__aexit__()
        await self.post.__aexit__()


def free_port() -> int:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        port: int = taken.getsockname()[1]
        return port


def quantile(values: list[float], share: float) -> float:
    return sorted(values)[min(len(values) - 1, int(len(values) * share))]


async def measure(plane: ControlPlane, count: int, wakes: int) -> dict[str, Any]:
    async with await Client.connect(str(plane.kubeconfig)) as client:
        authority = new_authority(utc_now())
        await client.create(NAMESPACE, {"metadata": {"name": "moorage-system"}})
        data = {name: encoded(value) for name, value in authority.to_data().items()}
        await client.create(SECRET, {"metadata": {"name": "moorage-ca", "namespace": "moorage-system"}, "data": data})
        uids = await prepare(client, count)
        port = free_port()
        command = [sys.executable, "-m", "moorage.configd", "--host", "127.0.0.1", "--port", str(port)]
        command += ["--name", "127.0.0.1", "--kubeconfig", str(plane.kubeconfig)]
        configd = subprocess.Popen(command, stderr=subprocess.DEVNULL)  # noqa: ASYNC220 - it takes milliseconds
        try:
            return await _drive(client, authority, f"https://127.0.0.1:{port}", configd.pid, uids, wakes)
        finally:
            configd.terminate()
            configd.wait(20)


async def _drive(
    client: Client, authority: Authority, url: str, pid: int, uids: list[str], wakes: int
) -> dict[str, Any]:
    tls = ssl.create_default_context(cadata=authority.bundle.decode())
    await _listening(url, tls)
    before, own, empty = cpu_ms(pid), time.process_time(), rss_mb(pid)
    agents = [Agent(url, tls, uid) for uid in uids]
    limit = asyncio.Semaphore(50)
    began = time.perf_counter()
    await asyncio.gather(*(agent.live(client, limit) for agent in agents))
    wall = time.perf_counter() - began
    used, own = cpu_ms(pid) - before, (time.process_time() - own) * 1000
    polls = {agent.uid: asyncio.create_task(agent.poll.configuration(60, have=2)) for agent in agents}
    await asyncio.sleep(1)
    woken, direct = [], []
    for uid in uids[:wakes]:
        start = time.perf_counter()
        await configure(client, uid, 3)
        written = time.perf_counter()
        assert (await polls.pop(uid)).json["revision"] == 3
        direct.append((time.perf_counter() - start) * 1000)
        woken.append((time.perf_counter() - written) * 1000)
        await asyncio.sleep(0.02)
    memory = rss_mb(pid)
    for poll in polls.values():
        poll.cancel()
    await asyncio.gather(*polls.values(), return_exceptions=True)
    for agent in agents:
        await agent.close()
    return {
        "servers": len(uids),
        "wall_seconds": round(wall, 2),
        "configd_cpu_ms_per_server": round(used / len(uids), 2),
        "configd_cpu_per_cpu_of_the_benchmark": round(used / own, 2),
        "configd_mb_empty": round(empty),
        "configd_mb_with_all_waiting": round(memory),
        "secret_write_to_answer_ms": {
            "p50": round(statistics.median(direct), 1),
            "p99": round(quantile(direct, 0.99), 1),
        },
        "secret_written_to_answer_ms": {
            "p50": round(statistics.median(woken), 1),
            "p99": round(quantile(woken, 0.99), 1),
        },
    }


async def _listening(url: str, tls: ssl.SSLContext) -> None:
    end = time.monotonic() + 30
    while True:
        probe = ChannelClient(url, tls, "x/x", "x" * 20)
        try:
            assert (await probe.request("GET", "/healthz")).status == 200
            return
        except OSError:
            if time.monotonic() > end:
                raise
        finally:
            await probe.__aexit__()
        await asyncio.sleep(0.1)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--servers", type=int, default=300)
    parser.add_argument("--wakes", type=int, default=100, help="how many wake-ups are timed")
    options = parser.parse_args()
    crds = sorted((Path(__file__).parents[1] / "crds").glob("*.yaml"))
    with acquire(Options(use_kept=False)) as plane:
        plane.apply(*crds)
        try:
            print(json.dumps(asyncio.run(measure(plane, options.servers, options.wakes)), indent=2))
        except ApiError as error:
            sys.exit(f"the API server refused: {error}")


if __name__ == "__main__":
    main()
