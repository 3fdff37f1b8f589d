"""Settings of a HostingService of type `libvirt`, and of its servers."""

from __future__ import annotations

from decimal import Decimal
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, StringConstraints
from pydantic.alias_generators import to_camel

from moorage.api.quantities import Price, Quantity, Seconds
from moorage.hosting.errors import Invalid

Name = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,127}$")]
"""A name of a pool, a network, a bridge, a machine or a processor model: none needs more than this."""


class _Settings(BaseModel):
    model_config = ConfigDict(alias_generator=to_camel, populate_by_name=True, extra="forbid", frozen=True)


class Size(_Settings):
    """An offering: libvirt has none of its own."""

    name: Name = Field(description="Name of the offering.")
    cpu: int = Field(ge=1, le=512, description="Processors of the guest.")
    memory: Quantity = Field(description="Memory of the guest, such as 2Gi.")
    disk: Quantity | None = Field(default=None, description="Size of its disk, such as 20Gi. Default: the image's.")
    price_per_hour: Price | None = Field(default=None, description="Price of one hour, a decimal number in quotes.")


class Nic(_Settings):
    """What the guest's network card is connected to."""

    type: Literal["network", "bridge", "user"] = Field(
        default="network",
        description="A libvirt network, a bridge of the host, or QEMU's own network without privileges (the guest "
        "reaches the host and what it reaches, nobody reaches the guest).",
    )
    name: Name = Field(default="default", description="Name of the network or bridge.")


class LibvirtSettings(_Settings):
    """How to talk to libvirtd, where disks are, and what guests look like."""

    request_timeout: Seconds = Field(default=10.0, gt=0, le=300, description="Bound of each call but the next two.")
    create_timeout: Seconds = Field(default=60.0, gt=0, le=3600, description="Bound of a creation, and of a deletion.")
    inventory_timeout: Seconds = Field(default=60.0, gt=0, le=3600, description="Bound of an inventory.")
    image_pool: Name = Field(default="images", description="Storage pool whose volumes (qcow2 or raw) are the images.")
    pool: Name = Field(
        default="default",
        description="Storage pool of the servers' disks, of folders (dir, fs, netfs), on the same host as the images, "
        "and not the same pool.",
    )
    nic: Nic = Field(default=Nic(), description="The network card of servers that name none themselves.")
    nics: tuple[Nic, ...] = Field(
        default=(),
        max_length=64,
        description="What a server's settings may connect it to, beside `nic`. A bridge leads into the host's own "
        "network, and `user` to what listens on the host itself.",
    )
    max_disk: Quantity | None = Field(
        default=None, description="The largest disk that a server's settings may ask for. Default: the offering's."
    )
    sizes: tuple[Size, ...] = Field(default=(), max_length=200, description="The offerings.")
    memory: Quantity | None = Field(
        default=None,
        description="Memory that all domains of the host may have together, running or not. Default: the host's.",
    )
    virtualization: Literal["auto", "kvm", "qemu"] = Field(
        default="auto", description="kvm, or qemu without it (emulated, slow); auto: kvm where libvirt offers it."
    )
    machine: Name = Field(default="q35", description="Machine type.")
    cpu: Name = Field(
        default="host-model", description="host-model, host-passthrough, maximum, or the name of a processor model."
    )
    firmware: Literal["bios", "efi"] = Field(default="bios", description="What boots the image.")
    autostart: bool = Field(default=True, description="Start servers again when their host has started.")
    stop_timeout: Seconds = Field(
        default=30.0,
        le=600,
        description="Seconds that a guest has to shut down when its power button was pressed; then its power is taken.",
    )

    @property
    def memory_limit(self) -> int | None:
        """`memory` in bytes, None for as much as the host has."""
        return None if self.memory is None else int(self.memory)

    def size(self, name: str) -> Size | None:
        """The offering of that name."""
        return next((size for size in self.sizes if size.name == name), None)

    def check(self, server: LibvirtServerSettings, size: Size) -> None:
        """Raises Invalid for what the service does not leave to whoever writes a server's settings."""
        if server.nic is not None and server.nic not in {self.nic, *self.nics}:
            text = "the HostingService does not allow this network card: its setting nics names others"
            raise Invalid(text, field="settings.nic")
        most = max((limit for limit in (self.max_disk, size.disk) if limit is not None), default=None)
        if server.disk is not None and (most is None or server.disk > most):
            text = "is more than the HostingService allows: its setting maxDisk, or the size's disk, is the most"
            raise Invalid(text, field="settings.disk")

    def smallest(self) -> Decimal | None:
        """Memory of the smallest offering, in bytes."""
        return min((size.memory for size in self.sizes), default=None)


class LibvirtServerSettings(_Settings):
    """What one server is made with beside image, offering and user-data."""

    nic: Nic | None = Field(default=None, description="Its network card. Default: the service's.")
    disk: Quantity | None = Field(default=None, description="Size of its disk. Default: the offering's.")
