"""hostd's servers and volumes in the contract's words."""

from __future__ import annotations

from moorage.api import hostd
from moorage.hosting.abilities import VolumeRecord
from moorage.hosting.contract import Address, AddressType, ServerRecord, ServerState
from moorage.hosting.errors import clean


def record(server: hostd.Server) -> ServerRecord:
    """A server."""
    return ServerRecord(
        provider_id=server.id,
        key=server.key,
        tags=server.tags,
        state=_state(server.state),
        addresses=tuple(Address(AddressType(a.type), a.address) for a in server.addresses),
        created=server.created,
        message=clean(server.message),
        name=server.name,
        image=server.image,
        offering=server.offering,
    )


def volume_record(volume: hostd.Volume) -> VolumeRecord:
    """A volume."""
    return VolumeRecord(
        volume_id=volume.id,
        key=volume.key,
        size_gib=volume.size_gib,
        attached_to=volume.server,
        tags=volume.tags,
    )


def _state(text: str) -> ServerState:
    try:
        return ServerState(text)
    except ValueError:
        return ServerState.UNKNOWN
