"""Volumes of a project of the Hetzner Cloud. Their names are their keys, which the API keeps unique."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import Final, TypeVar

import hcloud
from hcloud.locations import Location
from hcloud.servers import Server
from hcloud.volumes import BoundVolume, Volume

from moorage.hosting.abilities import VolumeRecord
from moorage.hosting.errors import Invalid, KeyConflict, NotFound, Unavailable
from moorage.hosting.hetzner.answers import NotUnique
from moorage.hosting.hetzner.client import Client, list_volumes
from moorage.hosting.hetzner.launch import check_labels
from moorage.hosting.hetzner.records import LABEL_KEY, OWN_LABELS
from moorage.hosting.hetzner.settings import HetznerSettings

T = TypeVar("T")
SMALLEST: Final = 10
"""GB of the smallest volume that the API makes."""


class HetznerVolumes:
    """The ability Volumes, and how calls are made."""

    _client: Client
    _settings: HetznerSettings
    _region: str

    async def create_volume(self, key: str, size_gib: int, tags: Mapping[str, str], near: str | None) -> VolumeRecord:
        """See `Volumes.create_volume`. `near` is a location; without it the service's."""
        labels = {**tags, LABEL_KEY: key}
        check_labels(labels)
        place = near or self._region
        if not place:
            raise Invalid("a volume needs a location: give the service a region", field="region")
        if size_gib < SMALLEST:
            raise Invalid(f"the smallest volume at Hetzner has {SMALLEST} GB", field="size")

        def make(sdk: hcloud.Client) -> VolumeRecord:
            try:
                # The SDK says that labels are a text; they are sent as they are.
                made = sdk.volumes.create(size_gib, key, labels, Location(name=place))  # type: ignore[arg-type]
            except NotUnique:
                return _made_before(sdk, key)
            found = _record(made.volume)
            if found.key != key:
                raise Unavailable("the service answered with another volume than the one created")
            return found

        return await self._client.run("create volume", self._settings.create_timeout, make, slow=True)

    async def volumes(self) -> tuple[VolumeRecord, ...]:
        """See `Volumes.volumes`: the whole project, all locations."""
        return await self._all(
            "volumes",
            lambda sdk: tuple(_record(each) for each in self._client.pages(partial(list_volumes, sdk))),
        )

    async def attach_volume(self, volume_id: str, provider_id: str) -> None:
        """See `Volumes.attach_volume`."""
        volume, server = number_of(volume_id), number_of(provider_id)

        def attach(sdk: hcloud.Client) -> None:
            holder = _record(_volume(sdk, volume)).attached_to
            if holder == provider_id:
                return
            if holder is not None:
                raise Invalid("the volume hangs on another server", field="volume")
            try:
                sdk.volumes.attach(Volume(id=volume), Server(id=server), automount=False)
            except Invalid:
                # Another call may have attached it in the meantime: to this server, and all is well.
                if _record(_volume(sdk, volume)).attached_to != provider_id:
                    raise

        await self._ask("attach volume", attach, one=True)

    async def detach_volume(self, volume_id: str) -> None:
        """See `Volumes.detach_volume`."""
        volume = number_of(volume_id)

        def detach(sdk: hcloud.Client) -> None:
            if _record(_volume(sdk, volume)).attached_to is None:
                return
            try:
                sdk.volumes.detach(Volume(id=volume))
            except Invalid:
                if _record(_volume(sdk, volume)).attached_to is not None:
                    raise

        await self._ask("detach volume", detach, one=True)

    async def delete_volume(self, volume_id: str) -> None:
        """See `Volumes.delete_volume`."""
        volume = number_of(volume_id)

        def delete(sdk: hcloud.Client) -> None:
            if _record(_volume(sdk, volume)).attached_to is not None:
                raise Invalid("the volume is attached to a server", field="volume")
            sdk.volumes.delete(Volume(id=volume))

        try:
            await self._ask("delete volume", delete, one=True)
        except NotFound:
            return

    async def _ask(self, what: str, call: Callable[[hcloud.Client], T], *, one: bool = False) -> T:
        return await self._client.run(what, self._settings.request_timeout, call, one=one)

    async def _all(self, what: str, call: Callable[[hcloud.Client], T]) -> T:
        return await self._client.run(what, self._settings.inventory_timeout, call)


def is_number(provider_id: str) -> bool:
    """Whether the text can be an id at all; with zeros in front it would be a second one of the same object."""
    return provider_id.isascii() and provider_id.isdigit() and len(provider_id) <= 16 and provider_id[0] != "0"


def number_of(provider_id: str) -> int:
    """The id as the API has it. Raises Invalid or NotFound."""
    if provider_id in {"", ".", ".."}:
        raise Invalid("is not an id", field="providerID")
    if not is_number(provider_id):
        # Ids are numbers, so this is none, and the API cannot be asked for it.
        raise NotFound("there is nothing of that id at Hetzner")
    return int(provider_id)


def _volume(sdk: hcloud.Client, number: int) -> BoundVolume:
    volume = sdk.volumes.get_by_id(number)
    if volume.id != number:
        raise Unavailable("the service answered with another volume than the one asked for")
    return volume


def _made_before(sdk: hcloud.Client, key: str) -> VolumeRecord:
    found = [each for each in list_volumes(sdk, name=key)[0] if each.name == key]
    if not found:
        raise Unavailable("the name is taken, but no volume shows that has it: it comes or goes just now")
    if _record(found[0]).key != key:
        raise KeyConflict("there is a volume of that name that somebody else made", field="key")
    return _record(found[0])


def _record(volume: BoundVolume) -> VolumeRecord:
    labels: Mapping[str, str] = volume.labels or {}
    server = volume.data_model.server
    return VolumeRecord(
        volume_id=str(volume.id),
        key=labels.get(LABEL_KEY),
        size_gib=int(volume.size or 0),
        attached_to=str(server.id) if server is not None else None,
        tags={name: value for name, value in labels.items() if name not in OWN_LABELS},
    )
