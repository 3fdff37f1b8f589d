"""What the simulated Hetzner Cloud sells: a small part of the real list, with prices of the right order."""

from __future__ import annotations

from typing import Any, Final

Obj = dict[str, Any]
CREATED: Final = "2024-04-25T13:26:27+00:00"
_PLACES: Final = (
    (1, "fsn1", "DE", "Falkenstein", "eu-central", 50.47612, 12.370071),
    (2, "nbg1", "DE", "Nuremberg", "eu-central", 49.452102, 11.076665),
    (3, "hel1", "FI", "Helsinki", "eu-central", 60.169855, 24.938379),
    (4, "ash", "US", "Ashburn, VA", "us-east", 39.045821, -77.487073),
)
LOCATIONS: Final[dict[str, Obj]] = {
    name: {
        "id": number,
        "name": name,
        "description": f"{city} DC Park 1",
        "country": country,
        "city": city,
        "latitude": latitude,
        "longitude": longitude,
        "network_zone": zone,
    }
    for number, name, country, city, zone, latitude, longitude in _PLACES
}
_EUROPE = ("fsn1", "nbg1", "hel1")
_GONE: Final = {"announced": "2025-10-16T06:00:00+00:00", "unavailable_after": "2026-01-01T00:00:00+00:00"}


def _price(location: str, net: str) -> Obj:
    gross = f"{float(net) * 1.19:.10f}"
    return {
        "location": location,
        "price_hourly": {"net": net, "gross": gross},
        "price_monthly": {"net": f"{float(net) * 624:.4f}", "gross": f"{float(net) * 624 * 1.19:.4f}"},
        "included_traffic": 21990232555520,
        "price_per_tb_traffic": {"net": "1.0000000000", "gross": "1.1900000000"},
    }


def _type(
    number: int, name: str, cores: int, memory: float, disk: int, arch: str, prices: Obj, deprecated: bool
) -> Obj:
    deprecation = _GONE if deprecated else None
    return {
        "id": number,
        "name": name,
        "description": name.upper(),
        "category": "Shared vCPU",
        "cores": cores,
        "memory": memory,
        "disk": disk,
        "deprecated": deprecated,
        "deprecation": deprecation,
        "prices": [_price(location, net) for location, net in prices.items()],
        "storage_type": "local",
        "cpu_type": "dedicated" if name.startswith("ccx") else "shared",
        "architecture": arch,
        "locations": [
            {
                "id": LOCATIONS[place]["id"],
                "name": place,
                "deprecation": deprecation,
                "available": not deprecated,
                "recommended": True,
            }
            for place in prices
        ],
    }


def _everywhere(net: str, ash: str | None = None) -> Obj:
    return {**dict.fromkeys(_EUROPE, net), **({"ash": ash} if ash else {})}


_TYPES: Final = (
    _type(22, "cpx11", 2, 2.0, 40, "x86", _everywhere("0.0070000000"), True),
    _type(45, "cax11", 2, 4.0, 40, "arm", _everywhere("0.0053000000"), False),
    _type(114, "cx23", 2, 4.0, 40, "x86", _everywhere("0.0048000000"), False),
    _type(109, "cpx22", 2, 4.0, 80, "x86", _everywhere("0.0100000000", "0.0120000000"), False),
    _type(110, "cpx32", 4, 8.0, 160, "x86", _everywhere("0.0170000000", "0.0200000000"), False),
    _type(96, "ccx13", 2, 8.0, 80, "x86", _everywhere("0.0200000000", "0.0208000000"), False),
)
SERVER_TYPES: Final[dict[str, Obj]] = {each["name"]: each for each in _TYPES}


def _image(number: int, name: str | None, arch: str, kind: str = "system", deprecated: str | None = None) -> Obj:
    flavor, _, version = (name or "debian-12").partition("-")
    return {
        "id": number,
        "type": kind,
        "status": "available",
        "name": name,
        "description": f"{flavor.title()} {version}",
        "image_size": 1.5 if kind == "snapshot" else None,
        "disk_size": 5,
        "created": CREATED,
        "created_from": {"id": 1, "name": "builder"} if kind == "snapshot" else None,
        "bound_to": None,
        "os_flavor": flavor,
        "os_version": version,
        "rapid_deploy": kind == "system",
        "protection": {"delete": False},
        "deprecated": deprecated,
        "labels": {},
        "deleted": None,
        "architecture": arch,
    }


IMAGES: Final[tuple[Obj, ...]] = (
    _image(114690387, "debian-12", "x86"),
    _image(114690389, "debian-12", "arm"),
    _image(161547269, "ubuntu-24.04", "x86"),
    _image(161547270, "ubuntu-24.04", "arm"),
    _image(45557056, "debian-11", "x86", deprecated="2026-08-01T00:00:00+00:00"),
    _image(200000001, None, "x86", kind="snapshot"),
)
