"""Facts about one server as decisions see them, for tables of cases: of a process that was there all the time."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

from moorage.core.facts import (
    Attempt,
    CallFailure,
    Identity,
    Inventory,
    Lookup,
    LookupResult,
    SecretFacts,
    Seen,
    SeenState,
    ServerFacts,
    ServiceFacts,
)
from moorage.core.steps import (
    AwaitInventory,
    Step,
    Wait,
)

NOW = datetime(2026, 1, 1, 12, tzinfo=UTC)
S = timedelta(seconds=1)
LAG = 10 * S
STEADY = 100_000.0
"""Now, on the clock that nobody sets."""
ME = Identity("m-me", "inst/uid-me")


def server(id_: str = "s1", *, owner: str | None = ME.owner, state: SeenState = SeenState.RUNNING) -> Seen:
    return Seen(id_, ME.key, owner, state, (("Internal", "10.0.0.1"),))


def steady(moment: datetime) -> float:
    """The same moment on that clock, where the other was never set."""
    return STEADY + (moment - NOW) / S


def inventory(ago: timedelta, *seen: Seen) -> Inventory:
    """A complete inventory that was started that long ago."""
    keys: dict[str, tuple[Seen, ...]] = {}
    for one in seen:
        if one.key is not None:
            keys[one.key] = (*keys.get(one.key, ()), one)
    return Inventory(NOW - ago, steady(NOW - ago), {one.provider_id: one for one in seen}, keys)


def svc(**changes: Any) -> ServiceFacts:
    return replace(ServiceFacts("anchor", "svc-uid", connected=True, listing_lag=LAG), **changes)


def attempt(ago: timedelta, length: timedelta = 60 * S) -> Attempt:
    return Attempt(NOW - ago, NOW - ago + length)


def facts(**changes: Any) -> ServerFacts:
    """Of a process that was there all the time, and whose clock was never set."""
    secret, recorded = changes.get("secret"), changes.get("recorded_at")
    newest = max((one.time for one in secret.attempts), default=NOW) if secret is not None else NOW
    changes.setdefault("attempts_since", steady(newest))
    changes.setdefault("recorded_since", steady(recorded or NOW - 3600 * S))
    base = ServerFacts(
        name="g-m-0",
        uid="uid-me",
        identity=ME,
        created=NOW - 3600 * S,
        deleting_since=None,
        has_finalizer=True,
        retain=False,
        adopt_id=None,
        provider_id=None,
        recorded_at=None,
        lost=False,
        failed=None,
        secret=None,
        joined=False,
        addressed=True,
        service=svc(),
        steady=STEADY,
        attempts_since=STEADY,
        recorded_since=STEADY,
    )
    return replace(base, **changes)


def running(**changes: Any) -> ServerFacts:
    """A recorded server that has been there for an hour."""
    base: dict[str, Any] = {
        "provider_id": "s1",
        "recorded_at": NOW - 3600 * S,
        "secret": SecretFacts((attempt(3600 * S),), revision=1),
    }
    return facts(**{**base, **changes})


def leaving(**changes: Any) -> ServerFacts:
    """A recorded server whose object is being deleted."""
    return running(**{"deleting_since": NOW - 60 * S, "noticed_at": NOW - 60 * S, **changes})


def failure(**changes: Any) -> CallFailure:
    return replace(CallFailure("Unavailable", "no answer", False, False, None), **changes)


UNASKED = {"provider_id": None, "recorded_at": None, "lookup": None}
FULL = failure(reason="InsufficientCapacity", message="full", terminal=True, definite=True)
FOUND = Lookup(NOW, STEADY, LookupResult.FOUND, server())
NOT_FOUND = Lookup(NOW, STEADY, LookupResult.NOT_FOUND)
TRIED = SecretFacts((attempt(5 * S),))
OVERDUE = SecretFacts((attempt(61 * S),))
SETTLED = SecretFacts((attempt(100 * S),))


Expected = Step | type[Step] | str
Cases = dict[str, tuple[ServerFacts, Expected]]


def is_step(step: Step, expected: Expected) -> bool:
    """A step equals, is of the type, or waits for the reason."""
    if isinstance(expected, str):
        return isinstance(step, Wait | AwaitInventory) and step.reason == expected
    return isinstance(step, expected) if isinstance(expected, type) else step == expected
