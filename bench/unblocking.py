"""From an agent's POST of an output to the dependent agent holding the value.

Two agents of our own take part: their servers never boot at the hosting service, and join from here.
"""

from __future__ import annotations

import asyncio
import base64
import hashlib
import json
import secrets
import ssl
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import aiohttp
from bench.harness import Installation
from bench.workloads import POLICY, needs, prepare
from tests.support.stack import Obj, config, group

from moorage.kube.errors import NotFound
from moorage.kube.kinds import SECRET, VIRTUAL_SERVER

NEVER = {"bootTime": 86_400}
PAUSE = 0.1


class Agent:
    """The least agent: it joins, polls and reports."""

    def __init__(self, session: aiohttp.ClientSession, endpoint: str, server: str) -> None:
        self._session, self._endpoint, self._server = session, endpoint, server
        self._key = secrets.token_urlsafe(32)
        self._sequence = 0
        self._version = 0
        self.document: Obj = {}

    async def join(self, token: str) -> None:
        """Burn the token."""
        body = {"server": self._server, "token": token, "keyHash": hashlib.sha256(self._key.encode()).hexdigest()}
        async with self._session.post(f"{self._endpoint}/v1/join", json=body) as answer:
            answer.raise_for_status()

    async def poll(self) -> bool:
        """Wait for another revision; True where one came."""
        headers = self._headers()
        if self.document:
            headers["If-None-Match"] = f'"{self.document["revision"]}"'
        async with self._session.get(f"{self._endpoint}/v1/configuration?wait=50", headers=headers) as answer:
            answer.raise_for_status()
            if answer.status == 304:
                return False
            self.document = json.loads(await answer.read())
            return True

    async def report(self, value: str = "") -> None:
        """Post the state: everything of the document is applied, and the output has this value."""
        self._sequence += 1
        self._version += 1
        revision = self.document["revision"]
        steps = [
            {"name": step["name"], "state": "Waiting" if step.get("pending") else "Succeeded", "attempts": 1}
            for step in self.document["steps"]
        ]
        outputs = [{"name": "address", "value": value, "version": self._version}] if value else []
        body: dict[str, Any] = {
            "sequence": self._sequence,
            "deliveredRevision": revision,
            "acknowledgedRevision": revision,
            "ready": all(step["state"] == "Succeeded" for step in steps),
            "outputs": outputs,
            "steps": steps,
        }
        async with self._session.post(f"{self._endpoint}/v1/state", json=body, headers=self._headers()) as answer:
            answer.raise_for_status()

    def _headers(self) -> dict[str, str]:
        return {"Authorization": f"Bearer {self._server}:{self._key}"}


@asynccontextmanager
async def pair(installed: Installation, namespace: str) -> AsyncIterator[tuple[Agent, Agent]]:
    """A provider's and a consumer's agent, both configured as far as they can be."""
    settings = [{"serviceType": "local", "values": {"simulate": NEVER}}]
    step = [{"name": "start", "script": 'exec app "${upstream}"'}]
    output = [{"name": "address", "command": "hostname"}]
    await prepare(
        installed,
        namespace,
        config("db", steps=[{"name": "start", "script": "true"}], outputs=output, settings=settings),
        config("web", configuration=[needs("db")], steps=step, settings=settings),
    )
    await installed.create(namespace, group("pair", POLICY, ("db", "db", 1), ("web", "web", 1)))
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(ssl=await trust(installed))) as session:
        agents = [await _joined(installed, session, namespace, f"pair-{member}-0") for member in ("db", "web")]
        for agent in agents:
            while not agent.document:
                await agent.poll()
        await agents[1].report()
        yield agents[0], agents[1]


async def trust(installed: Installation) -> ssl.SSLContext:
    """What configd's certificate is verified with."""
    url = f"{installed.endpoint}/v1/ca.pem"
    async with aiohttp.ClientSession() as session, session.get(url, ssl=False) as answer:
        return ssl.create_default_context(cadata=await answer.text())


async def _joined(installed: Installation, session: aiohttp.ClientSession, namespace: str, name: str) -> Agent:
    async with asyncio.timeout(60):
        while True:
            try:
                server = await installed.client.get(VIRTUAL_SERVER, namespace, name)
                uid = server["metadata"]["uid"]
                secret = await installed.client.get(SECRET, namespace, uid)
            except NotFound:
                await asyncio.sleep(0.2)
                continue
            agent = Agent(session, installed.endpoint, f"{namespace}/{uid}")
            await agent.join(base64.b64decode(secret["data"]["token"]).decode())
            return agent


async def unblocking(provider: Agent, consumer: Agent, rounds: int) -> list[float]:
    """ms from the POST of a new value to the consumer holding it, one at a time."""
    found: list[float] = []
    for _ in range(rounds):
        value = f"10.0.0.1:{secrets.token_hex(4)}"
        waiting = asyncio.create_task(_until(consumer, value))
        await asyncio.sleep(PAUSE)  # at rest: the long poll is open
        started = time.perf_counter()
        posting = asyncio.create_task(provider.report(value))
        found.append((await waiting - started) * 1000)
        await posting
        await consumer.report()
    return found


async def _until(consumer: Agent, value: str) -> float:
    async with asyncio.timeout(120):
        while True:
            if await consumer.poll() and consumer.document["items"].get("upstream") == value:
                return time.perf_counter()
