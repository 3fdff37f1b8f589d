"""Kubernetes Events (core/v1) for people: on transitions, counted when repeated, never in anybody's way.

What is said is the caller's choice; nothing sensitive may be in it.
"""

from __future__ import annotations

import asyncio
import logging
import time
import uuid
from collections import OrderedDict
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Literal

from moorage.api.names import MANAGER_CONTROLLER
from moorage.kube.client import Client
from moorage.kube.errors import KubeError, NotFound
from moorage.kube.kinds import EVENT, Kind
from moorage.kube.lanes import Lane

log = logging.getLogger(__name__)

EventType = Literal["Normal", "Warning"]
_Key = tuple[str, str, str, str]
_MESSAGE_LIMIT = 1024
_AGGREGATE_SECONDS = 600.0
_REMEMBERED = 4096


@dataclass(slots=True)
class _Series:
    """The repetitions of one event; `written` is the count that the API server has (0: not created yet)."""

    body: dict[str, Any]
    name: str
    namespace: str
    count: int
    last: float
    written: int = 0


@dataclass(slots=True)
class _Bucket:
    tokens: float
    at: float


class EventRecorder:
    """`record` only queues; `run()` writes. What does not fit (rate, queue) is dropped, counted and told `on_drop`.

    Each reason of an object has a rate of its own: a storm of replacements must not silence a failover.
    """

    def __init__(
        self,
        client: Client,
        *,
        component: str = MANAGER_CONTROLLER,
        instance: str = "",
        burst: int = 25,
        refill_seconds: float = 300.0,
        queue_limit: int = 1000,
        monotonic: Callable[[], float] = time.monotonic,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
        on_drop: Callable[[], object] = lambda: None,
    ) -> None:
        self.dropped = 0
        self._on_drop = on_drop
        self._client = client.in_lane(Lane.COLD)
        self._component, self._instance = component, instance
        self._burst, self._refill = burst, refill_seconds
        self._limit = queue_limit
        self._monotonic, self._now = monotonic, now
        self._series: OrderedDict[_Key, _Series] = OrderedDict()
        self._buckets: OrderedDict[tuple[str, str], _Bucket] = OrderedDict()
        self._pending: OrderedDict[_Key, _Series] = OrderedDict()
        self._wake = asyncio.Event()
        self._idle = asyncio.Event()
        self._idle.set()

    def record(self, kind: Kind, obj: Mapping[str, Any], type_: EventType, reason: str, message: str) -> None:
        """Say that `reason` (a CamelCase word) happened to `obj`, of which only metadata is used. Never blocks."""
        meta = obj["metadata"]
        message = message if len(message) <= _MESSAGE_LIMIT else message[: _MESSAGE_LIMIT - 1] + "…"
        key: _Key = (meta["uid"], type_, reason, message)
        full = key not in self._pending and len(self._pending) >= self._limit
        if not self._allowed((meta["uid"], reason)) or full:
            self._drop()
            return
        now = self._monotonic()
        series = self._series.get(key)
        if series is None or now - series.last > _AGGREGATE_SECONDS:
            series = self._new_series(kind, meta, type_, reason, message, now)
            self._remember(self._series, key, series)
        series.count += 1
        series.last = now
        series.body["lastTimestamp"] = _timestamp(self._now())
        self._pending[key] = series
        self._idle.clear()
        self._wake.set()

    async def run(self) -> None:
        """Write what is queued, one at a time; returns only by cancellation."""
        while True:
            await self._wake.wait()
            self._wake.clear()
            while self._pending:
                _, series = self._pending.popitem(last=False)
                await self._write(series)
            self._idle.set()

    async def flush(self, deadline: float) -> None:
        """Wait until all is written, at most `deadline` seconds (while `run` runs)."""
        with suppress(TimeoutError):
            async with asyncio.timeout(deadline):
                await self._idle.wait()

    # How

    def _new_series(
        self, kind: Kind, meta: Mapping[str, Any], type_: EventType, reason: str, message: str, now: float
    ) -> _Series:
        # Events about cluster-scoped objects live in the namespace "default", where kubectl looks for them.
        namespace = meta.get("namespace") or "default"
        name = f"{meta['name'][:200]}.{uuid.uuid4().hex[:16]}"
        involved = {"apiVersion": kind.api_version, "kind": kind.kind, "name": meta["name"], "uid": meta["uid"]}
        if meta.get("namespace"):
            involved["namespace"] = meta["namespace"]
        if meta.get("resourceVersion"):
            involved["resourceVersion"] = meta["resourceVersion"]
        stamp = _timestamp(self._now())
        body = {
            "metadata": {"name": name, "namespace": namespace},
            "involvedObject": involved,
            "type": type_,
            "reason": reason,
            "message": message,
            "source": {"component": self._component},
            "reportingComponent": self._component,
            "reportingInstance": self._instance or self._component,
            "firstTimestamp": stamp,
            "lastTimestamp": stamp,
        }
        return _Series(body, name, namespace, count=0, last=now)

    async def _write(self, series: _Series) -> None:
        count = series.count
        body = {**series.body, "count": count}
        try:
            if series.written:
                patch = {"count": count, "lastTimestamp": body["lastTimestamp"]}
                with suppress(NotFound):
                    await self._client.patch(EVENT, series.namespace, series.name, patch)
                    series.written = count
                    return
            await self._client.create(EVENT, body, manager=self._component)
            series.written = count
        except KubeError as error:
            self._drop()
            log.debug("an event was not written: %s", error)

    def _drop(self) -> None:
        self.dropped += 1
        self._on_drop()

    def _allowed(self, what: tuple[str, str]) -> bool:
        now = self._monotonic()
        bucket = self._buckets.get(what)
        if bucket is None:
            bucket = _Bucket(float(self._burst), now)
        bucket.tokens = min(float(self._burst), bucket.tokens + (now - bucket.at) / self._refill)
        bucket.at = now
        self._remember(self._buckets, what, bucket)
        if bucket.tokens < 1:
            return False
        bucket.tokens -= 1
        return True

    @staticmethod
    def _remember(memory: OrderedDict[Any, Any], key: Any, value: Any) -> None:
        memory[key] = value
        memory.move_to_end(key)
        if len(memory) > _REMEMBERED:
            memory.popitem(last=False)


def _timestamp(now: datetime) -> str:
    return now.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
