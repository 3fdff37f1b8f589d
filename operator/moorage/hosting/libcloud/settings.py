"""Settings of a HostingService of type `libcloud`, and of its servers."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, StringConstraints
from pydantic.alias_generators import to_camel

from moorage.api.quantities import Price, Seconds
from moorage.hosting.plain import AllowPlainHttp

Driver = Annotated[str, StringConstraints(pattern=r"^[a-z][a-z0-9_-]{0,62}$")]
Argument = Annotated[str, StringConstraints(pattern=r"^[a-z][a-z0-9_]{0,62}$")]
Text = Annotated[str, StringConstraints(max_length=1024)]
Plain = bool | int | Text
Word = Annotated[str, StringConstraints(min_length=1, max_length=253)]


class _Settings(BaseModel):
    model_config = ConfigDict(
        alias_generator=to_camel, populate_by_name=True, extra="forbid", frozen=True, hide_input_in_errors=True
    )


class LibcloudSettings(_Settings):
    """Which driver, and how it talks to its provider."""

    driver: Driver = Field(description="Name of a compute driver of Apache Libcloud, such as ec2 or openstack.")
    arguments: dict[Argument, Plain] = Field(
        default_factory=dict,
        max_length=32,
        description="Further arguments of the driver's constructor, by their names in Libcloud. Secrets belong into "
        "the credentials, whose keys are the arguments' names (key, secret, ...).",
    )
    server_arguments: tuple[Argument, ...] = Field(
        default=(),
        max_length=64,
        description="Arguments of `create_node` that servers may set. None by default: some drivers take a "
        "role of the account, another disk or a raw request there, which is more than a tenant may choose.",
    )
    account: Annotated[str, StringConstraints(max_length=253)] = Field(
        default="",
        description="Whose account it is, for drivers that cannot tell: whatever you call it. Without it, the argument "
        "`key` of the credentials stands for the account, and a new key is taken for another account.",
    )
    trust_listing: bool = Field(
        default=False,
        description="Use a driver of which it is not known that it lists all servers over all pages. Servers that it "
        "leaves out will be taken for gone.",
    )
    name_only: bool = Field(
        default=False,
        description="Use a driver that cannot tag servers as it makes them: only their names tell whose they are.",
    )
    ca_bundle: str = Field(
        default="", description="PEM of the roots that the provider's certificate is checked against."
    )
    allow_plain_http: AllowPlainHttp = False
    request_timeout: Seconds = Field(default=30.0, gt=0, le=300, description="Bound of each call but a creation.")
    create_timeout: Seconds = Field(default=90.0, gt=0, le=3600, description="Bound of a creation.")
    inventory_timeout: Seconds = Field(default=120.0, gt=0, le=3600, description="Bound of an inventory.")
    listing_lag: Seconds = Field(default=60.0, le=3600, description="How late the provider's lists may be.")
    page_size: int = Field(
        default=500,
        ge=1,
        le=1000,
        description="Servers asked for per page, for the drivers ec2 (5 or more) and openstack.",
    )
    sizes: tuple[Word, ...] = Field(
        default=(),
        max_length=200,
        description="Sizes to be offered, by name or id. Default: all, if not more than 200.",
    )
    prices: dict[Word, Price] = Field(
        default_factory=dict,
        max_length=1000,
        description="Price of one hour, by the name of the size. Libcloud's own prices are old and are not used.",
    )


class LibcloudServerSettings(_Settings):
    """What one server is made with beside image, offering and user-data."""

    arguments: dict[Argument, Any] = Field(
        default_factory=dict,
        max_length=32,
        description="Further arguments of the driver's `create_node`, by their names in Libcloud.",
    )
    references: dict[Argument, Word | tuple[Word, ...]] = Field(
        default_factory=dict,
        max_length=32,
        description="Arguments of `create_node` that are objects of Libcloud: the ids or names of these (ex_subnet, "
        "networks, ex_security_groups, ...).",
    )
