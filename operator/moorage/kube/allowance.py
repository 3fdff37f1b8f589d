"""How much of others' objects is kept in memory: for one namespace's policies, and for all of them together.

Where that is too much, the watch that was begun last gives way: of the namespace that has too much, or of the one that
has most. From then on it counts as begun last, so that one that is too large by itself costs others their place once,
and not each time that it is tried again.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from moorage.kube.wanted import Lacks, too_large

NAMESPACE_BYTES: Final = 8 * 1024 * 1024
ALL_BYTES: Final = 64 * 1024 * 1024


class Share:
    """What one watch keeps. ``give_way`` is called with why where it has to forget all of it."""

    def __init__(self, allowance: Allowance, namespace: str, give_way: Callable[[Lacks], None]) -> None:
        self._allowance, self.namespace, self.give_way = allowance, namespace, give_way
        self.bytes = 0

    def keep(self, size: int) -> None:
        """So much it keeps now. Raises Lacks where it has to give way itself; then it keeps nothing."""
        self._allowance.keep(self, size)


class Allowance:
    """All shares, in the order in which they were begun or had to give way."""

    def __init__(self) -> None:
        self._shares: dict[Share, None] = {}
        self._total = 0
        self._by_namespace: dict[str, int] = {}

    def begin(self, namespace: str, give_way: Callable[[Lacks], None]) -> Share:
        """A share for a new watch."""
        share = Share(self, namespace, give_way)
        self._shares[share] = None
        return share

    def end(self, share: Share) -> None:
        """The watch is over."""
        self._count(share, 0)
        self._shares.pop(share, None)

    def keep(self, share: Share, size: int) -> None:
        """See `Share.keep`."""
        if share not in self._shares:
            return
        self._count(share, size)
        while (why := self._excess()) is not None:
            namespace, lacks = why
            last = next(s for s in reversed(self._shares) if s.namespace == namespace and s.bytes)
            self._count(last, 0)
            del self._shares[last]
            self._shares[last] = None
            if last is share:
                raise lacks
            last.give_way(lacks)

    def _excess(self) -> tuple[str, Lacks] | None:
        """The namespace that has too much, and what its last watch is told."""
        most = max(self._by_namespace, key=self._by_namespace.__getitem__, default="")
        if self._by_namespace.get(most, 0) > NAMESPACE_BYTES:
            what = f"what is kept of the objects for the policies of namespace {most} has more than"
            return most, too_large(f"{what} {NAMESPACE_BYTES >> 20} MiB")
        if self._total > ALL_BYTES:
            what = f"what is kept of the objects for all policies has more than {ALL_BYTES >> 20} MiB, most of it for"
            return most, too_large(f"{what} namespace {most}")
        return None

    def _count(self, share: Share, size: int) -> None:
        more = size - share.bytes
        share.bytes = size
        self._total += more
        left = self._by_namespace.get(share.namespace, 0) + more
        if left:
            self._by_namespace[share.namespace] = left
        else:
            self._by_namespace.pop(share.namespace, None)
