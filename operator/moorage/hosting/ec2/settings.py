"""Settings of a HostingService of type `ec2` (`spec.settings`) and of a server on one."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, StringConstraints
from pydantic.alias_generators import to_camel

from moorage.api.quantities import Price, Seconds
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
    """One disk of a server."""

    device: Device = Field(description="Its name, as the image has it (`/dev/xvda` for the root disk).")
    size: Annotated[int, Field(ge=1, le=65536)] | None = Field(
        default=None, description="GiB. Default: that of the image or snapshot."
    )
    type: Literal["gp2", "gp3", "io1", "io2", "st1", "sc1", "standard"] | None = Field(
        default=None, description="The kind of EBS volume."
    )
    iops: Annotated[int, Field(ge=100, le=256_000)] | None = Field(
        default=None, description="Operations a second, of the kinds that let them be chosen."
    )
    throughput: Annotated[int, Field(ge=125, le=2000)] | None = Field(default=None, description="MiB/s of a gp3.")
    encrypted: bool | None = Field(default=None, description="Encrypt it.")
    kms_key: Annotated[str, StringConstraints(min_length=1, max_length=2048)] | None = Field(
        default=None, description="The KMS key that encrypts it. Default: the account's own for EBS."
    )
    snapshot: SnapshotId | None = Field(default=None, description="The snapshot that it is made of.")
    keep: bool = Field(default=False, description="Leave it when the server goes.")


Devices = Annotated[tuple[BlockDevice, ...], Field(max_length=27)]


class _Launch(_Settings):
    """What both a service and a server can say of a launch; the server's word goes first."""

    security_groups: Groups | None = Field(
        default=None, description="Ids of security groups, all of the subnet's VPC. Default: the VPC's own."
    )
    key_name: KeyName | None = Field(default=None, description="The key pair.")
    instance_profile: Profile | None = Field(default=None, description="Name or ARN of the IAM instance profile.")
    block_devices: Devices | None = Field(default=None, description="Disks, besides and instead of the image's own.")
    metadata_hop_limit: Annotated[int, Field(ge=1, le=64)] | None = Field(
        default=None,
        description="How many hops away from the server its metadata may be read, by tokens only (IMDSv2). Default: 1.",
    )
    public_address: bool | None = Field(
        default=None, description="Whether it gets a public IP address. Default: as the subnet says."
    )


class Ec2ServerSettings(_Launch):
    """How one server is launched; what is left out comes from the HostingService's settings."""

    zone: Zone | None = Field(
        default=None, description="The availability zone; its subnet comes from the HostingService's `subnets`."
    )
    subnet: SubnetId | None = Field(default=None, description="The subnet itself; its zone follows from it.")
    market: Market = Field(
        default="OnDemand",
        description="OnDemand; Spot: a spot instance, which EC2 may take back; SpotThenOnDemand: a spot instance, and "
        "where there is no spot capacity another try as OnDemand, for a new server.",
    )
    spot_max_price: Price | None = Field(
        default=None, description="The most that an hour of spot may cost. Default: the on-demand price."
    )
    tags: Annotated[
        dict[
            Annotated[str, StringConstraints(min_length=1, max_length=128), AfterValidator(_free)],
            Annotated[str, StringConstraints(max_length=256)],
        ],
        Field(max_length=40),
    ] = Field(default={}, description="Further tags of the server and its disks.")


class Ec2Settings(_Launch):
    """How to talk to EC2, and what its servers have in common."""

    ca_bundle: str = Field(
        default="",
        description="PEM of the roots that the service's certificate is checked against. Default: the system's.",
    )
    sts_endpoint: Annotated[str, StringConstraints(pattern=r"^(https?://[^\s?#@]+)?$")] = Field(
        default="",
        description="Address of the service's STS, which tells whose account it is. Default: the region's own for AWS; "
        "other services are asked for the owner of the default security group.",
    )
    instance_role: bool = Field(
        default=False,
        description="Use the credentials of this machine (instance profile, IRSA, pod identity) where the "
        "HostingService names no Secret.",
    )
    allow_plain_http: AllowPlainHttp = False
    request_timeout: Seconds = Field(default=20.0, gt=0, le=300, description="Bound of every call but a creation.")
    create_timeout: Seconds = Field(default=60.0, gt=0, le=3600, description="Bound of a creation.")
    inventory_timeout: Seconds = Field(
        default=120.0, gt=0, le=3600, description="Bound of an inventory with all its pages."
    )
    page_size: int = Field(default=500, ge=5, le=1000, description="Servers asked for per page.")
    listing_lag: Seconds = Field(default=60.0, le=3600, description="How late listings may be.")
    idempotent_create: bool = Field(
        default=True, description="false for an EC2-compatible service that does not know ClientToken."
    )
    subnets: Annotated[dict[Zone, SubnetId], Field(max_length=32)] = Field(
        default={},
        description="Subnet by availability zone; servers of a group that name none are spread over them. Default: EC2 "
        "chooses in the default VPC.",
    )
    instance_types: Annotated[tuple[InstanceType, ...], Field(max_length=100)] = Field(
        default=(), description="The types to be offered, at most 100 (EC2 has more than 900)."
    )
    prices: Annotated[dict[InstanceType, Price], Field(max_length=1000)] = Field(
        default={}, description="Price of one hour by type."
    )
    instance_profiles: Annotated[tuple[Profile, ...], Field(max_length=100)] = Field(
        default=(),
        description="IAM instance profiles that servers may name beside the service's own `instanceProfile`: whoever "
        "controls a server has the rights of its profile.",
    )
    snapshots: Annotated[tuple[SnapshotId, ...], Field(max_length=100)] = Field(
        default=(),
        description="Snapshots that servers may have disks of, beside those of the service's own `blockDevices`: "
        "whoever controls a server can read them.",
    )
    image_owners: Annotated[
        tuple[Annotated[str, StringConstraints(pattern=r"^([0-9]{12}|self|amazon|aws-marketplace)$")], ...],
        Field(max_length=16),
    ] = Field(
        default=(),
        description="Whose images are listed (account ids, `self`, `amazon`): groups whose image is not listed are "
        "then not placed here. Default: images are not listed, and one that does not exist shows at the creation.",
    )

    def check(self, server: Ec2ServerSettings) -> None:
        """Raises Invalid for what the service does not leave to whoever writes a server's settings."""
        if server.instance_profile not in {None, self.instance_profile, *self.instance_profiles}:
            text = "the HostingService does not allow this instance profile: its setting instanceProfiles names others"
            raise Invalid(text, field="settings.instanceProfile")
        own = {device.snapshot for device in self.block_devices or ()}
        if not {device.snapshot for device in server.block_devices or ()} <= {None, *own, *self.snapshots}:
            text = "the HostingService does not allow this snapshot: its setting snapshots names others"
            raise Invalid(text, field="settings.blockDevices")
