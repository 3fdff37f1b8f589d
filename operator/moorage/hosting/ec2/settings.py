"""Settings of a HostingService of type `ec2` (`spec.settings`) and of a server on one."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, StringConstraints
from pydantic.alias_generators import to_camel

from moorage.api.hostd import Seconds
from moorage.api.quantities import Price
from moorage.hosting.errors import Invalid
from moorage.hosting.plain import AllowPlainHttp

Market = Literal["OnDemand", "Spot", "SpotThenOnDemand"]
Zone = Annotated[str, StringConstraints(pattern=r"^[a-z0-9-]{1,63}$")]
SubnetId = Annotated[str, StringConstraints(pattern=r"^subnet-[0-9a-z]{1,32}$")]
SnapshotId = Annotated[str, StringConstraints(pattern=r"^snap-[0-9a-z]{1,32}$")]
GroupId = Annotated[str, StringConstraints(pattern=r"^sg-[0-9a-z]{1,32}$")]
InstanceType = Annotated[str, StringConstraints(pattern=r"^[a-z0-9][a-z0-9.-]{0,62}$")]
Device = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9/]{1,32}$")]
Groups = Annotated[tuple[GroupId, ...], Field(max_length=16)]
KeyName = Annotated[str, StringConstraints(min_length=1, max_length=255)]
Profile = Annotated[str, StringConstraints(pattern=r"^[\w+=,.@:/-]{1,200}$")]


def _free(name: str) -> str:
    if name == "Name" or name.lower().startswith(("aws:", "moorage-")):
        raise ValueError("Name, aws:... and moorage-... are not free to use")
    return name


class _Settings(BaseModel):
    model_config = ConfigDict(
        alias_generator=to_camel, populate_by_name=True, extra="forbid", frozen=True, hide_input_in_errors=True
    )


class BlockDevice(_Settings):
    """One disk of a server.

    device: its name, as the image has it (`/dev/xvda` for the root disk). size: GiB. type: the kind of EBS volume.
    keep: leave it when the server goes.
    """

    device: Device
    size: Annotated[int, Field(ge=1, le=65536)] | None = None
    type: Literal["gp2", "gp3", "io1", "io2", "st1", "sc1", "standard"] | None = None
    iops: Annotated[int, Field(ge=100, le=256_000)] | None = None
    throughput: Annotated[int, Field(ge=125, le=2000)] | None = None
    encrypted: bool | None = None
    kms_key: Annotated[str, StringConstraints(min_length=1, max_length=2048)] | None = None
    snapshot: SnapshotId | None = None
    keep: bool = False


Devices = Annotated[tuple[BlockDevice, ...], Field(max_length=27)]


class _Launch(_Settings):
    """What both a service and a server can say of a launch; the server's word goes first."""

    security_groups: Groups | None = None
    key_name: KeyName | None = None
    instance_profile: Profile | None = None
    block_devices: Devices | None = None
    metadata_hop_limit: Annotated[int, Field(ge=1, le=64)] | None = None
    public_address: bool | None = None


class Ec2ServerSettings(_Launch):
    """How one server is launched; what is left out comes from the HostingService's settings.

    zone: the availability zone; its subnet comes from the HostingService's `subnets`. subnet: the subnet itself
    (its zone follows from it). security_groups: ids, all of the subnet's VPC. key_name: the key pair. instance_profile:
    name or ARN of the IAM instance profile. block_devices: disks, besides and instead of the image's own.
    metadata_hop_limit: how many hops away from the server its metadata may be read, by tokens only (IMDSv2).
    public_address: whether it gets a public IP address; without a word the subnet decides.
    market: OnDemand; Spot: a spot instance, which EC2 may take back; SpotThenOnDemand: a spot instance, and where there
    is no spot capacity another try as OnDemand, for a new server. spot_max_price: the most that an hour of spot may
    cost; without it the on-demand price. tags: further tags of the server and its disks.
    """

    zone: Zone | None = None
    subnet: SubnetId | None = None
    market: Market = "OnDemand"
    spot_max_price: Price | None = None
    tags: Annotated[
        dict[
            Annotated[str, StringConstraints(min_length=1, max_length=128), AfterValidator(_free)],
            Annotated[str, StringConstraints(max_length=256)],
        ],
        Field(max_length=40),
    ] = {}


class Ec2Settings(_Launch):
    """How to talk to EC2, and what its servers have in common.

    ca_bundle: PEM of the roots that the service's certificate is checked against; without it the system's.
    sts_endpoint: address of the service's STS, which tells whose account it is; without it, the region's own for AWS,
    and for other services the owner of the default security group. instance_role: use the credentials of this machine
    (instance profile, IRSA, pod identity) where the HostingService names no Secret.
    allow_plain_http: send signed requests, session and join tokens by plain http to another machine too.
    request_timeout: bound of every call but a creation. create_timeout: bound of a creation. inventory_timeout: bound
    of an inventory with all its pages. page_size: servers asked for per page. listing_lag: how late listings may be.
    idempotent_create: false for an EC2-compatible service that does not know ClientToken.
    subnets: subnet by availability zone; servers of a group that name none are spread over them. security_groups,
    key_name, instance_profile, block_devices, metadata_hop_limit, public_address: of servers that do not say otherwise.
    instance_types: the types to be offered, at most 100 (EC2 has more than 900). prices: price of one hour, by type.
    instance_profiles: the IAM instance profiles that servers may name beside the service's own `instance_profile`:
    whoever controls a server has the rights of its profile. snapshots: the snapshots that servers may have disks of:
    whoever controls a server can read them.
    image_owners: whose images are listed (account ids, `self`, `amazon`): groups whose image is not listed are then
    not placed here. Without it images are not listed, and an image that does not exist shows at the creation.
    """

    ca_bundle: str = ""
    sts_endpoint: Annotated[str, StringConstraints(pattern=r"^(https?://[^\s?#@]+)?$")] = ""
    instance_role: bool = False
    allow_plain_http: AllowPlainHttp = False
    request_timeout: Seconds = Field(default=20.0, gt=0, le=300)
    create_timeout: Seconds = Field(default=60.0, gt=0, le=3600)
    inventory_timeout: Seconds = Field(default=120.0, gt=0, le=3600)
    page_size: int = Field(default=500, ge=5, le=1000)
    listing_lag: Seconds = Field(default=60.0, le=3600)
    idempotent_create: bool = True
    subnets: Annotated[dict[Zone, SubnetId], Field(max_length=32)] = {}
    instance_types: Annotated[tuple[InstanceType, ...], Field(max_length=100)] = ()
    prices: Annotated[dict[InstanceType, Price], Field(max_length=1000)] = {}
    instance_profiles: Annotated[tuple[Profile, ...], Field(max_length=100)] = ()
    snapshots: Annotated[tuple[SnapshotId, ...], Field(max_length=100)] = ()
    image_owners: Annotated[
        tuple[Annotated[str, StringConstraints(pattern=r"^([0-9]{12}|self|amazon|aws-marketplace)$")], ...],
        Field(max_length=16),
    ] = ()

    def check(self, server: Ec2ServerSettings) -> None:
        """Raises Invalid for what the service does not leave to whoever writes a server's settings."""
        if server.instance_profile not in {None, self.instance_profile, *self.instance_profiles}:
            text = "the HostingService does not allow this instance profile: its setting instanceProfiles names others"
            raise Invalid(text, field="settings.instanceProfile")
        own = {device.snapshot for device in self.block_devices or ()}
        if not {device.snapshot for device in server.block_devices or ()} <= {None, *own, *self.snapshots}:
            text = "the HostingService does not allow this snapshot: its setting snapshots names others"
            raise Invalid(text, field="settings.blockDevices")
