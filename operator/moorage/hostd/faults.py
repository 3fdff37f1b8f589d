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
    FaultKind.INVALID: (400, "Invalid", "told to refuse the request"),
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
        errors = self._next_error(operation, after=False)
        if errors is not None:
            return _answer(errors)
        if self.now.error_rate and self._random.random() < self.now.error_rate:
            return _answer(NextErrors())
        return None

    def after(self, operation: Operation) -> Mischief | None:
        """Called after a call did its work: may raise a Refusal or order a wrong answer all the same."""
        errors = self._next_error(operation, after=True)
        return None if errors is None else _answer(errors)

    def loses_answer(self, operation: Operation) -> bool:
        """Called after a call did its work: whether its answer is lost."""
        if not self.now.lose_answers or operation not in self.now.lose_operations:
            return False
        self.now = self.now.model_copy(update={"lose_answers": self.now.lose_answers - 1})
        return True

    def _next_error(self, operation: Operation, *, after: bool) -> NextErrors | None:
        left: list[NextErrors] = []
        found: NextErrors | None = None
        for errors in self.now.next_errors:
            other = errors.after is not after or (errors.operations and operation not in errors.operations)
            if found is not None or other:
                left.append(errors)
            elif errors.skip:
                left.append(errors.model_copy(update={"skip": errors.skip - 1}))
            else:
                found = errors
                if errors.count > 1:
                    left.append(errors.model_copy(update={"count": errors.count - 1}))
        if self.now.next_errors:
            self.now = self.now.model_copy(update={"next_errors": tuple(left)})
        return found


def _answer(errors: NextErrors) -> Mischief:
    refusal = _REFUSALS.get(errors.kind)
    if refusal is None:
        return Mischief(errors.kind.value)
    status, reason, message = refusal
    raise Refusal(
        status,
        reason,
        errors.message or message,
        field=errors.field if errors.kind is FaultKind.INVALID else None,
        retry_after=1.0 if status == 429 else None,
    )
