"""Exponential waiting with jitter."""

from __future__ import annotations

import random


class Backoff:
    """`next()` gives `base`, 2·base, ... up to `limit` seconds, each times a random factor between 0.5 and 1."""

    def __init__(self, base: float, limit: float, *, rng: random.Random | None = None) -> None:
        self._base = base
        self._limit = limit
        self._failures = 0
        self._rng = rng or random.Random()  # noqa: S311 - jitter, not security

    def next(self) -> float:
        """Seconds to wait after one more failure."""
        self._failures += 1
        return backoff_delay(self._base, self._limit, self._failures) * self._rng.uniform(0.5, 1.0)

    def reset(self) -> None:
        """Something worked."""
        self._failures = 0


def backoff_delay(base: float, limit: float, failures: int) -> float:
    """Seconds, without jitter, after `failures` failures in a row (at least 1)."""
    return min(limit, base * float(2 ** min(failures - 1, 32)))
