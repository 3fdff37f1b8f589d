"""What the bed does wrong because it was told to, and how large it is."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import Any

from moorage.testbed.ec2.query import Refused

ANY = "*"


@dataclass(slots=True)
class NextError:
    """Refuse `count` calls of one operation, or of all, after letting `skip` pass; `after`: when they took effect."""

    code: str
    status: int = 400
    message: str = "told to fail"
    operation: str = ANY
    count: int = 1
    skip: int = 0
    after: bool = False


@dataclass(slots=True)
class Throttle:
    """A token bucket over all calls. `retry_after` is told where it is given, which EC2 itself never does."""

    rate: float
    burst: float
    retry_after: float | None = None


@dataclass(slots=True)
class Faults:
    """All that can be switched. The names on the wire are these.

    latency: seconds before a call of the operation (or `*`) is worked on. capacity, spot_capacity: how many instances
    there is room for. zone_capacity: the same by availability zone, for instances whose request says in which. quota:
    how many the account may have. listing_lag: seconds after which a creation or deletion shows in listings.
    lookup_lag: seconds for which a new id is unknown to every call. skew: seconds by which the service's clock is
    ahead. denied: operations that nobody may call. ignore_tokens: behave as a service that does not know ClientToken.
    return_terminated: answer a repeated token of a terminated instance with that instance, as EC2 did until 2025,
    instead of IdempotentInstanceTerminated.
    """

    latency: dict[str, float] = field(default_factory=dict)
    capacity: int | None = None
    spot_capacity: int | None = None
    zone_capacity: dict[str, int] = field(default_factory=dict)
    quota: int | None = None
    listing_lag: float = 0.0
    lookup_lag: float = 0.0
    skew: float = 0.0
    throttle: Throttle | None = None
    denied: list[str] = field(default_factory=list)
    errors: list[NextError] = field(default_factory=list)
    ignore_tokens: bool = False
    return_terminated: bool = False

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Faults:
        """From the control API's form. Raises TypeError for what is not a fault."""
        values = dict(data)
        unknown = set(values) - {one.name for one in fields(cls)}
        if unknown:
            raise TypeError(f"unknown: {', '.join(sorted(unknown))}")
        if values.get("throttle") is not None:
            values["throttle"] = Throttle(**values["throttle"])
        values["errors"] = [NextError(**one) for one in values.get("errors", ())]
        return cls(**values)


class FaultState:
    """The faults in force, with what is left of those that are counted."""

    def __init__(self) -> None:
        self.now = Faults()
        self._tokens, self._filled = 0.0, 0.0

    def set(self, faults: Faults) -> None:
        """Replace all faults."""
        self.now = faults
        if faults.throttle is not None:
            self._tokens, self._filled = faults.throttle.burst, time.monotonic()

    async def before(self, operation: str) -> None:
        """What happens before a call is worked on: it waits, or is refused."""
        delay = self.now.latency.get(operation, self.now.latency.get(ANY, 0.0))
        if delay:
            await asyncio.sleep(delay)
        throttle = self.now.throttle
        if throttle is not None and not self._take(throttle):
            raise Refused("RequestLimitExceeded", "Request limit exceeded.", 503, throttle.retry_after)
        if operation in self.now.denied:
            raise Refused("UnauthorizedOperation", f"You are not authorized to perform: ec2:{operation}", 403)
        self._next(operation, after=False)

    def after(self, operation: str) -> None:
        """What happens after it was worked on: it may be answered with an error all the same."""
        self._next(operation, after=True)

    def _take(self, throttle: Throttle) -> bool:
        now = time.monotonic()
        self._tokens = min(throttle.burst, self._tokens + (now - self._filled) * throttle.rate)
        self._filled = now
        if self._tokens < 1:
            return False
        self._tokens -= 1
        return True

    def _next(self, operation: str, *, after: bool) -> None:
        for error in self.now.errors:
            if error.after is not after or error.operation not in {ANY, operation}:
                continue
            if error.skip:
                error.skip -= 1
                continue
            error.count -= 1
            if error.count <= 0:
                self.now.errors.remove(error)
            raise Refused(error.code, error.message, error.status)
