"""Settings of a HostingService of type `local` (`spec.settings`)."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict, Field
from pydantic.alias_generators import to_camel

from moorage.api.quantities import Seconds
from moorage.hosting.plain import AllowPlainHttp


class LocalSettings(BaseModel):
    """How to talk to a hostd."""

    model_config = ConfigDict(alias_generator=to_camel, populate_by_name=True, extra="forbid", frozen=True)

    ca_bundle: str = Field(
        default="",
        description="PEM of the roots that its certificate is checked against (https only). Default: the system's.",
    )
    allow_plain_http: AllowPlainHttp = False
    request_timeout: Seconds = Field(default=10.0, gt=0, le=300, description="Bound of every call but a creation.")
    create_timeout: Seconds = Field(default=30.0, gt=0, le=3600, description="Bound of a creation.")
    inventory_timeout: Seconds = Field(
        default=60.0, gt=0, le=3600, description="Bound of an inventory with all its pages."
    )
    page_size: int = Field(default=500, ge=1, le=1000, description="Servers asked for per page.")
    listing_lag: Seconds = Field(default=0.0, le=3600, description="How late the service's listings may be.")
    idempotent_create: bool = Field(default=True, description="false where the service was told to ignore keys.")
