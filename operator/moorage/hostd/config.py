"""What hostd is told at its start."""

from __future__ import annotations

from dataclasses import dataclass, field
from decimal import Decimal
from pathlib import Path
from typing import Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError
from pydantic.alias_generators import to_camel

from moorage.api.hostd import Offering
from moorage.api.quantities import Price, Quantity

DEFAULT_IMAGES = ("process/python", "process/shell")
DEFAULT_OFFERINGS = (
    ("small", "1", "1Gi", "0.02"),
    ("medium", "2", "4Gi", "0.06"),
    ("large", "4", "16Gi", "0.20"),
)


class ConfigError(Exception):
    """hostd was told something that it cannot do; the message says what."""


class _OfferingFile(BaseModel):
    model_config = ConfigDict(alias_generator=to_camel, populate_by_name=True, extra="forbid")

    name: str = Field(min_length=1, max_length=256)
    cpu: Quantity
    memory: Quantity
    arch: str = "amd64"
    price_per_hour: Price
    spot_price_per_hour: Price | None = None


@dataclass(frozen=True, slots=True)
class SimulateConfig:
    """Defaults of simulated servers. `boot_time` in seconds, by image or for all; `seed` of what is random."""

    boot_time: float = 2.0
    image_boot_times: dict[str, float] = field(default_factory=dict)
    seed: int = 0


@dataclass(frozen=True, slots=True)
class Config:
    """A hostd.

    data: the directory with its servers and its ledger; made if missing, mode 0700.
    host, port: where it listens; port 0 takes a free one.
    capacity: the most servers at one time; None: no limit.
    addresses: public addresses of the account, that can be moved from server to server.
    price_factor: multiplies the offerings' prices.
    token: bearer token that every call must carry; None: none, or with `own_token` the one that hostd makes for itself
    and keeps in the file `token` of its directory. certificate and key: PEM files, for https.
    ephemeral: all servers die with hostd, however it ends.
    session_length: seconds that a session lasts which the token is exchanged for; None: the token itself is taken.
    namespaces: `auto` gives each server namespaces of its own where the system lets it, `off` never does.
    simulate: servers are only simulated; None: they are processes.
    """

    data: Path
    name: str = "local"
    region: str = ""
    host: str = "127.0.0.1"
    port: int = 0
    offerings: tuple[Offering, ...] = ()
    images: tuple[str, ...] = DEFAULT_IMAGES
    capacity: int | None = 100
    addresses: tuple[str, ...] = ()
    price_factor: Decimal = Decimal(1)
    token: str | None = field(default=None, repr=False)
    own_token: bool = False
    session_length: float | None = None
    certificate: Path | None = None
    key: Path | None = None
    ephemeral: bool = False
    namespaces: Literal["auto", "off"] = "auto"
    simulate: SimulateConfig | None = None

    def priced_offerings(self) -> tuple[Offering, ...]:
        """The offerings with their prices times `price_factor`; the defaults where none are given."""
        chosen = self.offerings or default_offerings()
        return tuple(_times(offering, self.price_factor) for offering in chosen)


def _times(offering: Offering, factor: Decimal) -> Offering:
    spot = offering.spot_price_per_hour
    prices = {
        "price_per_hour": offering.price_per_hour * factor,
        "spot_price_per_hour": None if spot is None else spot * factor,
    }
    return offering.model_copy(update=prices)


def default_offerings() -> tuple[Offering, ...]:
    """small, medium and large."""
    return tuple(
        _offering(
            _OfferingFile.model_validate(
                {"name": n, "cpu": c, "memory": m, "pricePerHour": p, "spotPricePerHour": str(Decimal(p) / 2)}
            )
        )
        for n, c, m, p in DEFAULT_OFFERINGS
    )


def load_offerings(path: Path) -> tuple[Offering, ...]:
    """Offerings from a YAML or JSON list of {name, cpu, memory, arch, pricePerHour}. Raises ConfigError."""
    try:
        data = yaml.safe_load(path.read_text())
    except OSError as error:
        raise ConfigError(f"cannot read {path}: {error.strerror}") from None
    except (yaml.YAMLError, UnicodeDecodeError):
        raise ConfigError(f"{path} is not YAML") from None
    if not isinstance(data, list) or not data:
        raise ConfigError(f"{path}: must be a list of offerings")
    offerings = []
    for number, item in enumerate(data):
        try:
            offerings.append(_offering(_OfferingFile.model_validate(item)))
        except ValidationError as error:
            first = error.errors(include_url=False)[0]
            where = ".".join(str(part) for part in first["loc"])
            raise ConfigError(f"{path}: [{number}].{where}: {first['msg']}") from None
    if len({o.name for o in offerings}) < len(offerings):
        raise ConfigError(f"{path}: two offerings of one name")
    return tuple(offerings)


def _offering(item: _OfferingFile) -> Offering:
    return Offering(
        name=item.name,
        cpu=item.cpu,
        memory=int(item.memory),
        arch=item.arch,
        price_per_hour=item.price_per_hour,
        spot_price_per_hour=item.spot_price_per_hour,
    )
