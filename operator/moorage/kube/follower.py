"""Following others' objects for one who wants them: a list, then a watch, and again, for as long as it is run.

They are read as the ServiceAccount that they are wanted as, so that account's rights decide; a watch lasts about a
minute, because the API server looks at rights when one begins. Whatever is refused is asked again, at growing
intervals.
"""

from __future__ import annotations

import asyncio
import logging
import random
import time
from collections.abc import AsyncIterator, Callable
from contextlib import aclosing, asynccontextmanager
from typing import Any, Final
from weakref import WeakValueDictionary

from moorage.kube.allowance import Allowance
from moorage.kube.answers import WatchEvent
from moorage.kube.backoff import Backoff
from moorage.kube.client import Client
from moorage.kube.discovery import Discovery
from moorage.kube.errors import BadRequest, Forbidden, Gone, KubeError, NotFound, TooLarge, Unavailable
from moorage.kube.kinds import SERVICE_ACCOUNT, Kind
from moorage.kube.projection import Projection, TooDeep
from moorage.kube.wanted import (
    MAX_ANSWER,
    MAX_OBJECTS,
    PAGE,
    UNAVAILABLE,
    WRONG_SCOPE,
    Found,
    Lacking,
    Lacks,
    Obj,
    Wanted,
    forbidden,
    no_account,
    no_impersonation,
    no_kind,
    not_watchable,
    scope,
    too_large,
)

log = logging.getLogger(__name__)

LISTS_AT_ONCE: Final = 4
"""Over all namespaces; of one, one."""
LIST_SECONDS: Final = 30.0
PATIENCE: Final = 30.0
"""Seconds without an answer of the API server after which what was known is not known any more."""
SHORTEST: Final = 0.5
"""A watch that ends sooner is not begun again at once."""


class Lists:
    """Turns at listing: what is listed is for a moment all in memory."""

    def __init__(self) -> None:
        self._all = asyncio.Semaphore(LISTS_AT_ONCE)
        self._namespaces: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()

    @asynccontextmanager
    async def turn(self, namespace: str) -> AsyncIterator[None]:
        """One at a time of each namespace."""
        own = self._namespaces.get(namespace)
        if own is None:
            own = self._namespaces[namespace] = asyncio.Lock()
        async with own, self._all:
            yield


class Follower:
    """One list and watch. Run `run()` as a task."""

    def __init__(
        self,
        wanted: Wanted,
        client: Client,
        discovery: Discovery,
        lists: Lists,
        allowance: Allowance,
        changed: Callable[[Wanted, int], None],
        *,
        controller: str,
        recheck: float,
        backoff: Backoff,
    ) -> None:
        self.wanted = wanted
        self._own = client
        self._client = client.acting_as(wanted.namespace, wanted.account, most=MAX_ANSWER)
        self._discovery, self._lists, self._changed = discovery, lists, changed
        self._controller, self._recheck, self._backoff = controller, recheck, backoff
        self._project = Projection(wanted.paths)
        self._scope: dict[str, Any] = {
            "labels": wanted.labels,
            "fields": f"metadata.name={wanted.name}" if wanted.name else "",
            "metadata_only": self._project.metadata_only,
        }
        self._objects: dict[tuple[str, str], tuple[Obj, int]] = {}
        self._bytes = 0
        self._allowance, self._share = allowance, allowance.begin(wanted.namespace, self._give_way)
        self._refused: Lacks | None = None
        self._version: str | None = None
        self._revision = 0
        self._lacking: Lacking | None = None
        self._answered = False
        self._heard = time.monotonic()

    @property
    def seen(self) -> Found | Lacking | None:
        """What is known now; None until the first answer."""
        if self._lacking is not None:
            return self._lacking
        if not self._answered:
            return None
        return Found(tuple(self._objects[key][0] for key in sorted(self._objects)), self._revision)

    def end(self) -> None:
        """It is not needed any more, and keeps nothing."""
        self._allowance.end(self._share)

    async def run(self) -> None:
        """List, watch, and begin again where that ends; returns only by cancellation."""
        while True:
            started = time.monotonic()
            try:
                await self._cycle()
                if time.monotonic() - started > SHORTEST:
                    self._backoff.reset()
                    continue
            except Lacks as error:
                self._lose(error.lacking)
            except Gone:
                self._version = None
            except KubeError as error:
                self._silent(type(error).__name__)
            except Exception as error:  # noqa: BLE001 - it must not end; its text may quote an object, so no traceback
                log.error("following %s: %s", self.wanted.kind, type(error).__name__)
                self._version = None
                self._silent(type(error).__name__)
            await asyncio.sleep(self._backoff.next())

    async def _cycle(self) -> None:
        await self._check_account()
        resource = await self._discovery.find(self.wanted.api_version, self.wanted.kind)
        if resource is None:
            raise no_kind(self.wanted)
        if not resource.watchable:
            raise not_watchable(self.wanted)
        kind, namespace = resource.kind, scope(self.wanted, resource.kind)
        verb = "list"
        try:
            if self._version is None:
                async with self._lists.turn(self.wanted.namespace), asyncio.timeout(LIST_SECONDS):
                    await self._list(kind, namespace)
            verb = "watch"
            await self._watch(kind, namespace)
        except Forbidden:
            raise forbidden(self.wanted, kind, namespace, verb) from None
        except NotFound:
            self._discovery.forget(self.wanted.api_version)
            raise no_kind(self.wanted) from None
        except BadRequest:
            raise Lacks(WRONG_SCOPE, "the API server does not take the selector; correct it") from None
        except TooLarge:
            raise too_large(f"an object of more than {MAX_ANSWER >> 20} MiB is not read") from None
        except TooDeep as error:
            raise too_large(f"an object has {error}") from None
        except TimeoutError:
            raise Unavailable(0, "Timeout", "the list took too long") from None

    async def _check_account(self) -> None:
        """Its rights outlive an account that is deleted, but nobody means them to be used."""
        try:
            await self._own.get(SERVICE_ACCOUNT, self.wanted.namespace, self.wanted.account, metadata_only=True)
        except NotFound:
            raise no_account(self.wanted) from None
        except Forbidden:
            raise no_impersonation(self.wanted, self._controller) from None

    async def _list(self, kind: Kind, namespace: str | None) -> None:
        objects: dict[tuple[str, str], tuple[Obj, int]] = {}
        size, version, self._refused = 0, "", None
        async with aclosing(self._client.pages(kind, namespace, limit=PAGE, **self._scope)) as pages:
            async for page in pages:
                version = page.resource_version
                for obj in page.items:
                    kept = objects[_key(obj)] = self._take(kind, obj)
                    size += kept[1]
                    _bound(len(objects))
                del page  # whole objects; the next page is read before this name is used again
                self._keep(max(size, self._bytes))
        self._keep(size)
        before = self._lacking, self._answered, self._kept()
        self._objects, self._bytes, self._version = objects, size, version
        self._lacking, self._answered, self._heard = None, True, time.monotonic()
        if before != (None, True, self._kept()):
            self._tell()

    async def _watch(self, kind: Kind, namespace: str | None) -> None:
        # Spread over time, so that all watches do not end together.
        seconds = self._recheck * random.uniform(1.0, 1.5)  # noqa: S311 - jitter, not security
        version = self._version or ""
        events = self._client.watch(kind, namespace, resource_version=version, duration=seconds, **self._scope)
        async with aclosing(events):
            async for event in events:
                self._ingest(kind, event)
        if self._refused is not None:
            raise self._refused
        self._heard = time.monotonic()

    def _ingest(self, kind: Kind, event: WatchEvent) -> None:
        if self._refused is not None:
            raise self._refused
        self._version = str(event.object["metadata"]["resourceVersion"])
        self._heard = time.monotonic()
        if event.type == "BOOKMARK":
            return
        key = _key(event.object)
        old = self._objects.pop(key, None)
        self._bytes -= old[1] if old is not None else 0
        if event.type == "DELETED":
            if old is not None:
                self._keep(self._bytes)
                self._tell()
            return
        new = self._objects[key] = self._take(kind, event.object)
        self._bytes += new[1]
        _bound(len(self._objects))
        self._keep(self._bytes)
        if old is None or old[0] != new[0]:
            self._tell()

    def _take(self, kind: Kind, obj: Obj) -> tuple[Obj, int]:
        return self._project({**obj, "apiVersion": kind.api_version, "kind": kind.kind})

    def _kept(self) -> dict[tuple[str, str], Obj]:
        return {key: kept for key, (kept, _) in self._objects.items()}

    def _tell(self) -> None:
        self._revision += 1
        self._changed(self.wanted, self._bytes)

    def _keep(self, size: int) -> None:
        """So much is kept now. Raises Lacks where it had, or has, to give way."""
        if self._refused is not None:
            raise self._refused
        self._share.keep(size)

    def _give_way(self, why: Lacks) -> None:
        """Another one needs the room; the task finds out at its next step, and asks again after a while."""
        self._refused = why
        self._lose(why.lacking)

    def _silent(self, why: str) -> None:
        """Nothing was answered, which for a while changes nothing."""
        if time.monotonic() - self._heard > PATIENCE:
            message = f"{self.wanted.kind} could not be read for {PATIENCE:.0f} s ({why}); it is tried again"
            self._lose(Lacking(UNAVAILABLE, message))

    def _lose(self, lacking: Lacking) -> None:
        """What was known is not known any more, and nothing of it is kept."""
        self._objects, self._bytes, self._version = {}, 0, None
        self._share.keep(0)
        if lacking != self._lacking:
            self._lacking = lacking
            log.info("following %s for %s: %s", self.wanted.kind, self.wanted.namespace, lacking.reason)
            self._tell()


def _key(obj: Obj) -> tuple[str, str]:
    meta = obj["metadata"]
    return str(meta.get("namespace") or ""), str(meta["name"])


def _bound(count: int) -> None:
    if count > MAX_OBJECTS:
        raise too_large(f"there are more than {MAX_OBJECTS} objects")
