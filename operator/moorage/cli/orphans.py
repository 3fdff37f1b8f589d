"""Orphans for people: what status tells of them, what a service itself shows, and orders about single ones."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from rich.table import Table

from moorage.api.hostingservice import HostingService
from moorage.api.names import ANNOTATION_ORPHANS
from moorage.cli.cluster import Cluster, read
from moorage.cli.errors import CliError, Exit, nearby
from moorage.cli.services import abandoned_by, is_orphan, known_servers, last_namespace, look_into, owner_of
from moorage.cli.views.safe import cell, safe
from moorage.core.orphans import Order, OrphanAction, read_orders, write_orders
from moorage.kube.errors import Conflict
from moorage.kube.kinds import HOSTING_SERVICE

PATIENCE = 120.0
"""Seconds until an order that is not carried out is called so."""
LOOK = 0.5
ABANDONED = "its HostingService is gone: delete it, or take its tags off, at the service itself"
TRIES = 5


@dataclass(frozen=True, slots=True)
class Listed:
    """One orphan. `more`: how many others its service has that are not listed, counted once for each service."""

    service: str
    provider_id: str
    virtual_server: str
    since: str = ""
    namespace: str = ""
    state: str = ""
    message: str = ""
    more: int = 0

    def to_dict(self) -> dict[str, Any]:
        """For JSON and YAML; what is not known is left out."""
        known = {
            "service": self.service,
            "providerID": self.provider_id,
            "virtualServer": self.virtual_server,
            "since": self.since,
            "namespace": self.namespace,
            "state": self.state,
            "message": self.message,
        }
        return {name: value for name, value in known.items() if value}


async def from_status(cluster: Cluster, name: str) -> tuple[Listed, ...]:
    """What the controller tells of one service, or of all (""). Raises CliError where there is no such service."""
    if name:
        objects = [await cluster.one(HOSTING_SERVICE, name)]
    else:
        objects = list((await cluster.client.list(HOSTING_SERVICE, None)).items)
    found: list[Listed] = []
    for service in sorted((read(HostingService, obj) for obj in objects), key=lambda s: s.metadata.name):
        orphans = service.status.orphans
        more = max(0, (service.status.orphan_count or 0) - len(orphans))
        found += [
            Listed(
                service.metadata.name,
                orphan.provider_id,
                orphan.virtual_server,
                since=orphan.since.strftime("%Y-%m-%dT%H:%M:%SZ"),
                message=orphan.message or "",
                more=more if orphan is orphans[0] else 0,
            )
            for orphan in orphans
        ]
    return tuple(found)


async def from_service(cluster: Cluster, name: str, controller_namespace: str) -> tuple[Listed, ...]:
    """What the service itself shows now, held against all VirtualServers there are. Raises CliError."""
    look = await look_into(cluster, name, controller_namespace)
    # After the inventory: an object that was made meanwhile makes its server no orphan.
    known, is_abandoned = await known_servers(cluster), await abandoned_by(cluster, controller_namespace)
    return tuple(
        Listed(
            name,
            record.provider_id,
            owner_of(record) or "",
            namespace=last_namespace(record) or "",
            state=record.state.value,
            message=ABANDONED if is_abandoned(record) else "",
        )
        for record in look.servers
        if is_orphan(record, look.service, known) or is_abandoned(record)
    )


def table(found: Sequence[Listed]) -> Table:
    """The orphans as a table."""
    shown = Table(box=None, pad_edge=False, header_style="bold", padding=(0, 2, 0, 0))
    for column in ("SERVICE", "ID", "VIRTUALSERVER (UID)", "SINCE", "NAMESPACE", "STATE", "MESSAGE"):
        shown.add_column(column, overflow="fold")
    for one in found:
        texts = (one.service, one.provider_id, one.virtual_server, one.since, one.namespace, one.state, one.message)
        shown.add_row(*(cell(text or "-") for text in texts))
    return shown


async def give_orders(cluster: Cluster, name: str, ids: Sequence[str], action: OrphanAction) -> tuple[Order, ...]:
    """Write orders about orphans of that service beside those that are there. Raises CliError."""
    for _ in range(TRIES):
        obj = await cluster.one(HOSTING_SERVICE, name)
        service = read(HostingService, obj)
        owners = {orphan.provider_id: orphan.virtual_server for orphan in service.status.orphans}
        unknown = [provider_id for provider_id in ids if provider_id not in owners]
        if unknown:
            raise _unknown(service, unknown[0], owners)
        mine = tuple(Order(provider_id, owners[provider_id], action) for provider_id in ids)
        others = [order for order in _orders(service) if order.provider_id not in set(ids)]
        try:
            await _write(cluster, obj, (*others, *mine))
        except Conflict:
            continue
        return mine
    raise CliError(f"HostingService {name} changes all the time: try again")


def _unknown(service: HostingService, provider_id: str, owners: Mapping[str, str]) -> CliError:
    """Status tells of the oldest few only: what it does not tell of may be an orphan all the same."""
    name, count = service.metadata.name, service.status.orphan_count or 0
    if count > len(owners):
        return CliError(
            f"{provider_id} is not among the {len(owners)} orphans that status tells of; {name} has {count}",
            Exit.NOT_FOUND,
            hint=f"those {len(owners)} have to be dealt with first (moorage orphans {name}); then it tells of the next",
        )
    hint = nearby(provider_id, owners) or "status tells of none: moorage orphans SERVICE --live asks the service"
    return CliError(f"{provider_id} is no orphan of {name}", Exit.NOT_FOUND, hint=hint)


async def await_done(cluster: Cluster, name: str, orders: Sequence[Order], say: Callable[[str], None]) -> None:
    """Wait until none of them is an orphan any more, and take the orders back; `say` is told what it waits for.

    Raises CliError where that takes too long.
    """
    waiting, message = {(order.provider_id, order.virtual_server) for order in orders}, ""
    try:
        async with asyncio.timeout(PATIENCE):
            while True:
                service = read(HostingService, await cluster.one(HOSTING_SERVICE, name))
                left = [o for o in service.status.orphans if (o.provider_id, o.virtual_server) in waiting]
                before, message = message, next((safe(o.message) for o in left if o.message), "")
                if message not in {"", before}:
                    say(message)
                if not left:
                    break
                await asyncio.sleep(LOOK)
    except TimeoutError:
        raise CliError(
            f"not done within {PATIENCE:g} s; the order stays: {message or 'the controller has not come to it'}",
            Exit.NOT_READY,
            hint=f"take it back: kubectl annotate hs {name} {ANNOTATION_ORPHANS}-",
        ) from None
    await _take_back(cluster, name, waiting)


async def _take_back(cluster: Cluster, name: str, done: set[tuple[str, str]]) -> None:
    for _ in range(TRIES):
        obj = await cluster.one(HOSTING_SERVICE, name)
        orders = _orders(read(HostingService, obj))
        left = tuple(order for order in orders if (order.provider_id, order.virtual_server) not in done)
        try:
            if left != orders:
                await _write(cluster, obj, left)
        except Conflict:
            continue
        return


def _orders(service: HostingService) -> tuple[Order, ...]:
    try:
        return read_orders(service.metadata.annotations.get(ANNOTATION_ORPHANS))
    except ValueError as error:
        raise CliError(
            f"the annotation {ANNOTATION_ORPHANS} of {service.metadata.name} cannot be read: {error}",
            hint=f"remove it: kubectl annotate hs {service.metadata.name} {ANNOTATION_ORPHANS}-",
        ) from None


async def _write(cluster: Cluster, obj: dict[str, Any], orders: Sequence[Order]) -> None:
    meta = obj["metadata"]
    patch = {
        "metadata": {
            "resourceVersion": meta["resourceVersion"],
            "annotations": {ANNOTATION_ORPHANS: write_orders(orders)},
        }
    }
    await cluster.client.patch(HOSTING_SERVICE, None, meta["name"], patch, manager="moorage-cli")
