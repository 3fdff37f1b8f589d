"""Settings of a HostingService of type `local` (`spec.settings`)."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict, Field
from pydantic.alias_generators import to_camel

from moorage.api.hostd import Seconds
from moorage.hosting.plain import AllowPlainHttp


class LocalSettings(BaseModel):
    """How to talk to a hostd.

    ca_bundle: PEM of the roots that its certificate is checked against; without it the system's (https only).
    allow_plain_http: send credentials and join tokens by plain http to another machine too.
    request_timeout: bound of every call but a creation. create_timeout: bound of a creation. inventory_timeout: bound
    of an inventory with all its pages. page_size: servers asked for per page. listing_lag: how late the service's
    listings may be. idempotent_create: false where the service was told to ignore keys.
    """

    model_config = ConfigDict(alias_generator=to_camel, populate_by_name=True, extra="forbid", frozen=True)

    ca_bundle: str = ""
    allow_plain_http: AllowPlainHttp = False
    request_timeout: Seconds = Field(default=10.0, gt=0, le=300)
    create_timeout: Seconds = Field(default=30.0, gt=0, le=3600)
    inventory_timeout: Seconds = Field(default=60.0, gt=0, le=3600)
    page_size: int = Field(default=500, ge=1, le=1000)
    listing_lag: Seconds = Field(default=0.0, le=3600)
    idempotent_create: bool = True
