"""Settings of a HostingService of type `openstack` (`spec.settings`) and of a server on one."""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, StringConstraints, model_validator
from pydantic.alias_generators import to_camel

from moorage.api.quantities import Price, Seconds
from moorage.hosting.plain import AllowPlainHttp

Name = Annotated[str, StringConstraints(min_length=1, max_length=255, pattern=r"^[^\x00-\x1f\x7f/]+$")]
Uuid = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{8}-?([0-9a-f]{4}-?){3}[0-9a-f]{12}$")]
Interface = Literal["public", "internal", "admin"]


def _free(name: str) -> str:
    if name.startswith("moorage-"):
        raise ValueError("moorage-... is not free to use")
    return name


MetadataKey = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9_:. -]{1,255}$"), AfterValidator(_free)]


class _Settings(BaseModel):
    model_config = ConfigDict(
        alias_generator=to_camel, populate_by_name=True, extra="forbid", frozen=True, hide_input_in_errors=True
    )


class Network(_Settings):
    """One interface of a server: in a network, or a port that was made before (for one server only)."""

    network: Name | None = Field(default=None, description="Name or id of the network.")
    port: Uuid | None = Field(default=None, description="Id of a port.")
    fixed_ip: Annotated[str, StringConstraints(pattern=r"^[0-9A-Fa-f:.]{2,45}$")] | None = Field(
        default=None, description="The address it gets in the network."
    )

    @model_validator(mode="after")
    def _one_of(self) -> Self:
        if (self.network is None) is (self.port is None):
            raise ValueError("name either a network or a port")
        if self.port is not None and self.fixed_ip is not None:
            raise ValueError("the address of a port is the port's own")
        return self


class BootVolume(_Settings):
    """The volume that a server boots from, made of its image."""

    size: Annotated[int, Field(ge=1, le=65536)] = Field(description="GiB.")
    type: Name | None = Field(default=None, description="Kind of volume. Default: the cloud's own.")
    keep: bool = Field(default=False, description="Leave it when the server goes.")


Networks = Literal["auto", "none"] | Annotated[tuple[Network, ...], Field(min_length=1, max_length=16)]


class _Launch(_Settings):
    """What both a service and a server can say; the server's word goes first."""

    networks: Networks | None = Field(
        default=None,
        description="The interfaces: a list, `auto` (Nova takes or makes the project's own network; the default) or "
        "`none`.",
    )
    security_groups: Annotated[tuple[Name, ...], Field(max_length=16)] | None = Field(
        default=None, description="Names or ids of security groups. Default: the project's group `default`."
    )
    key_name: Name | None = Field(default=None, description="The key pair.")
    zone: Name | None = Field(default=None, description="The availability zone. Default: any.")
    server_group: Uuid | None = Field(default=None, description="Id of a server group (affinity, anti-affinity).")
    boot_volume: BootVolume | None = Field(
        default=None, description="Boot from a volume made of the image. Default: from the flavor's own disk."
    )
    config_drive: bool | None = Field(default=None, description="Give the server a config drive.")


class OpenStackServerSettings(_Launch):
    """How one server is launched; what is left out comes from the HostingService's settings."""

    metadata: Annotated[dict[MetadataKey, Annotated[str, StringConstraints(max_length=255)]], Field(max_length=64)] = (
        Field(default={}, description="Further metadata of the server.")
    )


class OpenStackSettings(_Launch):
    """How to talk to a cloud, and what its servers have in common."""

    ca_bundle: str = Field(
        default="", description="PEM of the roots that certificates are checked against. Default: the system's."
    )
    interface: Interface = Field(default="public", description="Which addresses of the catalogue are used.")
    user_domain: Name = Field(default="Default", description="Domain of the user, where a password is used.")
    project_domain: Name = Field(default="Default", description="Domain of the project, where a password is used.")
    allow_plain_http: AllowPlainHttp = False
    request_timeout: Seconds = Field(default=30.0, gt=0, le=300, description="Bound of every call but a creation.")
    create_timeout: Seconds = Field(default=60.0, gt=0, le=3600, description="Bound of a creation.")
    inventory_timeout: Seconds = Field(default=120.0, gt=0, le=3600, description="Bound of an inventory.")
    page_size: int = Field(default=1000, ge=1, le=1000, description="Servers, flavors and images asked for per page.")
    listing_lag: Seconds = Field(
        default=5.0,
        le=3600,
        description="How late listings may be. Nova's are not, but where its databases are copies.",
    )
    server_networks: Annotated[tuple[Name, ...], Field(max_length=64)] = Field(
        default=(),
        description="Names or ids of the networks that a server's settings may name, beside those of `networks`.",
    )
    server_ports: bool = Field(default=False, description="Whether a server's settings may name ports of the project.")
    external_networks: Annotated[tuple[Name, ...], Field(max_length=32)] = Field(
        default=(), description="Names of networks whose addresses everybody can reach."
    )
    arch: Literal["amd64", "arm64", "ppc64le", "s390x", "riscv64"] = Field(
        default="amd64", description="Architecture of all flavors but those in `architectures`."
    )
    architectures: Annotated[
        dict[Name, Literal["amd64", "arm64", "ppc64le", "s390x", "riscv64"]], Field(max_length=1000)
    ] = Field(default={}, description="Architecture by flavor: Nova does not tell it.")
    prices: Annotated[dict[Name, Price], Field(max_length=1000)] = Field(
        default={}, description="Price of one hour by flavor: Nova knows none."
    )
