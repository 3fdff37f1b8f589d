"""What the demo verifies. Each check gives a sentence that says what holds, or raises CliError with what does not."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from datetime import datetime

from moorage.api.hostd import LedgerEntry, LedgerEvent
from moorage.api.placement import Placement
from moorage.api.virtualserver import VirtualServer
from moorage.cli.demo.pages import View
from moorage.cli.errors import CliError
from moorage.hosting.contract import TAG_SERVER


def chosen(placement: Placement, expected: str) -> str:
    """The group is on the service that its policy must prefer, and the status says why, for the others too."""
    if placement.service != expected:
        raise CliError(f"the group was placed on {placement.service}; by its policy it belongs on {expected}")
    by_name = {candidate.service: candidate for candidate in placement.candidates}
    if not placement.message or expected not in by_name or not by_name[expected].reasons:
        raise CliError(f"the status does not say why the group was placed on {expected}")
    feasible = [candidate for candidate in placement.candidates if candidate.feasible]
    best = max(feasible, key=lambda candidate: candidate.score or 0.0, default=None)
    if best is None or best.service != expected:
        raise CliError(f"{expected} was chosen, but it is not the feasible candidate with the highest score")
    rejected = [candidate for candidate in placement.candidates if not candidate.feasible]
    why = "; ".join(f"{candidate.service} is out: {', '.join(candidate.reasons)}" for candidate in rejected)
    return f"{expected} is the best of {len(feasible)} feasible services, and the status says why" + (
        f" ({why})" if why else ""
    )


def parallel(ledger: Sequence[LedgerEntry], wanted: int, first_up: datetime) -> str:
    """All servers were asked for before the first of them ran."""
    created = [entry.time for entry in ledger if entry.event is LedgerEvent.CREATED]
    if len(created) != wanted:
        raise CliError(f"the service created {len(created)} servers instead of {wanted}")
    if max(created) >= first_up:
        raise CliError("a server was created only after another one ran already")
    apart = (max(created) - min(created)).total_seconds()
    return f"all {wanted} servers were created within {apart:.2f} s, before the first of them ran"


def incomplete_first(views: Mapping[str, Sequence[View]], servers: Sequence[str], item: str) -> str:
    """Each page was there before the item was, said so, and had no rows."""
    for server in servers:
        first = views[server][0]
        if first.boats or item not in first.waiting:
            raise CliError(f"{server} was not seen with an incomplete configuration: its first {first.describe()}")
        if item not in first.shown:
            raise CliError(f"the page of {server} does not say that it waits for {item}")
    return f"{' and '.join(servers)} served a page before {item} was known, and it said so"


def complete(views: Mapping[str, View], servers: Sequence[str], address: str) -> str:
    """Each page shows rows of the database at this address."""
    for server in sorted(servers):
        view = views[server]
        if view.database != address or not view.boats or view.boats[0] not in view.shown or view.waiting:
            raise CliError(f"{server} does not show the rows of the database at {address}: its {view.describe()}")
    return f"{' and '.join(sorted(servers))} show {len(views[servers[0]].boats)} rows of the database at {address}"


def not_restarted(before: Mapping[str, View], after: Mapping[str, View]) -> str:
    """The processes are the same as before."""
    for server, view in before.items():
        same = (view.pid, view.started) == (after[server].pid, after[server].started)
        if not same:
            raise CliError(f"the web server of {server} was restarted: process {view.pid}, then {after[server].pid}")
    whose = " and ".join(f"process {view.pid} of {server}" for server, view in sorted(before.items()))
    return f"no web server was restarted: {whose} run since before"


def replaced(before: VirtualServer, after: VirtualServer, old: str, new: str) -> str:
    """It is another server with another address."""
    if before.metadata.uid == after.metadata.uid or before.status.provider_id == after.status.provider_id:
        raise CliError(f"{after.metadata.name} is still the same server")
    if old == new:
        raise CliError(f"the new database has the old address {old}")
    return f"{after.metadata.name} is a new server ({after.status.provider_id}), at {new} instead of {old}"


def exactly_once(ledgers: Mapping[str, Sequence[LedgerEntry]], chosen_service: str, wanted: int) -> str:
    """Every VirtualServer was created once, on the chosen service and nowhere else."""
    elsewhere = [name for name, entries in ledgers.items() if name != chosen_service and entries]
    if elsewhere:
        raise CliError(f"servers were created on {', '.join(elsewhere)} too")
    created = [entry for entry in ledgers[chosen_service] if entry.event is LedgerEvent.CREATED]
    twice = [uid for uid, count in Counter(entry.tags.get(TAG_SERVER, "") for entry in created).items() if count > 1]
    if twice or len(created) != wanted:
        raise CliError(f"{len(created)} servers were created instead of {wanted}: {', '.join(twice) or 'none twice'}")
    return f"the services' ledgers: {len(created)} servers created on {chosen_service}, none twice, none elsewhere"


def all_gone(ledger: Sequence[LedgerEntry]) -> str:
    """Everything that was created was deleted."""
    created = {entry.id for entry in ledger if entry.event is LedgerEvent.CREATED}
    deleted = {entry.id for entry in ledger if entry.event is not LedgerEvent.CREATED}
    if created - deleted:
        raise CliError(f"servers are left behind: {', '.join(sorted(created - deleted))}")
    return f"the group is deleted, and all {len(created)} servers that ever were are gone from the service"


def secret(value: str, texts: Mapping[str, str]) -> str:
    """The sensitive value is in none of these texts."""
    found = [where for where, text in texts.items() if value in text]
    if found:
        raise CliError(f"the password is to be read in {', '.join(found)}")
    return f"the generated password is in none of {', '.join(texts)}"
