"""What RunInstances is asked: pure, and the same bytes for the same request."""

from __future__ import annotations

import gzip
import hashlib
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Final

from moorage.hosting.contract import CreateRequest
from moorage.hosting.ec2.settings import BlockDevice, Ec2ServerSettings, Ec2Settings
from moorage.hosting.errors import Invalid
from moorage.hosting.factory import parse_settings

if TYPE_CHECKING:
    from types_boto3_ec2.type_defs import (
        BlockDeviceMappingTypeDef,
        RunInstancesRequestTypeDef,
        TagTypeDef,
    )

TAG_KEY: Final = "moorage-key"
TAG_REQUEST: Final = "moorage-request"
TAG_NAME: Final = "Name"
OWN_TAGS: Final = frozenset({TAG_KEY, TAG_REQUEST, TAG_NAME})
"""The backend's own tags. `Name` is what EC2's console shows as the name."""
MAX_USER_DATA: Final = 16 * 1024
"""Bytes of user-data that EC2 takes, before it is encoded."""
MAX_TOKEN: Final = 64
MAX_TAGS: Final = 50
DEFAULT_HOP_LIMIT: Final = 1

_DEFAULTS = ("security_groups", "key_name", "instance_profile", "block_devices", "metadata_hop_limit", "public_address")


def complete(service: Mapping[str, Any], key: str, server: Mapping[str, Any]) -> Mapping[str, Any]:
    """A server's settings with all that the service's settings add. Raises Invalid.

    What has been completed stays as it is. EC2 keeps a ClientToken for one availability zone, so that a repeated
    request which went to another zone would make a second server: the zone has to be fixed with the request.
    """
    pinned = pin(parse_settings(Ec2Settings, service), key, parse_settings(Ec2ServerSettings, server))
    found: dict[str, Any] = pinned.model_dump(mode="json", by_alias=True, exclude_none=True, exclude_defaults=True)
    return found


def pin(service: Ec2Settings, key: str, server: Ec2ServerSettings) -> Ec2ServerSettings:
    """The same for parsed settings. Raises Invalid for a zone without a subnet, and for what the service does not
    leave to its servers."""
    service.check(server)
    values: dict[str, Any] = {
        name: getattr(service, name)
        for name in _DEFAULTS
        if getattr(server, name) is None and getattr(service, name) is not None
    }
    if server.subnet is None and service.subnets:
        zone = server.zone or zone_of(key, service.subnets)
        if zone not in service.subnets:
            known = ", ".join(sorted(service.subnets))
            raise Invalid(f"the HostingService has no subnet in that zone; it has {known}", field="settings.zone")
        values |= {"zone": zone, "subnet": service.subnets[zone]}
    return server.model_copy(update=values)


def zone_of(key: str, zones: Mapping[str, str]) -> str:
    """One of the zones, evenly over keys, and mostly the same one when zones come and go.

    For what no group spreads: volumes, and servers that were asked for before groups did.
    """
    return max(zones, key=lambda zone: hashlib.sha256(f"{key}/{zone}".encode()).digest())


def zones(service: Mapping[str, Any], server: Mapping[str, Any]) -> Mapping[str, Mapping[str, Any]]:
    """See `BackendFactory.zones`: those that have a subnet."""
    subnets = service.get("subnets")
    if not isinstance(subnets, Mapping) or server.get("zone") is not None or server.get("subnet") is not None:
        return {}
    return {zone: {"zone": zone} for zone in sorted(subnets)}


def fallback(settings: Mapping[str, Any]) -> Mapping[str, Any] | None:
    """See `BackendFactory.fallback`: on-demand after spot."""
    return {**settings, "market": "OnDemand"} if settings.get("market") == "SpotThenOnDemand" else None


def spot(settings: Mapping[str, Any]) -> Mapping[str, Any] | None:
    """See `BackendFactory.spot`: a spot instance, unless the settings name a market themselves."""
    return None if "market" in settings else {**settings, "market": "Spot"}


def parameters(request: CreateRequest, settings: Ec2ServerSettings) -> RunInstancesRequestTypeDef:
    """The parameters of RunInstances for one server. Raises Invalid before anything was asked."""
    if not request.image:
        raise Invalid("a server on EC2 needs the id of an AMI", field="image")
    if not request.offering:
        raise Invalid("a server on EC2 needs an instance type", field="offering")
    if not request.key.isascii() or not 1 <= len(request.key) <= MAX_TOKEN:
        raise Invalid(f"must be 1 to {MAX_TOKEN} ASCII characters", field="key")
    tags = tags_of(request, settings)
    asked: RunInstancesRequestTypeDef = {
        "ClientToken": request.key,
        "MinCount": 1,
        "MaxCount": 1,
        "ImageId": request.image,
        "InstanceType": request.offering,  # type: ignore[typeddict-item]  # the service knows newer ones than its stubs
        "TagSpecifications": [
            {"ResourceType": "instance", "Tags": tags},
            {"ResourceType": "volume", "Tags": tags},
        ],
        "MetadataOptions": {
            "HttpTokens": "required",
            "HttpEndpoint": "enabled",
            "HttpPutResponseHopLimit": settings.metadata_hop_limit or DEFAULT_HOP_LIMIT,
        },
    }
    if request.user_data:
        asked["UserData"] = user_data(request.user_data)  # type: ignore[typeddict-item]  # the SDK takes bytes too
    if settings.key_name is not None:
        asked["KeyName"] = settings.key_name
    if settings.instance_profile is not None:
        named = "Arn" if settings.instance_profile.startswith("arn:") else "Name"
        asked["IamInstanceProfile"] = {named: settings.instance_profile}  # type: ignore[misc]
    if settings.block_devices:
        asked["BlockDeviceMappings"] = [_device(device) for device in settings.block_devices]
    _network(asked, settings)
    _market(asked, settings)
    return asked


def _network(asked: RunInstancesRequestTypeDef, settings: Ec2ServerSettings) -> None:
    groups = list(settings.security_groups or ())
    if settings.public_address is not None:
        # Whether there is a public address can be said of an interface only, and the rest must then be said there too.
        asked["NetworkInterfaces"] = [{"DeviceIndex": 0, "AssociatePublicIpAddress": settings.public_address}]
        if settings.subnet is not None:
            asked["NetworkInterfaces"][0]["SubnetId"] = settings.subnet
        if groups:
            asked["NetworkInterfaces"][0]["Groups"] = groups
    else:
        if settings.subnet is not None:
            asked["SubnetId"] = settings.subnet
        if groups:
            asked["SecurityGroupIds"] = groups
    if settings.subnet is None and settings.zone is not None:
        asked["Placement"] = {"AvailabilityZone": settings.zone}


def _market(asked: RunInstancesRequestTypeDef, settings: Ec2ServerSettings) -> None:
    if settings.market == "OnDemand":
        return
    # One-time and terminated when taken back: a persistent request would make servers on its own, without our key.
    asked["InstanceMarketOptions"] = {
        "MarketType": "spot",
        "SpotOptions": {"SpotInstanceType": "one-time", "InstanceInterruptionBehavior": "terminate"},
    }
    if settings.spot_max_price is not None:
        asked["InstanceMarketOptions"]["SpotOptions"]["MaxPrice"] = f"{settings.spot_max_price:f}"


def _device(device: BlockDevice) -> BlockDeviceMappingTypeDef:
    found = {
        "VolumeSize": device.size,
        "VolumeType": device.type,
        "Iops": device.iops,
        "Throughput": device.throughput,
        "Encrypted": device.encrypted,
        "KmsKeyId": device.kms_key,
        "SnapshotId": device.snapshot,
        "DeleteOnTermination": not device.keep,
    }
    ebs: Any = {name: value for name, value in found.items() if value is not None}
    return {"DeviceName": device.device, "Ebs": ebs}


def user_data(text: str) -> bytes:
    """User-data as it is sent, compressed only where it would not fit. Raises Invalid where it cannot.

    Compressed data may differ by a byte with another zlib, and a repeated request must not: hence only where needed.
    """
    raw = text.encode()
    if len(raw) <= MAX_USER_DATA:
        return raw
    packed = gzip.compress(raw, mtime=0)
    if len(packed) > MAX_USER_DATA:
        raise Invalid(
            f"is {len(raw)} bytes, {len(packed)} compressed, and EC2 takes {MAX_USER_DATA}: make it shorter",
            field="userData",
        )
    return packed


def tags_of(request: CreateRequest, settings: Ec2ServerSettings) -> list[TagTypeDef]:
    """Every tag of the server and its disks, in a fixed order. Raises Invalid(field="tags")."""
    own = {TAG_KEY: request.key, TAG_REQUEST: request.digest(), TAG_NAME: request.name}
    tags = {**settings.tags, **request.tags, **own}
    if len(tags) > MAX_TAGS:
        raise Invalid(f"{len(tags)} tags, and EC2 takes {MAX_TAGS}", field="tags")
    if any(len(name) > 128 or len(value) > 256 or name.lower().startswith("aws:") for name, value in tags.items()):
        raise Invalid("names of tags have at most 128 characters, not aws: in front, and values 256", field="tags")
    return [{"Key": name, "Value": tags[name]} for name in sorted(tags)]
