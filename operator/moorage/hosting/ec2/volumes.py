"""EBS volumes that outlive the servers they hang on."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Final

from moorage.hosting.abilities import VolumeRecord
from moorage.hosting.ec2.client import Clients
from moorage.hosting.ec2.launch import OWN_TAGS, TAG_KEY, zone_of
from moorage.hosting.ec2.paging import Pages
from moorage.hosting.ec2.records import tags_of
from moorage.hosting.ec2.settings import Ec2Settings
from moorage.hosting.errors import HostingError, Invalid, NotFound, Unavailable

if TYPE_CHECKING:
    from types_boto3_ec2.type_defs import VolumeResponseTypeDef, VolumeTypeDef

    Volume = VolumeTypeDef | VolumeResponseTypeDef

_DEVICES: Final = tuple(f"/dev/sd{letter}" for letter in "fghijklmnop")
"""The names that AWS recommends for data volumes."""


class BlockVolumes:
    """The ability `Volumes`."""

    _clients: Clients
    _pages: Pages
    _settings: Ec2Settings

    async def create_volume(self, key: str, size_gib: int, tags: Mapping[str, str], near: str | None) -> VolumeRecord:
        """See `Volumes.create_volume`. Without a zone it is one of those with a subnet, by the key; raises
        Invalid(field="zone") where there is none: every EBS volume is in a zone."""
        zone = near or (zone_of(key, self._settings.subnets) if self._settings.subnets else None)
        if zone is None:
            raise Invalid("an EBS volume is made in an availability zone: name one", field="zone")
        wanted: list[Any] = [{"Key": name, "Value": value} for name, value in sorted({**tags, TAG_KEY: key}.items())]
        answer = await self._clients.create(
            "CreateVolume",
            lambda ec2: ec2.create_volume(
                ClientToken=key,
                AvailabilityZone=zone,
                Size=size_gib,
                TagSpecifications=[{"ResourceType": "volume", "Tags": wanted}],
            ),
        )
        return _volume(answer)

    async def volumes(self) -> tuple[VolumeRecord, ...]:
        """See `Volumes.volumes`: the servers' own disks too."""
        async with self._pages.in_time("the list of volumes"):
            found = await self._pages.take(
                "DescribeVolumes",
                "Volumes",
                lambda ec2, page: ec2.describe_volumes(**page),
            )
        return tuple(_volume(one) for one in found)

    async def attach_volume(self, volume_id: str, provider_id: str) -> None:
        """See `Volumes.attach_volume`. It gets the first free device name from /dev/sdf on."""
        hangs_on = (await self._volume(volume_id)).attached_to
        if hangs_on == provider_id:
            return
        if hangs_on is not None:
            raise Invalid("it is attached to another server", field="volume")
        answer = await self._clients.ec2(
            "DescribeInstances", lambda ec2: ec2.describe_instances(InstanceIds=[provider_id])
        )
        used = {
            mapping.get("DeviceName", "")
            for reservation in answer.get("Reservations", [])
            for instance in reservation.get("Instances", [])
            for mapping in instance.get("BlockDeviceMappings", [])
        }
        device = next((name for name in _DEVICES if name not in used), None)
        if device is None:
            raise Invalid("the server has no device name left for another volume", field="volume")
        try:
            await self._clients.ec2(
                "AttachVolume",
                lambda ec2: ec2.attach_volume(VolumeId=volume_id, InstanceId=provider_id, Device=device),
            )
        except Invalid:
            # Another call may have attached it in the meantime: to this server, and all is well.
            if (await self._volume(volume_id)).attached_to != provider_id:
                raise

    async def detach_volume(self, volume_id: str) -> None:
        """See `Volumes.detach_volume`."""
        server = (await self._volume(volume_id)).attached_to
        if server is None:
            return
        try:
            await self._clients.ec2(
                "DetachVolume", lambda ec2: ec2.detach_volume(VolumeId=volume_id, InstanceId=server)
            )
        except HostingError:
            if (await self._volume(volume_id)).attached_to is not None:
                raise

    async def delete_volume(self, volume_id: str) -> None:
        """See `Volumes.delete_volume`."""
        try:
            await self._clients.ec2("DeleteVolume", lambda ec2: ec2.delete_volume(VolumeId=volume_id))
        except Invalid:
            try:
                attached = (await self._volume(volume_id)).attached_to
            except NotFound:
                return
            if attached is not None:
                raise Invalid("it is attached to a server", field="volume") from None
            raise

    async def _volume(self, volume_id: str) -> VolumeRecord:
        """One volume. Raises NotFound."""
        from botocore.exceptions import ClientError

        def ask(ec2: Any) -> Any:
            try:
                return ec2.describe_volumes(VolumeIds=[volume_id])
            except ClientError as error:
                if error.response.get("Error", {}).get("Code") in {
                    "InvalidVolume.NotFound",
                    "InvalidVolumeID.Malformed",
                }:
                    raise NotFound(f"volume {volume_id} does not exist") from None
                raise

        answer = await self._clients.ec2("DescribeVolumes", ask)
        for one in answer.get("Volumes", []):
            if one.get("VolumeId") == volume_id:
                return _volume(one)
        raise Unavailable("DescribeVolumes: the service answered with another volume than the one asked for")


def _volume(volume: Volume) -> VolumeRecord:
    volume_id = volume.get("VolumeId")
    if not volume_id:
        raise Unavailable("the service listed a volume without an id")
    tags = tags_of(volume.get("Tags", ()))
    attached = [
        str(one.get("InstanceId")) for one in volume.get("Attachments", ()) if one.get("State") not in {"detached"}
    ]
    return VolumeRecord(
        volume_id=volume_id,
        key=tags.get(TAG_KEY),
        size_gib=int(volume.get("Size", 0)),
        attached_to=attached[0] if attached else None,
        tags={name: value for name, value in tags.items() if name not in OWN_TAGS},
    )
