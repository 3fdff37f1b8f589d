"""The settings that users write: unknown fields are refused, so that a typing error is found."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict, Field
from pydantic.alias_generators import to_camel

from moorage.api.quantities import Seconds
from moorage.hosting.plain import AllowPlainHttp


class _Settings(BaseModel):
    model_config = ConfigDict(alias_generator=to_camel, populate_by_name=True, extra="forbid", frozen=True)


class ServiceSettings(_Settings):
    """`HostingService.spec.settings`.

    ca_bundle: PEM of the roots that the service's certificate is checked against; without it the system's.
    allow_plain_http: send credentials and join tokens by plain http to another machine too.
    request_timeout: bound of every call but a creation. create_timeout: bound of a creation. inventory_timeout: bound
    of an inventory with all its pages. page_size: machines asked for per page. listing_lag: how late lists may be.
    """

    ca_bundle: str = ""
    allow_plain_http: AllowPlainHttp = False
    request_timeout: Seconds = Field(default=10.0, gt=0, le=300)
    create_timeout: Seconds = Field(default=30.0, gt=0, le=3600)
    inventory_timeout: Seconds = Field(default=60.0, gt=0, le=3600)
    page_size: int = Field(default=100, ge=1, le=1000)
    listing_lag: Seconds = Field(default=0.0, le=3600)


class ServerSettings(_Settings):
    """The values of `VirtualServerConfig.spec.settings[]` for this type.

    rack: where the machine is to stand; without it the service chooses.
    """

    rack: int | None = Field(default=None, ge=1, le=99)
