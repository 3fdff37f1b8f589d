"""Who acts: one Lease, whose deadline the holder checks on a clock that no one can set.

The holder believes in its lease only until `duration` minus a margin after it *sent* its last successful renewal;
others take over only when they saw no renewal for the whole `duration`. So a process that was stopped, suspended or cut
off finds its deadline passed before anything it does can meet its successor's work, whatever the wall clock says.
"""

from __future__ import annotations

import asyncio
import logging
import os
import random
import socket
import time
import uuid
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

from moorage.api.names import LEASE_CONTROLLER
from moorage.kube.client import Client
from moorage.kube.errors import AlreadyExists, Conflict, KubeError, NotFound, NotLeader
from moorage.kube.kinds import LEASE
from moorage.kube.lanes import Lane

log = logging.getLogger(__name__)

Obj = dict[str, Any]


def steady_seconds() -> float:
    """A clock that no one sets and that, where the system has one, also counts while the machine is suspended."""
    clock = getattr(time, "CLOCK_BOOTTIME", None)
    return time.monotonic() if clock is None else time.clock_gettime(clock)


def default_identity() -> str:
    """`<host>_<pid>_<random>`: another one for each process."""
    return f"{socket.gethostname()}_{os.getpid()}_{uuid.uuid4().hex[:8]}"


class LeaderLease:
    """Acquire, renew, and know whether we hold it. Run `run()` as a task and `release()` at a clean stop.

    A process that starts with the identity of the present holder takes over at once: only for a restart of that holder.
    """

    def __init__(
        self,
        client: Client,
        namespace: str,
        *,
        name: str = LEASE_CONTROLLER,
        identity: str | None = None,
        duration: float = 15.0,
        renew: float = 5.0,
        retry: float = 2.0,
        steady: Callable[[], float] = steady_seconds,
        on_change: Callable[[bool], None] | None = None,
    ) -> None:
        if not 0 < retry <= renew < duration * 0.8:
            raise ValueError("a lease needs retry <= renew < 0.8 * duration")
        self.identity = identity or default_identity()
        self.name = name
        self.namespace = namespace
        self.terms = 0
        # Ahead of all other writes: a busy controller must not lose its lease to its own queue.
        self._client = client.unguarded().in_lane(Lane.URGENT)
        self._duration, self._renew, self._retry = duration, renew, retry
        self._steady = steady
        self._on_change = on_change
        self._deadline: float | None = None
        self._lease: Obj | None = None
        self._seen: tuple[str, float] = ("", 0.0)
        self._told = False
        self._changed = asyncio.Event()

    def held(self) -> bool:
        """True until the deadline of the last renewal that is known to have succeeded."""
        return self.remaining() > 0

    def remaining(self) -> float:
        """Seconds until the deadline; 0 when not held."""
        return 0.0 if self._deadline is None else max(0.0, self._deadline - self._steady())

    def guard(self) -> None:
        """Raise NotLeader unless held. To be called directly before each outward call."""
        if not self.held():
            raise NotLeader(f"{self.identity} does not hold the lease {self.namespace}/{self.name}")

    async def wait_held(self) -> None:
        """Return as soon as the lease is held."""
        while not self.held():
            await self._next_change(None)

    async def wait_lost(self) -> None:
        """Return as soon as the lease is not held (any more)."""
        while (left := self.remaining()) > 0:
            await self._next_change(left)

    async def run(self) -> None:
        """Acquire and renew for ever; returns only by cancellation. Failures are retried, loss is only reported."""
        while True:
            wait = await self.step()
            await asyncio.sleep(wait)

    async def step(self) -> float:
        """One attempt to acquire or renew; gives the seconds to wait before the next."""
        try:
            async with asyncio.timeout(self._duration / 4):
                holding = await self._attempt()
        except (KubeError, TimeoutError) as error:
            log.warning("lease %s/%s: %s", self.namespace, self.name, str(error) or "no answer in time")
            holding = False
        self._report()
        if holding:
            return self._renew
        retry = self._retry * random.uniform(0.8, 1.2)  # noqa: S311 - jitter, not security
        return min(retry, self.remaining() / 4) if self.held() else retry

    async def release(self) -> None:
        """Give the lease up, so that another need not wait; acting ends here in any case."""
        lease, mine = self._lease, self.held()
        self._deadline = None
        self._report()
        if not mine or lease is None:
            return
        spec = {key: value for key, value in lease["spec"].items() if key != "holderIdentity"}
        try:
            async with asyncio.timeout(self._retry):
                await self._client.update(LEASE, {**lease, "spec": {**spec, "renewTime": _micro_time()}})
        except (KubeError, TimeoutError) as error:
            log.warning(
                "lease %s/%s was not released: %s", self.namespace, self.name, str(error) or "no answer in time"
            )

    # How

    async def _attempt(self) -> bool:
        if self._lease is None or not self._is_ours(self._lease):
            self._lease = await self._read()
        sent = self._steady()
        try:
            if self._lease is None:
                self._lease = await self._client.create(LEASE, self._first())
            elif self._is_ours(self._lease) or self._expired(self._lease):
                self._lease = await self._client.update(LEASE, self._next(self._lease))
            else:
                return False
        except (AlreadyExists, Conflict, NotFound):
            self._lease = None  # somebody wrote it: look again at the next attempt
            return False
        self._deadline = sent + self._duration * 0.8
        return True

    async def _read(self) -> Obj | None:
        try:
            lease = await self._client.get(LEASE, self.namespace, self.name)
        except NotFound:
            return None
        version = lease["metadata"]["resourceVersion"]
        if version != self._seen[0]:
            self._seen = (version, self._steady())
        return lease

    def _is_ours(self, lease: Obj) -> bool:
        return bool((lease.get("spec") or {}).get("holderIdentity") == self.identity)

    def _expired(self, lease: Obj) -> bool:
        spec = lease.get("spec") or {}
        if not spec.get("holderIdentity"):
            return True
        duration = float(spec.get("leaseDurationSeconds") or self._duration)
        return self._steady() - self._seen[1] >= duration

    def _first(self) -> Obj:
        now = _micro_time()
        spec = {"acquireTime": now, "leaseTransitions": 0, **self._terms(now)}
        return {"metadata": {"name": self.name, "namespace": self.namespace}, "spec": spec}

    def _next(self, lease: Obj) -> Obj:
        now, spec = _micro_time(), dict(lease.get("spec") or {})
        if not self._is_ours(lease):
            spec |= {"acquireTime": now, "leaseTransitions": int(spec.get("leaseTransitions") or 0) + 1}
        return {**lease, "spec": spec | self._terms(now)}

    def _terms(self, now: str) -> Obj:
        whole = max(1, -int(-self._duration // 1))
        return {"holderIdentity": self.identity, "leaseDurationSeconds": whole, "renewTime": now}

    def _report(self) -> None:
        held = self.held()
        if held == self._told:
            return
        self._told = held
        if held:
            self.terms += 1
        told = "holding" if held else "no longer holding"
        log.info("%s the lease %s/%s as %s", told, self.namespace, self.name, self.identity)
        self._changed.set()
        self._changed = asyncio.Event()
        if self._on_change is not None:
            self._on_change(held)

    async def _next_change(self, seconds: float | None) -> None:
        try:
            async with asyncio.timeout(seconds):
                await self._changed.wait()
        except TimeoutError:
            self._report()


def _micro_time() -> str:
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
