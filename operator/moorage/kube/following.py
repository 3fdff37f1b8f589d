"""Following others' objects for as long as somebody needs them: one list and watch for all who want the same.

Each is read as the ServiceAccount that it is wanted as, so that account's rights decide; a watch lasts about a minute,
because the API server looks at rights when one begins. Whatever is refused is asked again, at growing intervals.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import random
import time
from collections import Counter
from collections.abc import Callable, Hashable, Iterable
from contextlib import aclosing
from typing import Any, Final

from moorage.kube.backoff import Backoff
from moorage.kube.client import Client, WatchEvent
from moorage.kube.discovery import Discovery
from moorage.kube.errors import BadRequest, Forbidden, Gone, KubeError, NotFound, TooLarge, Unavailable
from moorage.kube.kinds import SERVICE_ACCOUNT, Kind
from moorage.kube.projection import Projection, TooDeep
from moorage.kube.wanted import (
    MAX_ANSWER,
    MAX_BYTES,
    MAX_OBJECTS,
    TOO_MANY,
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

NAMESPACE_WATCHES: Final = 32
ALL_WATCHES: Final = 512
LISTS_AT_ONCE: Final = 4
LIST_SECONDS: Final = 30.0
PATIENCE: Final = 30.0
"""Seconds without an answer of the API server after which what was known is not known any more."""

SHORTEST: Final = 0.5
"""A watch that ends sooner is not begun again at once."""

Changed = Callable[[Hashable, int], None]
"""Told of each who wants something that changed, and of how many objects there are."""


class Follower:
    """One list and watch. Run `run()` as a task."""

    def __init__(
        self,
        wanted: Wanted,
        client: Client,
        discovery: Discovery,
        lists: asyncio.Semaphore,
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
                async with self._lists, asyncio.timeout(LIST_SECONDS):
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
            raise too_large(f"{MAX_ANSWER >> 20} MiB in one answer are not read") from None
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
        size, version = 0, ""
        async with aclosing(self._client.pages(kind, namespace, **self._scope)) as pages:
            async for page in pages:
                version = page.resource_version
                for obj in page.items:
                    kept = objects[_key(obj)] = self._take(kind, obj)
                    size += kept[1]
                    _bound(len(objects), size)
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
        self._heard = time.monotonic()

    def _ingest(self, kind: Kind, event: WatchEvent) -> None:
        self._version = str(event.object["metadata"]["resourceVersion"])
        self._heard = time.monotonic()
        if event.type == "BOOKMARK":
            return
        key = _key(event.object)
        old = self._objects.pop(key, None)
        self._bytes -= old[1] if old is not None else 0
        if event.type == "DELETED":
            if old is not None:
                self._tell()
            return
        new = self._objects[key] = self._take(kind, event.object)
        self._bytes += new[1]
        _bound(len(self._objects), self._bytes)
        if old is None or old[0] != new[0]:
            self._tell()

    def _take(self, kind: Kind, obj: Obj) -> tuple[Obj, int]:
        return self._project({**obj, "apiVersion": kind.api_version, "kind": kind.kind})

    def _kept(self) -> dict[tuple[str, str], Obj]:
        return {key: kept for key, (kept, _) in self._objects.items()}

    def _tell(self) -> None:
        self._revision += 1
        self._changed(self.wanted, len(self._objects))

    def _silent(self, why: str) -> None:
        """Nothing was answered, which for a while changes nothing."""
        if time.monotonic() - self._heard > PATIENCE:
            message = f"{self.wanted.kind} could not be read for {PATIENCE:.0f} s ({why}); it is tried again"
            self._lose(Lacking(UNAVAILABLE, message))

    def _lose(self, lacking: Lacking) -> None:
        """What was known is not known any more, and nothing of it is kept."""
        self._objects, self._bytes, self._version = {}, 0, None
        if lacking != self._lacking:
            self._lacking = lacking
            log.info("following %s for %s: %s", self.wanted.kind, self.wanted.namespace, lacking.reason)
            self._tell()


def _key(obj: Obj) -> tuple[str, str]:
    meta = obj["metadata"]
    return str(meta.get("namespace") or ""), str(meta["name"])


def _bound(count: int, size: int) -> None:
    if count > MAX_OBJECTS:
        raise too_large(f"there are more than {MAX_OBJECTS} objects")
    if size > MAX_BYTES:
        raise too_large(f"what is read of the objects has more than {MAX_BYTES >> 20} MiB")


class Following:
    """All that is followed now: as much as is needed, at most `NAMESPACE_WATCHES` for the accounts of a namespace."""

    def __init__(self, client: Client, changed: Changed, *, controller: str, recheck: float = 60.0) -> None:
        self._client = client
        self._tell_user = changed
        self._controller = controller
        self._recheck = recheck
        self._discovery = Discovery(client)
        self._lists = asyncio.Semaphore(LISTS_AT_ONCE)
        self._users: dict[Wanted, dict[Hashable, None]] = {}
        self._needs: dict[Hashable, dict[Wanted, None]] = {}
        self._followers: dict[Wanted, tuple[Follower, asyncio.Task[None]]] = {}

    def need(self, user: Hashable, wanted: Iterable[Wanted]) -> None:
        """All that `user` needs from now on; what nobody needs any more is not followed any longer."""
        before, now = self._needs.pop(user, {}), dict.fromkeys(wanted)
        if now:
            self._needs[user] = now
        if now.keys() == before.keys():
            return
        for gone in before.keys() - now.keys():
            del self._users[gone][user]
            if not self._users[gone]:
                del self._users[gone]
                self._end(gone)
        for new in now:
            self._users.setdefault(new, {})[user] = None
        self._begin()

    def seen(self, wanted: Wanted) -> Found | Lacking | None:
        """What is known of what somebody needs; None until the first answer."""
        follower = self._followers.get(wanted)
        if follower is not None:
            return follower[0].seen
        return Lacking(
            TOO_MANY,
            f"the policies of a namespace follow at most {NAMESPACE_WATCHES} kinds of objects,"
            f" all together {ALL_WATCHES}; let conditions read the same, or do without some",
        )

    def __len__(self) -> int:
        return len(self._followers)

    def __contains__(self, wanted: Wanted) -> bool:
        return wanted in self._followers

    async def stop(self) -> None:
        """End all watches."""
        tasks = [task for _, task in self._followers.values()]
        self._followers.clear()
        self._users.clear()
        self._needs.clear()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def _begin(self) -> None:
        """Follow what is needed and not followed yet, as far as there is room."""
        if len(self._users) == len(self._followers):
            return
        counts = Counter(wanted.namespace for wanted in self._followers)
        for wanted in self._users:
            if wanted in self._followers or counts[wanted.namespace] >= NAMESPACE_WATCHES:
                continue
            if len(self._followers) >= ALL_WATCHES:
                return
            counts[wanted.namespace] += 1
            follower = Follower(
                wanted,
                self._client,
                self._discovery,
                self._lists,
                self._changed,
                controller=self._controller,
                recheck=self._recheck,
                backoff=Backoff(0.5, 30.0),
            )
            task = asyncio.create_task(follower.run(), name=f"following {wanted.kind}")
            self._followers[wanted] = follower, task

    def _end(self, wanted: Wanted) -> None:
        with contextlib.suppress(KeyError):
            self._followers.pop(wanted)[1].cancel()

    def _changed(self, wanted: Wanted, count: int) -> None:
        for user in tuple(self._users.get(wanted, ())):
            self._tell_user(user, count)
