"""The end of a server: deleted or released, confirmed, and only then is its object let go."""

from __future__ import annotations

from datetime import datetime, timedelta

from moorage.core.evidence import carriers_of, on_sight, seconds, still_paused, why_blocked, why_gone, why_unsettled
from moorage.core.facts import RELEASED, LookupResult, ServerFacts, ServiceFacts
from moorage.core.steps import Ask, Close, Destroy, DropFinalizer, Release, Revoke, Step, Wait

DEPENDENTS_GRACE = timedelta(minutes=2)
"""How long a deleted server waits at most for the servers that depend on it to go first."""

DELETE_REPEAT = timedelta(seconds=30)
"""A deletion that the service accepted and has not carried out after this long is asked for again."""

OVERDUE = timedelta(minutes=15)
"""A deletion that the service accepts and does not carry out for so long is a person's to look at."""
DELETION_OVERDUE = "DeletionOverdue"


def decide_departure(f: ServerFacts, now: datetime, since: datetime) -> Step:
    """The next step for a server whose object is being deleted since then and still has our finalizer."""
    if f.observes:
        # Nothing of it was ever ours: the service is not even asked.
        return DropFinalizer()
    if f.secret is not None and f.secret.serves:
        # Needs no hosting service: a server that cannot be reached, let alone removed, gets nothing any more either.
        return Revoke()
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
            f"its deletion cannot be confirmed, for {why_gone(f)}, or delete the server at the service itself and "
            "remove the finalizer moorage.dev/server by hand",
        )
    blocked = why_blocked(service)
    if blocked is not None:
        return blocked
    if (paused := still_paused(f.failure, now)) is not None:
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
    carriers = carriers_of(f, service.latest)
    if carriers:
        ids = tuple(seen.provider_id for seen in carriers)
        return on_sight(f, service, _release(service, ids[0]) if f.retain else Destroy(ids), ids)
    unsettled = why_unsettled(f, service, now)
    return unsettled or _disbelieved(f, service) or DropFinalizer()


def _disbelieved(f: ServerFacts, service: ServiceFacts) -> Wait | None:
    """Why it is not believed that this server is gone although the service does not show it; None: it may be.

    While more is missing than may be believed, only the end of what this process itself had removed is.
    """
    if not service.frozen or f.deleted_at is not None:
        return None
    return Wait(
        "OvershootFreeze",
        f"{service.frozen}; that this one is gone is not believed until the freeze ends: with an inventory that shows "
        "the servers, or once the VirtualServers of those that are really gone have been deleted",
    )


def _delete_by_id(f: ServerFacts, service: ServiceFacts, provider_id: str, now: datetime) -> Step:
    lookup = f.lookup
    if lookup is None or (f.noticed_at is not None and lookup.at < f.noticed_at):
        # What was seen before the deletion says nothing about whose server the id is now.
        return Ask(provider_id)
    if lookup.result is LookupResult.NOT_FOUND:
        shown = f.recorded_since + seconds(service.listing_lag)
        if f.deleted_at is None and lookup.steady <= shown:
            # A young server may not be visible yet: its absence says nothing.
            if f.steady > shown:
                return Ask(provider_id)
            until = now + timedelta(seconds=shown - f.steady, milliseconds=1)
            return Wait("Deleting", "waiting until the service's listings are reliable", until)
        if (disbelieved := _disbelieved(f, service)) is not None:
            return disbelieved
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
        return Wait(*_going(f, service, provider_id, now), lookup.at + pause)
    return Ask(provider_id)


def _going(f: ServerFacts, service: ServiceFacts, provider_id: str, now: datetime) -> tuple[str, str]:
    since = f.asked_since  # for as long as nobody could ask the service, it is not the service that is late
    if since is None or now < since + OVERDUE:
        return "Deleting", f"{service.name} is deleting server {provider_id}"
    return DELETION_OVERDUE, (
        f"{service.name} has been asked to delete server {provider_id} since {since:%Y-%m-%dT%H:%M:%SZ} and says yes, "
        "and the server is still there: look at it there (is it locked, or protected from deletion?); it is asked again"
    )


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
    rest = tuple(seen.provider_id for seen in carriers_of(f, service.latest) if seen.provider_id != gone)
    if rest and not f.retain:
        return on_sight(f, service, Destroy(rest), rest)
    return DropFinalizer()
