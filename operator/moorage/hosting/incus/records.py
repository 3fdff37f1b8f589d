"""Incus's instances as the contract's records, and a create request as Incus's."""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import UTC, datetime
from decimal import Decimal
from ipaddress import ip_address
from typing import Any, Final

from moorage.hosting.contract import Address, AddressType, CreateRequest, ServerRecord, ServerState
from moorage.hosting.errors import Invalid, Unavailable, clean
from moorage.hosting.incus.settings import IncusServerSettings, IncusSettings, Size

Obj = Mapping[str, Any]
USER: Final = "user."
KEY: Final = "moorage-key"
REQUEST: Final = "moorage-request"
NAME: Final = "moorage-name"
OFFERING: Final = "moorage-offering"
FAILED: Final = "moorage-failed"
"""Why a server could not be started when it was made."""
OWN_TAGS: Final = frozenset({KEY, REQUEST, NAME, OFFERING, FAILED})
MAX_USER_DATA: Final = 512 * 1024
_FINGERPRINT = re.compile(r"^[0-9a-f]{64}$")
_INSTANCE_NAME = re.compile(r"^[a-z]([a-z0-9-]{0,61}[a-z0-9])?$")
_TAG_NAME = re.compile(r"^[A-Za-z0-9][A-Za-z0-9._-]{0,127}$")
_NEVER = datetime(1971, 1, 1, tzinfo=UTC)
_STATES: Final[Mapping[str, ServerState]] = {
    "Running": ServerState.RUNNING,
    "Ready": ServerState.RUNNING,  # it runs, and its guest has said so
    "Starting": ServerState.PENDING,
    "Stopped": ServerState.STOPPED,
    "Stopping": ServerState.STOPPED,
    "Frozen": ServerState.STOPPED,
    "Freezing": ServerState.STOPPED,
}
_PREFIXES: Final[Mapping[str, int]] = {"k": 1, "M": 2, "G": 3, "T": 4}


def record(instance: Obj, settings: IncusSettings) -> ServerRecord:
    """The instance, with its state where the answer has it. Raises Unavailable where it makes no sense."""
    try:
        name, config, status = instance["name"], instance["config"] or {}, instance["status"]
        uuid = config["volatile.uuid"]
        used, created = _time(instance["last_used_at"]), _time(instance["created_at"])
        tags = {key.removeprefix(USER): str(value) for key, value in config.items() if key.startswith(USER)}
        location, limits = instance.get("location") or "none", instance.get("expanded_config") or config
        addresses = _addresses(instance.get("state") or {})
    except (KeyError, TypeError, ValueError, AttributeError):
        raise Unavailable("an instance makes no sense") from None
    state = _STATES.get(status, ServerState.UNKNOWN)
    if state is ServerState.STOPPED and FAILED in tags:
        state = ServerState.FAILED
    elif state is ServerState.STOPPED and used < _NEVER and REQUEST in tags:
        state = ServerState.PENDING  # made by us, and its start is yet to come
    return ServerRecord(
        provider_id=f"{name}/{uuid}",
        key=tags.get(KEY) if REQUEST in tags else None,
        tags={tag: value for tag, value in tags.items() if tag not in OWN_TAGS},
        state=state,
        addresses=addresses,
        created=created,
        message=_message(state, status, tags.get(FAILED, "")),
        name=tags.get(NAME, name),
        image=config.get("volatile.base_image"),
        offering=_offering(limits, tags.get(OFFERING), settings),
        zone=None if location == "none" else location,
    )


def body(request: CreateRequest, server: IncusServerSettings, size: Size) -> dict[str, Any]:
    """What is posted. Raises Invalid for what Incus would refuse or lose."""
    _check(request)
    config = {
        **server.config,
        **limits(size),
        "cloud-init.user-data": request.user_data,
        **{f"{USER}{tag}": value for tag, value in request.tags.items()},
        USER + KEY: request.key,
        USER + REQUEST: request.digest(),
        USER + NAME: request.name,
        USER + OFFERING: size.name,
    }
    devices: dict[str, dict[str, str]] = {}
    if server.storage_pool is not None:
        devices["root"] = {"type": "disk", "path": "/", "pool": server.storage_pool}
        if server.disk_size is not None:
            devices["root"]["size"] = f"{int(server.disk_size)}B"
    if server.network is not None:
        devices["eth0"] = {"type": "nic", "name": "eth0", "network": server.network}
    return {
        "name": request.key,
        "type": server.instance_type,
        "start": True,
        "source": {"type": "image", ("fingerprint" if is_fingerprint(request.image) else "alias"): request.image},
        "profiles": list(server.profiles),
        "config": config,
        "devices": devices,
    }


def limits(size: Size) -> dict[str, str]:
    """The options that make an instance of this size."""
    return {"limits.cpu": str(size.cpu), "limits.memory": f"{int(size.memory)}B"}


def has_limits(config: Obj, size: Size) -> bool:
    """Whether an instance is of this size."""
    memory = _bytes(config.get("limits.memory"))
    return config.get("limits.cpu") == str(size.cpu) and memory == int(size.memory)


def is_name(text: str) -> bool:
    """Whether it can be the name of an instance."""
    return _INSTANCE_NAME.match(text) is not None


def is_fingerprint(image: str) -> bool:
    """Whether an image is named by its fingerprint, rather than by an alias."""
    return _FINGERPRINT.match(image) is not None


def check_tags(tags: Mapping[str, str]) -> None:
    """Raises Invalid for tags that cannot be told from Incus's own options, or would be lost."""
    for tag, value in tags.items():
        if not _TAG_NAME.match(tag) or tag in OWN_TAGS:
            raise Invalid("must be letters, digits, - _ . and not one of the backend's own", field=f"tags.{tag}")
        if not value:
            raise Invalid("must not be empty: Incus drops empty options", field=f"tags.{tag}")


def _check(request: CreateRequest) -> None:
    if not is_name(request.key):
        raise Invalid("must be a host name of at most 63 lower-case letters, digits and hyphens", field="key")
    if not request.image or not request.image.isprintable():
        raise Invalid("must be an alias or a fingerprint of an image of the project", field="image")
    if not request.name:
        raise Invalid("must not be empty", field="name")
    if len(request.user_data.encode()) > MAX_USER_DATA:
        raise Invalid(f"is longer than {MAX_USER_DATA} bytes", field="userData")
    check_tags(request.tags)


def _offering(config: Obj, named: str | None, settings: IncusSettings) -> str | None:
    """The size that the limits are of; limits that were changed behind our back are told as they are."""
    sizes = sorted(settings.sizes, key=lambda size: size.name != named)
    found = next((size.name for size in sizes if has_limits(config, size)), None)
    if found is not None or named is None:
        return found
    cpu, memory = config.get("limits.cpu"), config.get("limits.memory")
    if settings.size(named) is None and cpu is not None:
        return named  # its size is no longer declared, so nothing can be compared
    return f"cpu={cpu or 'any'},memory={memory or 'any'}"


def _message(state: ServerState, status: str, failed: str) -> str:
    if state is ServerState.FAILED:
        return clean(failed)
    if state is ServerState.PENDING and status == "Stopped":
        return "it is made and not started yet"
    return "" if state in {ServerState.RUNNING, ServerState.STOPPED} else f"Incus says {str(status)[:64]}"


def _bytes(text: Any) -> int | None:
    """A size as Incus writes it (kB, MiB ...); None for a share of the host's or nonsense."""
    found = re.fullmatch(r"([0-9]+(?:\.[0-9]+)?) ?(?:([kKMGT])(i?))?B?", text) if isinstance(text, str) else None
    if found is None:
        return None
    number, prefix, binary = found.groups()
    factor = (1024 if binary else 1000) ** _PREFIXES[prefix.replace("K", "k")] if prefix else 1
    return int(Decimal(number) * factor)


def began(operation: Any) -> datetime | None:
    """When an operation began, by Incus's own clock; None where it does not tell."""
    try:
        return _time(operation["created_at"])
    except (KeyError, TypeError, ValueError, AttributeError):
        return None


def _time(text: str) -> datetime:
    # Incus tells nanoseconds, which Python's reader of times cuts; its zero is the year 1 or 1970.
    return datetime.fromisoformat(text).astimezone(UTC) if not text.startswith("0001-") else _NEVER.replace(year=1970)


def _addresses(state: Obj) -> tuple[Address, ...]:
    found = []
    for name, card in (state.get("network") or {}).items():
        if name == "lo":
            continue
        for entry in card.get("addresses") or ():
            if entry["scope"] == "global":
                public = ip_address(entry["address"]).is_global
                kind = AddressType.EXTERNAL if public else AddressType.INTERNAL
                found.append((entry["family"] != "inet", Address(kind, entry["address"])))
    return tuple(address for _, address in sorted(found, key=lambda pair: pair[0]))
