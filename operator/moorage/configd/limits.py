"""Bounds of what one source or one server may ask for."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Hashable
from dataclasses import dataclass


@dataclass(slots=True)
class _Bucket:
    tokens: float
    at: float


class Buckets:
    """A token bucket per key; the least recently used are forgotten, so that strangers cannot fill the memory."""

    def __init__(self, burst: float, per_second: float, clock: Callable[[], float], keys: int = 16384) -> None:
        self._burst, self._rate, self._clock, self._limit = burst, per_second, clock, keys
        self._buckets: OrderedDict[Hashable, _Bucket] = OrderedDict()

    def take(self, key: Hashable) -> bool:
        """Take one token; False where there is none."""
        bucket = self._refilled(key)
        if bucket.tokens < 1:
            return False
        bucket.tokens -= 1
        return True

    def has(self, key: Hashable) -> bool:
        """Whether `take` would succeed."""
        return key not in self._buckets or self._refilled(key).tokens >= 1

    def _refilled(self, key: Hashable) -> _Bucket:
        now = self._clock()
        bucket = self._buckets.get(key)
        if bucket is None:
            bucket = self._buckets[key] = _Bucket(self._burst, now)
            if len(self._buckets) > self._limit:
                self._buckets.popitem(last=False)
            return bucket
        self._buckets.move_to_end(key)
        bucket.tokens = min(self._burst, bucket.tokens + (now - bucket.at) * self._rate)
        bucket.at = now
        return bucket
