"""A light agent: joins, waits for configurations and reports, as the real one does, for a server that is simulated.

What it sends, when, and over how many connections is as with the real agent, so that what is measured with it holds:
a long poll on one connection, reports on another, each report the whole state, and only when it changed.
"""

from __future__ import annotations

import asyncio
import json
import logging
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from moorage.api.channel import PATH_CONFIGURATION, PATH_JOIN, PATH_STATE, Document
from moorage.api.hostd import SimulateSettings
from moorage.hostd.simulate.guest import Facts, Guest
from moorage.hostd.simulate.memory import Memory
from moorage.hostd.simulate.network import Channel, Network
from moorage.hostd.simulate.userdata import UserData, parse
from moorage.hostd.simulate.wire import Answer, WireError

log = logging.getLogger(__name__)
WAIT = 55
MARGIN = 20.0
TIMEOUT = 20.0
COALESCE = 0.01
LAZY = 0.5
LINGER = 5.0
REFUSED = frozenset({401, 409, 410})


class Backoff:
    """Growing waits with jitter, so that a thousand agents do not come back at once."""

    def __init__(self, first: float = 0.25, cap: float = 30.0) -> None:
        self._first, self._cap, self._next = first, cap, first

    def reset(self) -> None:
        """Start small again."""
        self._next = self._first

    async def wait(self, at_least: float = 0.0) -> None:
        """Wait for the next while."""
        seconds = max(at_least, self._next * random.uniform(0.5, 1.0))  # noqa: S311 - jitter
        self._next = min(self._cap, self._next * 2)
        await asyncio.sleep(seconds)


class Agent:
    """The agent of one simulated server. Needs a running event loop."""

    def __init__(
        self,
        user_data: UserData,
        facts: Facts,
        settings: SimulateSettings,
        memory: Memory,
        network: Network,
        ran: Callable[[str, dict[str, str]], None] | None = None,
    ) -> None:
        self._user_data = user_data
        self._memory = memory
        self._roots = network.roots(user_data.pin, memory.bundle)
        self._poll_channel = Channel(self._roots, user_data.urls, self._learned)
        self._report_channel = Channel(self._roots, user_data.urls, self._learned)
        self._away = Backoff()
        self._refused_wait = Backoff(first=1.0, cap=300.0)
        self._report_wait = Backoff()
        self._facts, self._settings, self._ran = facts, settings, ran
        self._guest: Guest | None = None
        self._accepted: dict[str, Any] | None = None
        self._refused: dict[str, Any] | None = None
        self._poller: asyncio.Task[None] | None = None
        self._reporter: asyncio.Task[None] | None = None
        self._urgent = asyncio.Event()
        self._linger: asyncio.TimerHandle | None = None

    def start(self) -> None:
        """Begin."""
        self._guest = Guest(self._facts, self._settings, self._memory, self._changed, self._ran)
        self._poller = asyncio.create_task(self._poll_forever())
        if self._guest.revision:
            self._changed()

    async def stop(self) -> None:
        """End at once, as by a power cut. Repeating is harmless."""
        if self._guest is not None:
            self._guest.stop()
        tasks = [task for task in (self._poller, self._reporter) if task is not None]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        if self._linger is not None:
            self._linger.cancel()
        self._poll_channel.close()
        self._report_channel.close()

    def _learned(self) -> None:
        self._memory.bundle = self._roots.bundle
        self._memory.save()

    def _authorization(self) -> dict[str, str]:
        return {"Authorization": f"Bearer {self._user_data.server}:{self._memory.key}"}

    # -- joining and polling -----------------------------------------------------------------------------------------

    async def _poll_forever(self) -> None:
        while True:
            try:
                await (self._poll() if self._memory.joined else self._join())
            except WireError as error:
                log.debug("%s: %s", self._user_data.server, error)
                await self._away.wait()

    async def _join(self) -> None:
        body = {
            "server": self._user_data.server,
            "token": self._user_data.token,
            "keyHash": self._memory.key_hash(),
        }
        headers = {"Content-Type": "application/json"}
        answer = await self._poll_channel.request("POST", PATH_JOIN, headers, json.dumps(body).encode(), TIMEOUT)
        if answer.status == 200:
            self._reset()
            self._memory.joined = True
            self._memory.save()
            return
        await self._was_refused(answer)

    async def _poll(self) -> None:
        assert self._guest is not None  # noqa: S101 - for the type checker
        headers = self._authorization()
        if self._guest.revision:
            headers["If-None-Match"] = f'"{self._guest.revision}"'
        path = f"{PATH_CONFIGURATION}?wait={WAIT}"
        answer = await self._poll_channel.request("GET", path, headers, b"", WAIT + MARGIN)
        if answer.status == 304:
            self._reset()
            return
        if answer.status == 200:
            try:
                document = Document.model_validate_json(answer.body)
            except ValidationError:
                await self._away.wait()
                return
            self._reset()
            self._guest.deliver(document)
            return
        if answer.status == 401:
            self._memory.joined = False  # with the same key, joining again is harmless
        await self._was_refused(answer)

    async def _was_refused(self, answer: Answer) -> None:
        log.debug("%s: refused with %d", self._user_data.server, answer.status)
        wait = self._refused_wait if answer.status in REFUSED else self._away
        await wait.wait(_retry_after(answer))

    def _reset(self) -> None:
        self._away.reset()
        self._refused_wait.reset()

    # -- reporting -----------------------------------------------------------------------------------------------------

    def _changed(self) -> None:
        self._urgent.set()
        if self._reporter is None or self._reporter.done():
            self._reporter = asyncio.create_task(self._report())

    async def _report(self) -> None:
        """Report until there is nothing new; changes that others wait for wait for company only shortly."""
        assert self._guest is not None  # noqa: S101 - for the type checker
        loop = asyncio.get_running_loop()
        lazy_at = loop.time() + LAZY
        urgent_at: float | None = None
        while True:
            self._urgent.clear()
            state = self._guest.state()
            if not self._guest.revision or state in (self._accepted, self._refused):
                return
            if urgent_at is None and is_urgent(self._accepted, state):
                urgent_at = loop.time() + COALESCE
            left = min(lazy_at, urgent_at if urgent_at is not None else lazy_at) - loop.time()
            if left > 0:
                await self._wait_for_change(left)
                continue
            await self._post(state)
            lazy_at, urgent_at = loop.time() + LAZY, None

    async def _wait_for_change(self, seconds: float) -> None:
        try:
            async with asyncio.timeout(seconds):
                await self._urgent.wait()
        except TimeoutError:
            return

    async def _post(self, state: dict[str, Any]) -> None:
        memory = self._memory
        memory.sequence += 1
        memory.save()
        headers = {**self._authorization(), "Content-Type": "application/json"}
        body = json.dumps({**state, "sequence": memory.sequence}, separators=(",", ":")).encode()
        if self._linger is not None:
            self._linger.cancel()
        try:
            answer = await self._report_channel.request("POST", PATH_STATE, headers, body, TIMEOUT)
        except WireError as error:
            log.debug("%s: state not posted: %s", self._user_data.server, error)
            await self._report_wait.wait()
            return
        self._linger = asyncio.get_running_loop().call_later(LINGER, self._report_channel.close)
        if answer.status == 200:
            self._accepted, self._refused = state, None
            self._report_wait.reset()
            return
        if answer.status == 409 and self._jump(answer):
            return
        if answer.status in {413, 422}:
            self._refused = state  # the same again would be refused again
        await self._report_wait.wait(_retry_after(answer))

    def _jump(self, answer: Answer) -> bool:
        """Go on from the sequence that configd knows; False where it tells none that helps."""
        try:
            known = json.loads(answer.body)["sequence"]
        except (ValueError, KeyError, TypeError):
            return False
        if not isinstance(known, int) or known < self._memory.sequence:
            return False
        self._memory.sequence = known
        return True


def is_urgent(before: dict[str, Any] | None, after: dict[str, Any]) -> bool:
    """Whether somebody may wait for this change: an output, an acknowledgement, the readiness, a failure."""
    if before is None:
        return bool(after["outputs"]) or after["acknowledgedRevision"] > 0
    if any(before[name] != after[name] for name in ("acknowledgedRevision", "ready", "outputs")):
        return True
    failed = [{step["name"] for step in state["steps"] if step["state"] == "Failed"} for state in (before, after)]
    return failed[0] != failed[1]


def _retry_after(answer: Answer) -> float:
    text = answer.headers.get("retry-after", "")
    return min(float(text), 3600.0) if text.isascii() and text.isdigit() else 0.0


def start_agent(
    user_data: str,
    state: Path,
    settings: SimulateSettings | None = None,
    ran: Callable[[str, dict[str, str]], None] | None = None,
) -> Agent:
    """Start an agent that keeps its state in a directory; `Agent.stop` ends it, and starting it again goes on where
    it was. `ran`: see `Guest`. Raises UserDataError and OSError."""
    parsed = parse(user_data)
    facts = Facts(name=parsed.server, address="", id="")
    agent = Agent(parsed, facts, settings or SimulateSettings(), Memory.load(state), Network(), ran)
    agent.start()
    return agent
