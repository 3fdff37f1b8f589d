"""What may be believed of a server, and what has to come first: shared by the decisions about its life and its end."""

from __future__ import annotations

from datetime import datetime, timedelta

from moorage.core.facts import CallFailure, Inventory, Seen, SeenState, ServerFacts, ServiceFacts
from moorage.core.steps import AwaitInventory, Step, Wait

SIGHT_PAUSE = timedelta(seconds=1)
"""How much younger than a deletion an inventory is at least that tells whether it was carried out."""


def why_gone(f: ServerFacts) -> str:
    """That there is no service, and what helps: a new one of the same name has another uid, and is another."""
    if f.by_name:
        return "the HostingService of this server does not exist (any more): create it"
    what = (
        "the HostingService of this name is another one (another uid) than that on which this server was made"
        if f.successor
        else "the HostingService of this server does not exist any more, and a new one of its name will be another one"
    )
    return f"{what}: restore that object with its uid (from a backup of etcd)"


def why_blocked(service: ServiceFacts) -> Wait | None:
    """Why nothing may be decided on the word of this service now."""
    if not service.trusted:
        return Wait(
            "ScopeChanged",
            f"hosting service {service.name} answers for another account than at first contact: nothing is created, "
            "deleted or called missing until its endpoint and credentials lead to that account again",
        )
    if not service.connected:
        return Wait("ServiceUnavailable", service.problem or f"hosting service {service.name} is not reachable")
    return None


def carriers_of(f: ServerFacts, inventory: Inventory | None) -> tuple[Seen, ...]:
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


def sight(f: ServerFacts) -> Seen | None:
    """The server as the service showed it last: in a direct answer or in the latest inventory, whoever's it is now."""
    provider_id = f.provider_id or f.adopt_id
    latest = f.service.latest if f.service is not None else None
    asked = f.lookup.seen if f.lookup is not None else None
    is_newer = f.lookup is not None and (latest is None or f.lookup.steady >= latest.steady)
    if asked is not None and asked.provider_id == provider_id and is_newer:
        return asked
    if latest is None or provider_id is None:
        return None
    return latest.by_id.get(provider_id)


def still_paused(failure: CallFailure | None, now: datetime) -> Wait | None:
    """The pause after a failed call, while it lasts."""
    if failure is not None and failure.retry_at is not None and now < failure.retry_at:
        return Wait(failure.reason, failure.message, failure.retry_at)
    return None


def why_unsettled(f: ServerFacts, service: ServiceFacts, now: datetime) -> Wait | AwaitInventory | None:
    """What has to come first before the absence of the identity may be believed; None: it may."""
    if f.secret is None or not (f.secret.attempts or f.secret.damaged):
        return None
    # All that was attempted began before this process knew of the newest attempt, or of the damage.
    lengths = [service.create_timeout, *(attempt.length for attempt in f.secret.attempts)]
    settled = f.attempts_since + seconds(max(lengths) + service.listing_lag)
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


def seconds(length: timedelta) -> float:
    """As a number, for the clock that nobody sets."""
    return length / timedelta(seconds=1)


def on_sight(f: ServerFacts, service: ServiceFacts, step: Step, ids: tuple[str, ...]) -> Step:
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
