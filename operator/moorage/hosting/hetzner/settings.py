"""Settings of a HostingService of type `hetzner`, and of its servers."""

from __future__ import annotations

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, StringConstraints
from pydantic.alias_generators import to_camel

from moorage.api.quantities import Seconds
from moorage.hosting.plain import AllowPlainHttp

Id = Annotated[int, Field(ge=1, le=2**53 - 1)]
KeyName = Annotated[str, StringConstraints(min_length=1, max_length=255)]
LabelName = Annotated[
    str, StringConstraints(pattern=r"^([a-z0-9.-]{1,253}/)?[A-Za-z0-9]([A-Za-z0-9._-]{0,61}[A-Za-z0-9])?$")
]
LabelValue = Annotated[str, StringConstraints(pattern=r"^([A-Za-z0-9]([A-Za-z0-9._-]{0,61}[A-Za-z0-9])?)?$")]


class _Settings(BaseModel):
    model_config = ConfigDict(
        alias_generator=to_camel, populate_by_name=True, extra="forbid", frozen=True, hide_input_in_errors=True
    )


class HetznerSettings(_Settings):
    """How to talk to the API."""

    ca_bundle: str = Field(
        default="", description="PEM of the roots that the API's certificate is checked against. Default: the system's."
    )
    allow_plain_http: AllowPlainHttp = False
    request_timeout: Seconds = Field(default=15.0, gt=0, le=300, description="Bound of each call but a creation.")
    create_timeout: Seconds = Field(default=60.0, gt=0, le=3600, description="Bound of a creation.")
    inventory_timeout: Seconds = Field(default=120.0, gt=0, le=3600, description="Bound of an inventory, all pages.")
    page_size: int = Field(default=50, ge=1, le=50, description="Objects asked for per page; the API gives 50 at most.")
    listing_lag: Seconds = Field(default=30.0, le=3600, description="How late the API's lists may be.")
    account_marker: Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9]([A-Za-z0-9._-]{0,61}[A-Za-z0-9])?$")] = (
        Field(
            default="moorage-account",
            description="Name of the placement group that tells the project from every other one; it is made where "
            "there is none, and must never be deleted.",
        )
    )
    graceful_stop: bool = Field(
        default=True, description="Stop servers by ACPI, which a guest may ignore. False: cut their power."
    )


class HetznerServerSettings(_Settings):
    """What one server is made with beside image, offering and user-data."""

    networks: tuple[Id, ...] = Field(default=(), max_length=3, description="Ids of private networks to be in.")
    firewalls: tuple[Id, ...] = Field(default=(), max_length=5, description="Ids of firewalls on the public interface.")
    ssh_keys: tuple[KeyName | Id, ...] = Field(
        default=(),
        max_length=50,
        description="Names or ids of SSH keys for root. Without one, the API makes a root password and mails it to the "
        "project's owner.",
    )
    placement_group: Id | None = Field(
        default=None, description="Id of a placement group of type spread: at most 10 servers, each on another host."
    )
    public_ipv4: bool = Field(default=True, alias="publicIPv4", description="Have a public IPv4 address (costs extra).")
    public_ipv6: bool = Field(default=True, alias="publicIPv6", description="Have a public IPv6 network.")
    labels: dict[LabelName, LabelValue] = Field(
        default_factory=dict, max_length=32, description="Further labels of the server."
    )
