"""How a backend is opened: what each kind of hosting service registers."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol, TypeAlias, TypeVar

from pydantic import BaseModel, ValidationError

from moorage.hosting.abilities import Ability, abilities_of
from moorage.hosting.contract import Backend, Capabilities
from moorage.hosting.errors import Invalid

Model = TypeVar("Model", bound=BaseModel)
SettingsModel: TypeAlias = type[BaseModel]
BackendClass: TypeAlias = type[Backend]


class ServiceSpec(Protocol):
    """The part of a HostingService's spec that a backend sees. `HostingServiceSpec` satisfies it."""

    @property
    def endpoint(self) -> str | None: ...
    @property
    def region(self) -> str: ...
    @property
    def project(self) -> str | None: ...
    @property
    def settings(self) -> Mapping[str, Any]: ...


class Timeouts(Protocol):
    """The settings of a service that bound its calls, in seconds."""

    @property
    def request_timeout(self) -> float: ...
    @property
    def create_timeout(self) -> float: ...
    @property
    def inventory_timeout(self) -> float: ...


def capabilities(settings: Timeouts, *, idempotent_create: bool, listing_lag: float) -> Capabilities:
    """Those of a backend that bounds each call by these settings: by the longest of them and one request more."""
    return Capabilities(
        idempotent_create=idempotent_create,
        listing_lag=listing_lag,
        create_timeout=settings.create_timeout,
        inventory_timeout=settings.inventory_timeout,
        call_timeout=max(settings.create_timeout, settings.inventory_timeout) + settings.request_timeout,
    )


def parse_settings(model: type[Model], values: Mapping[str, Any]) -> Model:
    """The settings as the backend's model. Raises Invalid with `field` = `settings.<path>`; the message holds no
    value, since a setting may be secret."""
    try:
        return model.model_validate(dict(values))
    except ValidationError as error:
        first = error.errors(include_input=False, include_url=False, include_context=False)[0]
        path = ".".join(str(part) for part in ("settings", *first["loc"]))
        raise Invalid(f"{path}: {first['msg']}", field=path) from None


def _no_fallback(_: Mapping[str, Any]) -> None:
    return None


def _no_spot(_: Mapping[str, Any]) -> None:
    return None


def _no_zones(_: Mapping[str, Any], __: Mapping[str, Any]) -> Mapping[str, Mapping[str, Any]]:
    return {}


def _as_it_is(_: Mapping[str, Any], __: str, server: Mapping[str, Any]) -> Mapping[str, Any]:
    return server


@dataclass(frozen=True, slots=True)
class BackendFactory:
    """One kind of hosting service.

    `settings_model` is the model of `HostingService.spec.settings`, `server_settings_model` that of the values in
    `VirtualServerConfig.spec.settings[]` for this type; both forbid unknown fields.

    `implementation` is the class that `open` gives (or what its variants have in common); it tells the abilities.
    `conditional` names those that only some variants have, each with the setting of the service that decides.

    `fallback` gives, for a server's settings with which the service had no capacity, those to try next on the same
    service (on-demand after spot, say), or None where there are none; it is pure, and repeated use comes to an end.

    `spot` gives, for a server's settings, those that ask for a server which the service may take back at any time, at
    the price that `Spot.spot_prices` tells; None where there is no such thing, or where the settings say themselves
    whether they want it. It is pure, and adds one setting: by that such a server is known again.

    `zones` gives, from the service's settings and a server's, the service's zones (its failure domains) that the server
    may be made in: by the name of each, as `ServerRecord.zone` has it, what is added to the server's settings for it.
    Servers of one member are spread over them, and where one has no room the others are tried before anything else. It
    is empty where the service has none, or where the server's settings choose one themselves; it is pure, and neither
    raises for settings that are wrong, since those are told elsewhere. `zone_settings` names all settings that it may
    add, whatever zones the service has now: where they were not asked for, they are no reason to replace a server.

    `complete` gives, from the service's settings, a key and a server's settings, those that the create request is made
    of: what the service's settings add is fixed with the request, since they may change before it is repeated. It is
    pure, leaves alone what it has completed, and raises Invalid.

    `open(spec, credentials)` gives a backend. `credentials` is the data of the Secret (decoded), empty where the spec
    names none. It does no I/O and needs a running event loop. It raises Invalid (endpoint, region, project, settings)
    or AuthenticationError (a key is missing or malformed).
    """

    type: str
    implementation: BackendClass
    settings_model: SettingsModel
    server_settings_model: SettingsModel
    open: Callable[[ServiceSpec, Mapping[str, bytes]], Backend]
    fallback: Callable[[Mapping[str, Any]], Mapping[str, Any] | None] = _no_fallback
    spot: Callable[[Mapping[str, Any]], Mapping[str, Any] | None] = _no_spot
    zones: Callable[[Mapping[str, Any], Mapping[str, Any]], Mapping[str, Mapping[str, Any]]] = _no_zones
    zone_settings: frozenset[str] = frozenset()
    complete: Callable[[Mapping[str, Any], str, Mapping[str, Any]], Mapping[str, Any]] = _as_it_is
    conditional: Mapping[Ability, str] = field(default_factory=dict, hash=False)

    def __post_init__(self) -> None:
        """Raises ValueError where zones have no settings that are named: servers would be replaced for them."""
        if self.zones is not _no_zones and not self.zone_settings:
            raise ValueError("a backend with zones has to name its zone_settings")

    @property
    def abilities(self) -> frozenset[Ability]:
        """What the backend can do beyond the contract, whatever its settings."""
        return abilities_of(self.implementation)

    def validate_settings(self, values: Mapping[str, Any]) -> None:
        """Check a HostingService's settings. Raises Invalid naming the field."""
        parse_settings(self.settings_model, values)

    def validate_server_settings(self, values: Mapping[str, Any]) -> None:
        """Check a server's settings. Raises Invalid naming the field."""
        parse_settings(self.server_settings_model, values)
