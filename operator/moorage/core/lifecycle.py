"""Creating and deleting exactly once: from what is known of a server to the one next step.

The rules, in the order in which they are asked:

* one object is at most one server, whatever was interrupted and whenever (the identity is known before the call);
* positive evidence (an inventory entry that carries our identity) is believed at once, absence only on the word of a
  complete inventory that is younger than every attempt and the service's listing lag;
* what must not end too early is counted on the steady clock of this process, from when it came to know of it: the time
  of day may jump, and that of another process is another one;
* nothing is decided on the word of a service whose account is not the one seen at first contact.
"""

from __future__ import annotations

from datetime import datetime, timedelta

from moorage.core.departure import decide_departure
from moorage.core.drift import decide_repair
from moorage.core.evidence import (
    carriers_of,
    on_sight,
    seconds,
    sight,
    still_paused,
    why_blocked,
    why_gone,
    why_unsettled,
)
from moorage.core.facts import CallFailure, Inventory, LookupResult, Seen, ServerFacts, ServiceFacts
from moorage.core.steps import (
    Ask,
    AwaitInventory,
    Claim,
    Create,
    CreateAgain,
    DeclareLost,
    Destroy,
    Fail,
    Record,
    Settled,
    Step,
    Wait,
)

ADDRESS_POLL_MAX = timedelta(seconds=30)
"""The longest pause between two questions for the address of a server that has none yet."""

ADDRESS_PATIENCE = timedelta(minutes=10)
"""A server without an address for so long is asked about no more: an inventory shows one that comes later."""

MISSING_SHARE = 0.3
"""Share of a service's recorded servers that may go missing at once before nothing is believed any more."""

MISSING_FLOOR = 2
"""This many may always go missing at once: a small installation has no meaningful share."""


def decide_server(f: ServerFacts, now: datetime) -> Step:
    """The next step for one server. The same facts at the same time give the same step."""
    if f.deleting_since is not None:
        return decide_departure(f, now, f.deleting_since) if f.has_finalizer else Settled()
    if f.lost or f.failed is not None:
        return Settled()
    service = f.service
    if service is None:
        return Wait("ServiceNotFound", f"{why_gone(f)}, or delete this object")
    blocked = why_blocked(service)
    if blocked is not None:
        return blocked
    if f.secret is not None and f.secret.damaged:
        return Wait(
            "StateDamaged",
            f"the annotation moorage.dev/state of Secret {f.uid} cannot be read, so what was tried and delivered is "
            "unknown: restore it, or delete the VirtualServer (its server is looked for by its tags)",
        )
    if f.provider_id is not None:
        return _running(f, service, f.provider_id, now)
    if f.adopt_id is not None:
        return (_observation if f.observes else _adoption)(f, service, f.adopt_id, now)
    return _creation(f, service, now)


def _refused(f: ServerFacts) -> Wait | None:
    return None if f.refused is None else Wait(*f.refused)


def overshoot(recorded: int, missing: int) -> bool:
    """Whether more servers are missing at once than may be believed without a human."""
    return missing > max(MISSING_FLOOR, int(recorded * MISSING_SHARE))


def _creation(f: ServerFacts, service: ServiceFacts, now: datetime) -> Step:
    carriers = carriers_of(f, service.latest)
    if len(carriers) > 1:
        return _fail_duplicates(carriers)
    if carriers:
        return Record(carriers[0].provider_id)
    if f.made is not None:
        return Record(f.made)
    if f.failure is not None and f.failure.terminal:
        return Fail(f.failure)
    if (paused := still_paused(f.failure, now)) is not None:
        return paused
    if (refused := _refused(f)) is not None:
        return refused
    if f.secret is None:
        return Create()
    if f.secret.closed or not f.secret.attempts:
        return Wait("CreationBarred", "the Secret of this server bars creation: delete the VirtualServer")
    last = f.secret.attempts[-1]
    if service.idempotent_create:
        return CreateAgain(record=f.steady >= f.attempts_since + seconds(last.length))
    if f.failure is not None and f.failure.definite:
        return CreateAgain(record=True)
    unsettled = why_unsettled(f, service, now)
    return unsettled if unsettled is not None else CreateAgain(record=True)


def _fail_duplicates(carriers: tuple[Seen, ...]) -> Fail:
    ids = tuple(seen.provider_id for seen in carriers)
    return Fail(
        CallFailure(
            reason="DuplicateIdentity",
            message=f"the service shows {len(ids)} servers with this identity; "
            "either may have used the join token, so all are deleted",
            terminal=True,
            definite=False,
        ),
        destroy=ids,
    )


def _adoption(f: ServerFacts, _: ServiceFacts, adopt_id: str, now: datetime) -> Step:
    if f.failure is not None and f.failure.terminal:
        return Fail(f.failure)
    return _refused(f) or still_paused(f.failure, now) or Claim(adopt_id)


def _observation(f: ServerFacts, service: ServiceFacts, adopt_id: str, now: datetime) -> Step:
    """A server that is only looked at: inventories show it, and nothing but reading follows from them."""
    if (refused := _refused(f)) is not None:
        return refused
    if service.latest is not None and adopt_id in service.latest.by_id:
        return Settled()
    if f.observed_before:
        return Settled() if service.latest is None else _missing(f, service, adopt_id, service.latest, now)
    if (paused := still_paused(f.failure, now)) is not None:
        return paused
    if f.lookup is None:
        return Ask(adopt_id)
    if f.lookup.result is LookupResult.NOT_FOUND:
        message = f"{service.name} has no server {adopt_id}"
        return Fail(CallFailure("AdoptNotFound", message, terminal=True, definite=True))
    return Settled()


def _running(f: ServerFacts, service: ServiceFacts, provider_id: str, now: datetime) -> Step:
    carriers = carriers_of(f, service.latest)
    strangers = tuple(seen.provider_id for seen in carriers if seen.provider_id != provider_id)
    if strangers:
        if f.secret is not None and f.secret.revision == 0 and f.adopt_id is None:
            return _fail_duplicates(carriers)
        return still_paused(f.failure, now) or on_sight(f, service, Destroy(strangers), strangers)
    if service.latest is None:
        return _address(f, provider_id, now)
    if provider_id not in service.latest.by_id:
        return _missing(f, service, provider_id, service.latest, now)
    seen = sight(f)
    if (repair := decide_repair(f, service, seen, now)) is not None:
        return repair
    if seen is not None and seen.owner != f.identity.owner:
        return Wait(
            "IdentityMismatch",
            f"server {provider_id} does not carry this object's identity (its tags name another owner or none): "
            "restore its tags, or delete the VirtualServer (the foreign server stays)",
        )
    return _address(f, provider_id, now)


def address_poll(recorded_at: datetime | None, now: datetime) -> timedelta | None:
    """How long to wait before asking again for the address of a server that has none yet: growing with its age.

    None: there is no more asking.
    """
    age = now - (recorded_at or now)
    return None if age > ADDRESS_PATIENCE else min(max(timedelta(seconds=1), age), ADDRESS_POLL_MAX)


def _address(f: ServerFacts, provider_id: str, now: datetime) -> Ask | Settled | Wait:
    """A service may give an address only some time after the creation."""
    if f.addressed:
        return Settled()
    if (paused := still_paused(f.failure, now)) is not None:
        return paused
    pause = address_poll(f.recorded_at, now)
    if f.lookup is None or (pause is not None and now >= f.lookup.at + pause):
        return Ask(provider_id)
    return Settled()


def _missing(f: ServerFacts, service: ServiceFacts, provider_id: str, latest: Inventory, now: datetime) -> Step:
    """A recorded server that the latest inventory does not show."""
    shown = f.recorded_since + seconds(service.listing_lag)
    if latest.steady <= shown:
        return _address(f, provider_id, now)
    if (paused := still_paused(f.failure, now)) is not None:
        return paused
    if f.lookup is None or f.lookup.steady < latest.steady:
        return Ask(provider_id)
    if f.lookup.result is LookupResult.FOUND:
        return Settled()
    if service.frozen:
        return Wait("OvershootFreeze", service.frozen)
    confirm = latest.started + service.listing_lag
    previous = service.previous
    if (
        previous is not None
        and provider_id not in previous.by_id
        and previous.steady > shown
        and latest.steady > previous.steady + seconds(service.listing_lag)
    ):
        return DeclareLost(
            f"server {provider_id} is gone from {service.name}: not found when asked at {f.lookup.at:%H:%M:%S}, and "
            f"absent from the complete inventories of {previous.started:%H:%M:%S} and {latest.started:%H:%M:%S}"
        )
    return AwaitInventory(
        confirm, "Missing", f"server {provider_id} is not found at {service.name}; a second complete inventory decides"
    )
