"""What a domain looks like to the contract."""

from __future__ import annotations

from typing import Any

import libvirt

from moorage.hosting.contract import Address, AddressType, ServerRecord, ServerState
from moorage.hosting.errors import clean
from moorage.hosting.libvirt import definition, host
from moorage.hosting.libvirt.definition import Domain

_STATES = {
    libvirt.VIR_DOMAIN_NOSTATE: ServerState.PENDING,
    libvirt.VIR_DOMAIN_RUNNING: ServerState.RUNNING,
    libvirt.VIR_DOMAIN_BLOCKED: ServerState.RUNNING,
    # Being shut down: the guest still runs, and may go on for as long as it likes.
    libvirt.VIR_DOMAIN_SHUTDOWN: ServerState.RUNNING,
    libvirt.VIR_DOMAIN_PAUSED: ServerState.STOPPED,
    libvirt.VIR_DOMAIN_SHUTOFF: ServerState.STOPPED,
    libvirt.VIR_DOMAIN_PMSUSPENDED: ServerState.STOPPED,
    libvirt.VIR_DOMAIN_CRASHED: ServerState.FAILED,
}
_REASONS = {
    (libvirt.VIR_DOMAIN_PAUSED, libvirt.VIR_DOMAIN_PAUSED_IOERROR): (
        ServerState.FAILED,
        "paused: its disk cannot be written, the storage pool may be full",
    ),
    (libvirt.VIR_DOMAIN_PAUSED, libvirt.VIR_DOMAIN_PAUSED_CRASHED): (ServerState.FAILED, "the guest crashed"),
    (libvirt.VIR_DOMAIN_PAUSED, libvirt.VIR_DOMAIN_PAUSED_STARTING_UP): (ServerState.PENDING, ""),
    (libvirt.VIR_DOMAIN_PAUSED, libvirt.VIR_DOMAIN_PAUSED_USER): (ServerState.STOPPED, "paused"),
    (libvirt.VIR_DOMAIN_SHUTOFF, libvirt.VIR_DOMAIN_SHUTOFF_CRASHED): (ServerState.FAILED, "the guest crashed"),
    (libvirt.VIR_DOMAIN_SHUTOFF, libvirt.VIR_DOMAIN_SHUTOFF_FAILED): (ServerState.FAILED, "it failed to start"),
}


def state_of(domain: Any, found: Domain) -> tuple[ServerState, str]:
    """The state, and a few words on it."""
    state, reason = domain.state(0)
    if found.task is not None and found.task.name == "delete":
        return ServerState.TERMINATING, ""
    told, message = _REASONS.get((state, reason), (_STATES.get(state, ServerState.UNKNOWN), ""))
    if found.task is not None and told is ServerState.STOPPED:
        return ServerState.PENDING, ""
    return told, message


def record(domain: Any) -> ServerRecord:
    """A domain as it is now. Raises libvirt's error where it is gone."""
    found = definition.parse(domain.XMLDesc(0))
    state, message = state_of(domain, found)
    shown = host.addresses(domain) if found.leases and state is ServerState.RUNNING else []
    server = found.server
    return ServerRecord(
        provider_id=found.uuid,
        key=server.key if server is not None else None,
        tags=found.tags,
        state=state,
        addresses=tuple(Address(AddressType.INTERNAL, address) for address in shown),
        created=server.created if server is not None else None,
        message=clean(message),
        name=server.name if server is not None else found.title or found.name,
        image=server.image if server is not None else None,
        offering=server.offering if server is not None else None,
    )
