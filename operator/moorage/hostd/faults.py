"""What hostd does wrong because it was told to (`/v1/faults`)."""

from __future__ import annotations

import asyncio
import random
from dataclasses import dataclass
from enum import Enum

from moorage.api.hostd import FaultKind, Faults, NextErrors, Operation, Throttle
from moorage.hostd.refusals import Refusal


class Mischief(Enum):
    """A wrong answer that is no refusal."""

    GARBAGE = FaultKind.GARBAGE.value
    HUGE = FaultKind.HUGE.value
    HANG = FaultKind.HANG.value
    CUT = FaultKind.CUT.value


_REFUSALS = {
    FaultKind.INTERNAL: (500, "Internal", "told to fail"),
    FaultKind.UNAVAILABLE: (503, "Unavailable", "told to be unavailable"),
    FaultKind.THROTTLED: (429, "Throttled", "told to throttle"),
    FaultKind.UNAUTHORIZED: (401, "Unauthorized", "told to refuse the token"),
    FaultKind.INSUFFICIENT_CAPACITY: (507, "InsufficientCapacity", "told to be full"),
    FaultKind.QUOTA_EXCEEDED: (403, "QuotaExceeded", "told that the quota is used up"),
    FaultKind.BARE_NOT_FOUND: (404, "NoSuchRoute", "told to know no such path"),
}


@dataclass(slots=True)
class _Bucket:
    settings: Throttle
    tokens: float
    filled: float

    def take(self, now: float) -> bool:
        self.tokens += (now - self.filled) * self.settings.requests_per_second
        self.tokens = min(self.tokens, float(self.settings.burst))
        self.filled = now
        if self.tokens < 1:
            return False
        self.tokens -= 1
        return True


class FaultState:
    """The faults in force and what is left of those that are counted."""

    def __init__(self, seed: int = 0) -> None:
        self.now = Faults()
        self._random = random.Random(seed)  # noqa: S311 - dice for tests, not secrets
        self._bucket: _Bucket | None = None

    def set(self, faults: Faults) -> None:
        """Replace all faults."""
        self.now = faults
        clock = asyncio.get_running_loop().time()
        self._bucket = _Bucket(faults.throttle, float(faults.throttle.burst), clock) if faults.throttle else None

    async def before(self, operation: Operation) -> Mischief | None:
        """Called before a call does its work: may wait, raise a Refusal, or order a wrong answer."""
        if self.now.latency:
            await asyncio.sleep(self.now.latency)
        if self.now.revoked:
            raise Refusal(401, "Unauthorized", "the token was revoked")
        if self._bucket is not None and not self._bucket.take(asyncio.get_running_loop().time()):
            after = self._bucket.settings.retry_after
            raise Refusal(429, "Throttled", "too many requests", retry_after=after)
        kind = self._next_error(operation)
        if kind is not None:
            return _answer(kind)
        if self.now.error_rate and self._random.random() < self.now.error_rate:
            return _answer(FaultKind.INTERNAL)
        return None

    def loses_answer(self, operation: Operation) -> bool:
        """Called after a call did its work: whether its answer is lost."""
        if not self.now.lose_answers or operation not in self.now.lose_operations:
            return False
        self.now = self.now.model_copy(update={"lose_answers": self.now.lose_answers - 1})
        return True

    def _next_error(self, operation: Operation) -> FaultKind | None:
        left: list[NextErrors] = []
        kind: FaultKind | None = None
        for errors in self.now.next_errors:
            if kind is not None or (errors.operations and operation not in errors.operations):
                left.append(errors)
            elif errors.skip:
                left.append(errors.model_copy(update={"skip": errors.skip - 1}))
            else:
                kind = errors.kind
                if errors.count > 1:
                    left.append(errors.model_copy(update={"count": errors.count - 1}))
        if self.now.next_errors:
            self.now = self.now.model_copy(update={"next_errors": tuple(left)})
        return kind


def _answer(kind: FaultKind) -> Mischief:
    refusal = _REFUSALS.get(kind)
    if refusal is None:
        return Mischief(kind.value)
    status, reason, message = refusal
    raise Refusal(status, reason, message, retry_after=1.0 if status == 429 else None)
