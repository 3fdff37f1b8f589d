"""Settings of a HostingService of type `kubevirt`, and of its servers."""

from __future__ import annotations

from decimal import Decimal
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, StringConstraints
from pydantic.alias_generators import to_camel

from moorage.api.quantities import Price, Quantity, Seconds
from moorage.hosting.errors import Invalid
from moorage.hosting.plain import AllowPlainHttp

_NAME = r"^[a-z0-9]([a-z0-9.-]{0,251}[a-z0-9])?$"
ObjectName = Annotated[str, StringConstraints(pattern=_NAME)]
LabelValue = Annotated[str, StringConstraints(pattern=r"^([A-Za-z0-9]([A-Za-z0-9._-]{0,61}[A-Za-z0-9])?)?$")]
ImageSource = Literal["ContainerDisk", "DataSource", "PersistentVolumeClaim"]


class _Settings(BaseModel):
    model_config = ConfigDict(alias_generator=to_camel, populate_by_name=True, extra="forbid", frozen=True)


class Size(_Settings):
    """An offering that is declared here: whole cores and memory of the guest."""

    name: ObjectName = Field(description="Name of the offering; one of the same name in the cluster is hidden by it.")
    cpu: int = Field(ge=1, le=1024, description="Cores of the guest.")
    memory: Quantity = Field(description="Memory of the guest, such as 2Gi.")
    arch: Literal["amd64", "arm64", "s390x"] = Field(default="amd64", description="Architecture of the guest.")
    price_per_hour: Price | None = Field(default=None, description="Price of one hour, a decimal number in quotes.")


class KubevirtSettings(_Settings):
    """How to talk to the cluster, and which sizes it sells."""

    allow_plain_http: AllowPlainHttp = False
    request_timeout: Seconds = Field(default=10.0, gt=0, le=300, description="Bound of each call but a creation.")
    create_timeout: Seconds = Field(default=30.0, gt=0, le=3600, description="Bound of a creation.")
    inventory_timeout: Seconds = Field(default=60.0, gt=0, le=3600, description="Bound of an inventory, all pages.")
    page_size: int = Field(default=500, ge=1, le=5000, description="Objects asked for per page.")
    sizes: tuple[Size, ...] = Field(default=(), max_length=200, description="Offerings beside those of the cluster.")
    instance_types: bool = Field(
        default=True, description="Offer the cluster's VirtualMachineClusterInstancetypes (needs leave to list them)."
    )
    prices: dict[ObjectName, Price] = Field(
        default_factory=dict, max_length=1000, description="Price of one hour by name of a cluster's instance type."
    )
    arch: Literal["amd64", "arm64", "s390x"] = Field(
        default="amd64", description="Architecture of the cluster's instance types, which do not tell theirs."
    )
    image_sources: tuple[ImageSource, ...] = Field(
        default=("ContainerDisk", "DataSource"),
        max_length=3,
        description="What a server's imageSource may be. With PersistentVolumeClaim, whoever writes a server's "
        "settings can read every disk of the namespace, other servers' too.",
    )
    networks: tuple[ObjectName, ...] | None = Field(
        default=None, max_length=64, description="Networks that a server may name. Default: all of the namespace."
    )

    def check(self, server: KubevirtServerSettings) -> None:
        """Raises Invalid for what the service does not leave to whoever writes a server's settings."""
        if server.image_source not in self.image_sources:
            text = f"the HostingService does not allow {server.image_source}: its setting imageSources names others"
            raise Invalid(text, field="settings.imageSource")
        if server.network is not None and self.networks is not None and server.network not in self.networks:
            text = "the HostingService does not allow this network: its setting networks names others"
            raise Invalid(text, field="settings.network")

    def size(self, name: str) -> Size | None:
        """The declared size of that name."""
        return next((size for size in self.sizes if size.name == name), None)

    def price(self, name: str) -> Decimal | None:
        """The price of a cluster's instance type."""
        return self.prices.get(name)


class KubevirtServerSettings(_Settings):
    """What one virtual machine is made with beside image, offering and user-data."""

    image_source: ImageSource = Field(
        default="ContainerDisk",
        description="What `image` names: a container image with a disk (not persistent), a DataSource, or a "
        "PersistentVolumeClaim; the last two as NAME or NAMESPACE/NAME, and cloned into a disk of its own.",
    )
    disk_size: Quantity | None = Field(default=None, description="Size of the cloned disk. Default: the source's.")
    storage_class: ObjectName | None = Field(default=None, description="Storage class of the cloned disk.")
    network: ObjectName | None = Field(
        default=None, description="A NetworkAttachmentDefinition to be bridged to. Default: the pods' network."
    )
    preference: ObjectName | None = Field(
        default=None, description="A VirtualMachineClusterPreference with defaults for the guest's system."
    )
    node_selector: dict[str, LabelValue] = Field(
        default_factory=dict, max_length=32, description="Labels that the node must have."
    )
