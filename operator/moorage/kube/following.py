"""Following others' objects for as long as somebody needs them: one list and watch for all who want the same."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable, Hashable, Iterable
from typing import Final

from moorage.kube.allowance import Allowance
from moorage.kube.backoff import Backoff
from moorage.kube.client import Client
from moorage.kube.discovery import Discovery
from moorage.kube.follower import Follower, Lists
from moorage.kube.wanted import TOO_MANY, Found, Lacking, Wanted

NAMESPACE_WATCHES: Final = 32
ALL_WATCHES: Final = 512

Changed = Callable[[Hashable, int], None]
"""Told of each who wants something that changed, and of about how many bytes it is now."""


class Following:
    """All that is followed now: as much as is needed, at most `NAMESPACE_WATCHES` for the accounts of a namespace.

    Where all together want more than `ALL_WATCHES`, each namespace gets as many as any other.
    """

    def __init__(self, client: Client, changed: Changed, *, controller: str, recheck: float = 60.0) -> None:
        self._client = client
        self._tell_user = changed
        self._controller = controller
        self._recheck = recheck
        self._discovery = Discovery(client)
        self._lists = Lists()
        self._allowance = Allowance()
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
            f"the policies of a namespace follow at most {NAMESPACE_WATCHES} kinds of objects, all together"
            f" {ALL_WATCHES}, of which each namespace has its share; let conditions read the same, or do without some",
        )

    def __len__(self) -> int:
        return len(self._followers)

    def __contains__(self, wanted: Wanted) -> bool:
        return wanted in self._followers

    async def stop(self) -> None:
        """End all watches."""
        tasks = [task for _, task in self._followers.values()]
        for follower, _ in self._followers.values():
            follower.end()
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
            if len(self._followers) >= ALL_WATCHES and not self._make_room(counts, wanted.namespace):
                continue
            counts[wanted.namespace] += 1
            follower = Follower(
                wanted,
                self._client,
                self._discovery,
                self._lists,
                self._allowance,
                self._changed,
                controller=self._controller,
                recheck=self._recheck,
                backoff=Backoff(0.5, 30.0),
            )
            task = asyncio.create_task(follower.run(), name=f"following {wanted.kind}")
            self._followers[wanted] = follower, task

    def _make_room(self, counts: Counter[str], namespace: str) -> bool:
        """End the newest watch of the namespace that has most, unless it has no more than this one would."""
        most, count = counts.most_common(1)[0]
        if count <= counts[namespace] + 1:
            return False
        newest = next(w for w in reversed(self._followers) if w.namespace == most)
        self._end(newest)
        counts[most] -= 1
        self._changed(newest, 0)
        return True

    def _end(self, wanted: Wanted) -> None:
        found = self._followers.pop(wanted, None)
        if found is not None:
            found[0].end()
            found[1].cancel()

    def _changed(self, wanted: Wanted, count: int) -> None:
        for user in tuple(self._users.get(wanted, ())):
            self._tell_user(user, count)
