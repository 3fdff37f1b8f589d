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

from moorage.core.facts import (
    RELEASED,
    CallFailure,
    Inventory,
    LookupResult,
    Seen,
    SeenState,
    ServerFacts,
    ServiceFacts,
)
from moorage.core.steps import (
    Ask,
    AwaitInventory,
    Claim,
    Close,
    Create,
    CreateAgain,
    DeclareLost,
    Destroy,
    DropFinalizer,
    Fail,
    Record,
    Release,
    Settled,
    Step,
    Wait,
)

DEPENDENTS_GRACE = timedelta(minutes=2)
"""How long a deleted server waits at most for the servers that depend on it to go first."""

DELETE_REPEAT = timedelta(seconds=30)
"""A deletion that the service accepted and has not carried out after this long is asked for again."""

SIGHT_PAUSE = timedelta(seconds=1)
"""How much younger than a deletion an inventory is at least that tells whether it was carried out."""

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
        return _deletion(f, now, f.deleting_since) if f.has_finalizer else Settled()
    if f.lost or f.failed is not None:
        return Settled()
    service = f.service
    if service is None:
        return Wait("ServiceNotFound", "the hosting service of this server does not exist (any more)")
    blocked = _blocked(service)
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
        return _adoption(f, f.adopt_id, now)
    return _creation(f, service, now)


def _refused(f: ServerFacts) -> Wait | None:
    return None if f.refused is None else Wait(*f.refused)


def overshoot(recorded: int, missing: int) -> bool:
    """Whether more servers are missing at once than may be believed without a human."""
    return missing > max(MISSING_FLOOR, int(recorded * MISSING_SHARE))


def _blocked(service: ServiceFacts) -> Wait | None:
    if not service.trusted:
        return Wait(
            "ScopeChanged",
            f"hosting service {service.name} answers for another account than at first contact: nothing is created, "
            "deleted or called missing until its endpoint and credentials lead to that account again",
        )
    if not service.connected:
        return Wait("ServiceUnavailable", service.problem or f"hosting service {service.name} is not reachable")
    return None


def _carriers(f: ServerFacts, inventory: Inventory | None) -> tuple[Seen, ...]:
    """Servers of an inventory that carry this identity and are not on their way out."""
    if inventory is None:
        return ()
    return tuple(
        sorted(
            (
                seen
                for seen in inventory.by_key.get(f.identity.key, ())
                if seen.owner == f.identity.owner and seen.state is not SeenState.TERMINATING
            ),
            key=lambda seen: seen.provider_id,
        )
    )


def _paused(failure: CallFailure | None, now: datetime) -> Wait | None:
    if failure is not None and failure.retry_at is not None and now < failure.retry_at:
        return Wait(failure.reason, failure.message, failure.retry_at)
    return None


def _creation(f: ServerFacts, service: ServiceFacts, now: datetime) -> Step:
    carriers = _carriers(f, service.latest)
    if len(carriers) > 1:
        return _fail_duplicates(carriers)
    if carriers:
        return Record(carriers[0].provider_id)
    if f.made is not None:
        return Record(f.made)
    if f.failure is not None and f.failure.terminal:
        return Fail(f.failure)
    if (paused := _paused(f.failure, now)) is not None:
        return paused
    if (refused := _refused(f)) is not None:
        return refused
    if f.secret is None:
        return Create()
    if f.secret.closed or not f.secret.attempts:
        return Wait("CreationBarred", "the Secret of this server bars creation: delete the VirtualServer")
    last = f.secret.attempts[-1]
    if service.idempotent_create:
        return CreateAgain(record=f.steady >= f.attempts_since + _seconds(last.length))
    if f.failure is not None and f.failure.definite:
        return CreateAgain(record=True)
    unsettled = _unsettled(f, service, now)
    return unsettled if unsettled is not None else CreateAgain(record=True)


def _unsettled(f: ServerFacts, service: ServiceFacts, now: datetime) -> Wait | AwaitInventory | None:
    """What has to come first before the absence of the identity may be believed; None: it may."""
    if f.secret is None or not (f.secret.attempts or f.secret.damaged):
        return None
    # All that was attempted began before this process knew of the newest attempt, or of the damage.
    lengths = [service.create_timeout, *(attempt.length for attempt in f.secret.attempts)]
    settled = f.attempts_since + _seconds(max(lengths) + service.listing_lag)
    moment = now + timedelta(seconds=settled - f.steady)
    message = (
        f"whether {service.name} made this server is unknown: "
        f"waiting for a complete inventory younger than {moment:%H:%M:%S}"
    )
    if f.steady <= settled:
        return Wait("CreateOutcomeUnknown", message, moment + timedelta(milliseconds=1))
    if service.latest is None or service.latest.steady <= settled:
        return AwaitInventory(moment, "CreateOutcomeUnknown", message)
    return None


def _seconds(length: timedelta) -> float:
    return length / timedelta(seconds=1)


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


def _adoption(f: ServerFacts, adopt_id: str, now: datetime) -> Step:
    if f.failure is not None and f.failure.terminal:
        return Fail(f.failure)
    return _refused(f) or _paused(f.failure, now) or Claim(adopt_id)


def _running(f: ServerFacts, service: ServiceFacts, provider_id: str, now: datetime) -> Step:
    carriers = _carriers(f, service.latest)
    strangers = tuple(seen.provider_id for seen in carriers if seen.provider_id != provider_id)
    if strangers:
        if f.secret is not None and f.secret.revision == 0 and f.adopt_id is None:
            return _fail_duplicates(carriers)
        return _paused(f.failure, now) or _on_sight(f, service, Destroy(strangers), strangers)
    if service.latest is None:
        return _address(f, provider_id, now)
    seen = service.latest.by_id.get(provider_id)
    if seen is None:
        return _missing(f, service, provider_id, service.latest, now)
    if seen.owner != f.identity.owner:
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
    if (paused := _paused(f.failure, now)) is not None:
        return paused
    pause = address_poll(f.recorded_at, now)
    if f.lookup is None or (pause is not None and now >= f.lookup.at + pause):
        return Ask(provider_id)
    return Settled()


def _missing(f: ServerFacts, service: ServiceFacts, provider_id: str, latest: Inventory, now: datetime) -> Step:
    """A recorded server that the latest inventory does not show."""
    shown = f.recorded_since + _seconds(service.listing_lag)
    if latest.steady <= shown:
        return _address(f, provider_id, now)
    if (paused := _paused(f.failure, now)) is not None:
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
        and latest.steady > previous.steady + _seconds(service.listing_lag)
    ):
        return DeclareLost(
            f"server {provider_id} is gone from {service.name}: not found when asked at {f.lookup.at:%H:%M:%S}, and "
            f"absent from the complete inventories of {previous.started:%H:%M:%S} and {latest.started:%H:%M:%S}"
        )
    return AwaitInventory(
        confirm, "Missing", f"server {provider_id} is not found at {service.name}; a second complete inventory decides"
    )


def _deletion(f: ServerFacts, now: datetime, since: datetime) -> Step:
    if f.remaining_dependents and now < since + DEPENDENTS_GRACE:
        names = ", ".join(f.remaining_dependents[:5])
        return Wait("DependentsFirst", f"servers that depend on this one go first: {names}", since + DEPENDENTS_GRACE)
    claimed = f.secret is not None and not f.secret.closed
    provider_id = f.provider_id or (f.adopt_id if claimed else None)
    if provider_id is None:
        if f.secret is None:
            return Close()
        if not f.secret.damaged and (not f.secret.attempts or _nothing_was_made(f)):
            return DropFinalizer()
    service = f.service
    if service is None:
        return Wait(
            "ServiceNotFound",
            "the hosting service of this server does not exist any more, so its deletion cannot be confirmed: "
            "create the HostingService again, or, when the server is known to be gone, remove the finalizer by hand",
        )
    blocked = _blocked(service)
    if blocked is not None:
        return blocked
    if (paused := _paused(f.failure, now)) is not None:
        return paused
    if provider_id is None:
        return _delete_by_identity(f, service, now)
    return _delete_by_id(f, service, provider_id, now)


def _nothing_was_made(f: ServerFacts) -> bool:
    """A single attempt that the service refused for good made nothing; several may hide an unknown one."""
    return (
        f.failed is not None
        and f.failed.terminal
        and f.failed.definite
        and f.secret is not None
        and len(f.secret.attempts) == 1
    )


def _delete_by_identity(f: ServerFacts, service: ServiceFacts, now: datetime) -> Step:
    carriers = _carriers(f, service.latest)
    if carriers:
        ids = tuple(seen.provider_id for seen in carriers)
        return _on_sight(f, service, _release(service, ids[0]) if f.retain else Destroy(ids), ids)
    unsettled = _unsettled(f, service, now)
    return unsettled if unsettled is not None else DropFinalizer()


def _delete_by_id(f: ServerFacts, service: ServiceFacts, provider_id: str, now: datetime) -> Step:
    lookup = f.lookup
    if lookup is None or (f.noticed_at is not None and lookup.at < f.noticed_at):
        # What was seen before the deletion says nothing about whose server the id is now.
        return Ask(provider_id)
    if lookup.result is LookupResult.NOT_FOUND:
        shown = f.recorded_since + _seconds(service.listing_lag)
        if f.deleted_at is None and lookup.steady <= shown:
            # A young server may not be visible yet: its absence says nothing.
            if f.steady > shown:
                return Ask(provider_id)
            until = now + timedelta(seconds=shown - f.steady, milliseconds=1)
            return Wait("Deleting", "waiting until the service's listings are reliable", until)
        return _delete_rest(f, service, provider_id, now)
    assert lookup.seen is not None  # noqa: S101  (FOUND carries what was found)
    owner = lookup.seen.owner
    if owner == RELEASED and f.retain:
        return DropFinalizer()
    if owner != f.identity.owner:
        # A recorded id is a claim, not proof: this server is somebody else's.
        return _delete_by_identity(f, service, now)
    if f.retain:
        return _release(service, provider_id)
    if f.deleted_at is None or now >= f.deleted_at + DELETE_REPEAT:
        return Destroy((provider_id,))
    pause = max(timedelta(milliseconds=100), min((lookup.at - f.deleted_at) / 2, timedelta(seconds=5)))
    if now < lookup.at + pause:
        return Wait("Deleting", f"{service.name} is deleting server {provider_id}", lookup.at + pause)
    return Ask(provider_id)


def _release(service: ServiceFacts, provider_id: str) -> Step:
    if not service.can_retag:
        return Wait(
            "RetainUnsupported",
            f"{service.name} cannot rewrite tags, so server {provider_id} cannot be retained: "
            "set deletionPolicy: Delete",
        )
    return Release(provider_id)


def _delete_rest(f: ServerFacts, service: ServiceFacts, gone: str, now: datetime) -> Step:
    """The recorded server is gone; nothing else may carry its identity either."""
    rest = tuple(seen.provider_id for seen in _carriers(f, service.latest) if seen.provider_id != gone)
    if rest and not f.retain:
        return _on_sight(f, service, Destroy(rest), rest)
    return DropFinalizer()


def _on_sight(f: ServerFacts, service: ServiceFacts, step: Step, ids: tuple[str, ...]) -> Step:
    """``step`` for servers that only an inventory shows: one from before the last try says nothing new about them."""
    since: list[datetime] = []
    if f.deleted_at is not None:
        since.append(f.deleted_at + max(service.listing_lag, SIGHT_PAUSE))
    if f.lookup is not None and f.lookup.seen is None:
        # What is gone may be listed for as long as the listings lag.
        since.append(f.lookup.at + service.listing_lag)
    elif f.lookup is not None and f.lookup.seen is not None and f.lookup.seen.provider_id in ids:
        since.append(f.lookup.at)
    if since and service.latest is not None and service.latest.started <= max(since):
        return AwaitInventory(max(since), "Deleting", f"a younger inventory of {service.name} tells what is left of it")
    return step
