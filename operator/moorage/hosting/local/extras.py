"""What hostd can do beyond the contract."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Mapping, Sequence
from decimal import Decimal
from typing import Any

from pydantic import ValidationError

from moorage.api import hostd
from moorage.hosting.abilities import VolumeRecord
from moorage.hosting.contract import ServerRecord
from moorage.hosting.errors import Invalid, NotFound, Unavailable
from moorage.hosting.local.client import Client, segment
from moorage.hosting.local.records import record, volume_record

SILENCE = 30.0
"""Seconds without a sign of life after which no more events are waited for; hostd gives one every 10 s."""


def _json(**fields: Any) -> bytes:
    return json.dumps(fields).encode()


class LocalAbilities:
    """The abilities Power, Resize, Spot, BatchGet, BatchDelete, Events, Volumes and Addresses."""

    BATCH = hostd.MAX_BATCH

    def __init__(self, client: Client) -> None:
        self._client = client

    async def start(self, provider_id: str) -> None:
        """See `Power.start`."""
        await self._client.call("POST", f"servers/{segment(provider_id)}/start")

    async def stop(self, provider_id: str) -> None:
        """See `Power.stop`."""
        await self._client.call("POST", f"servers/{segment(provider_id)}/stop")

    async def resize(self, provider_id: str, offering: str) -> None:
        """See `Resize.resize`."""
        await self._client.call("POST", f"servers/{segment(provider_id)}/resize", body=_json(offering=offering))

    async def spot_prices(self) -> Mapping[str, Decimal]:
        """See `Spot.spot_prices`."""
        found = await self._client.ask("GET", "offerings", hostd.OfferingList)
        return {o.name: o.spot_price_per_hour for o in found.items if o.spot_price_per_hour is not None}

    async def get_many(self, provider_ids: Sequence[str]) -> Mapping[str, ServerRecord | None]:
        """See `BatchGet.get_many`."""
        return await self._batch("get", provider_ids)

    async def delete_many(self, provider_ids: Sequence[str]) -> None:
        """See `BatchDelete.delete_many`."""
        await self._batch("delete", provider_ids)

    async def _batch(self, act: str, provider_ids: Sequence[str]) -> dict[str, ServerRecord | None]:
        if not provider_ids:
            return {}
        if not all(provider_ids) or len(provider_ids) > self.BATCH:
            raise Invalid(f"must be 1 to {self.BATCH} ids of servers", field="providerID")
        answer = await self._client.ask("POST", f"batch/{act}", hostd.ServerBatch, body=_json(ids=list(provider_ids)))
        found: dict[str, ServerRecord | None] = {server.id: record(server) for server in answer.items}
        found |= dict.fromkeys(answer.missing)
        if set(found) != set(provider_ids) or len(answer.items) + len(answer.missing) != len(found):
            raise Unavailable("the service did not answer for each of the servers")
        return found

    async def events(self) -> AsyncIterator[str]:
        """See `Events.events`."""
        async for line in self._client.lines("events", "events", silence=SILENCE):
            if not line:
                continue
            try:
                yield hostd.Change.model_validate_json(line).id
            except ValidationError:
                raise Unavailable("events: a line makes no sense") from None
        raise Unavailable("events: the service ended them")

    async def create_volume(self, key: str, size_gib: int, tags: Mapping[str, str], near: str | None) -> VolumeRecord:
        """See `Volumes.create_volume`. There are no zones: `near` is not looked at."""
        body = _json(key=key, sizeGib=size_gib, tags=dict(tags))
        volume = await self._client.ask("POST", "volumes", hostd.Volume, body=body)
        if volume.key != key:
            raise Unavailable("the service answered with another volume than the one created")
        return volume_record(volume)

    async def volumes(self) -> tuple[VolumeRecord, ...]:
        """See `Volumes.volumes`."""
        return tuple(volume_record(v) for v in await self._client.pages("volumes", hostd.VolumeList, {}))

    async def attach_volume(self, volume_id: str, provider_id: str) -> None:
        """See `Volumes.attach_volume`."""
        await self._client.call("POST", f"volumes/{segment(volume_id)}/attach", body=_json(server=provider_id))

    async def detach_volume(self, volume_id: str) -> None:
        """See `Volumes.detach_volume`."""
        await self._client.call("POST", f"volumes/{segment(volume_id)}/detach", body=b"{}")

    async def delete_volume(self, volume_id: str) -> None:
        """See `Volumes.delete_volume`."""
        try:
            await self._client.call("DELETE", f"volumes/{segment(volume_id)}")
        except NotFound:
            return

    async def attach_address(self, address: str, provider_id: str) -> None:
        """See `Addresses.attach_address`."""
        path = f"addresses/{segment(address, 'address')}/attach"
        await self._client.call("POST", path, body=_json(server=provider_id))

    async def detach_address(self, address: str) -> None:
        """See `Addresses.detach_address`."""
        await self._client.call("POST", f"addresses/{segment(address, 'address')}/detach", body=b"{}")
