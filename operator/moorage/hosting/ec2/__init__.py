"""The backend `ec2`: servers of Amazon EC2, and of services that speak its API."""

from __future__ import annotations

from moorage.hosting.abilities import Ability
from moorage.hosting.ec2.backend import Ec2Backend, open_backend
from moorage.hosting.ec2.launch import complete, fallback, spot, zones
from moorage.hosting.ec2.settings import Ec2ServerSettings, Ec2Settings
from moorage.hosting.factory import BackendFactory

FACTORY = BackendFactory(
    type="ec2",
    implementation=Ec2Backend,
    settings_model=Ec2Settings,
    server_settings_model=Ec2ServerSettings,
    open=open_backend,
    fallback=fallback,
    spot=spot,
    zones=zones,
    zone_settings=frozenset({"zone"}),
    complete=complete,
    conditional={Ability.IMAGES: "imageOwners"},
)

__all__ = ["FACTORY", "Ec2Backend"]
