"""Settings of a HostingService of type `incus`, and of its servers."""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, model_validator
from pydantic.alias_generators import to_camel

from moorage.api.quantities import Price, Quantity, Seconds
from moorage.hosting.errors import Invalid

Name = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9]([A-Za-z0-9._-]{0,61}[A-Za-z0-9])?$")]
Target = Annotated[str, StringConstraints(pattern=r"^@?[A-Za-z0-9]([A-Za-z0-9._-]{0,61}[A-Za-z0-9])?$")]
ConfigKey = Annotated[str, StringConstraints(pattern=r"^[a-z][a-z0-9._-]{0,126}$")]
OptionPattern = Annotated[str, StringConstraints(pattern=r"^[a-z][a-z0-9._-]{0,126}(\.\*)?$")]
InstanceType = Literal["container", "virtual-machine"]
HARMLESS = (
    "boot.autostart",
    "boot.autostart.delay",
    "boot.autostart.priority",
    "limits.processes",
    "security.secureboot",
)
"""Options that touch nothing but the server itself. With others (`raw.lxc`, `security.privileged`, ...) its guest can
become root on the host, or nobody can delete it."""
_OWN_PREFIXES = ("user.", "volatile.")
_OWN_CONFIG = frozenset({"cloud-init.user-data", "limits.cpu", "limits.memory"})


class _Settings(BaseModel):
    model_config = ConfigDict(alias_generator=to_camel, populate_by_name=True, extra="forbid", frozen=True)


def _covers(pattern: str, key: str) -> bool:
    return key.startswith(pattern[:-1]) if pattern.endswith(".*") else key == pattern


class Size(_Settings):
    """An offering: Incus has no sizes of its own, but limits of each instance."""

    name: Name = Field(description="Name of the offering.")
    cpu: int = Field(ge=1, le=1024, description="Cores (limits.cpu).")
    memory: Quantity = Field(description="Memory (limits.memory), such as 2Gi.")
    arch: Literal["amd64", "arm64", "armhf", "riscv64", "s390x", "ppc64le"] = Field(
        default="amd64", description="Architecture of the server."
    )
    price_per_hour: Price | None = Field(default=None, description="Price of one hour, a decimal number in quotes.")


class IncusSettings(_Settings):
    """How to talk to an Incus server or cluster, and which sizes it sells."""

    sizes: tuple[Size, ...] = Field(default=(), max_length=200, description="The offerings.")
    ca_bundle: str = Field(
        default="",
        description="PEM of the roots that the server's certificate is checked against, names included. Default: the "
        "certificate `server.crt` of the credentials alone; without that one too, the system's roots.",
    )
    request_timeout: Seconds = Field(
        default=30.0, gt=0, le=300, description="Bound of each call but a creation, with the operation it starts."
    )
    create_timeout: Seconds = Field(
        default=120.0, gt=0, le=3600, description="Bound of a creation: the image is unpacked in it."
    )
    inventory_timeout: Seconds = Field(default=60.0, gt=0, le=3600, description="Bound of an inventory.")
    server_profiles: tuple[Name, ...] = Field(
        default=("default",), max_length=64, description="Profiles that a server's settings may name."
    )
    server_options: tuple[OptionPattern, ...] = Field(
        default=HARMLESS,
        max_length=64,
        description="Incus's instance options that a server's settings may set in config; limits.* means all that "
        "begin so. Some make the guest root on the host.",
    )
    stop_timeout: int = Field(
        default=30, ge=1, le=600, description="Seconds that a guest has to shut down when it is stopped."
    )

    def size(self, name: str) -> Size | None:
        """The offering of that name."""
        return next((size for size in self.sizes if size.name == name), None)

    def check(self, server: IncusServerSettings) -> None:
        """Raises Invalid for what the service does not leave to whoever writes a server's settings."""
        for name in server.profiles:
            if name not in self.server_profiles:
                text = f"the HostingService does not allow the profile {name}: its setting serverProfiles names others"
                raise Invalid(text, field="settings.profiles")
        for key in server.config:
            if not any(_covers(pattern, key) for pattern in self.server_options):
                text = (
                    f"the HostingService does not allow the option {key}: its setting serverOptions names those it does"
                )
                raise Invalid(text, field="settings.config")


class IncusServerSettings(_Settings):
    """What one server is made with beside image, offering and user-data."""

    instance_type: InstanceType = Field(default="container", description="A container or a virtual machine.")
    profiles: tuple[Name, ...] = Field(
        default=("default",), max_length=32, description="Profiles of the project, later ones win."
    )
    target: Target | None = Field(
        default=None, description="A member of the cluster, or a group of members as @GROUP. Default: Incus chooses."
    )
    network: Name | None = Field(
        default=None, description="A network for the device eth0. Default: as the profiles say."
    )
    storage_pool: Name | None = Field(
        default=None, description="The pool of the root disk. Default: as the profiles say."
    )
    disk_size: Quantity | None = Field(default=None, description="Size of the root disk; needs storagePool.")
    config: dict[ConfigKey, str] = Field(
        default_factory=dict,
        max_length=64,
        description="More of Incus's instance options, of those that the service allows.",
    )

    @model_validator(mode="after")
    def _whole(self) -> Self:
        if self.disk_size is not None and self.storage_pool is None:
            raise ValueError("diskSize needs storagePool, since a disk of one's own replaces that of the profile")
        taken = next((key for key in self.config if key in _OWN_CONFIG or key.startswith(_OWN_PREFIXES)), None)
        if taken is not None:
            raise ValueError(f"config: {taken} is set by Moorage")
        return self
