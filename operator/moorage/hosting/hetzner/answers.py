"""What the API's refusals mean, in the contract's errors: by `error.code`, as its reference lists them.

https://docs.hetzner.cloud/reference/cloud#errors, and the codes of single operations with these.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from moorage.hosting.errors import (
    NONSENSE,
    AuthenticationError,
    CapacityError,
    HostingError,
    Invalid,
    NotFound,
    QuotaError,
    Retryable,
    Throttled,
    Unavailable,
    Unknown,
    stranger,
)
from moorage.hosting.http import MAX_RETRY_AFTER, retry_after

WHOSE: Final = "the Hetzner Cloud API"
"""Whose endpoint it has to be."""
_CAPACITY = "resource_unavailable placement_error no_space_left_in_location no_subnet_available ip_not_available"
_QUOTA = "resource_limit_exceeded"
_AUTHENTICATION = "unauthorized forbidden token_readonly"
# What may be over soon. `conflict` and `locked` mean that nothing was done, the others may have acted.
_UNAVAILABLE = """service_error server_error unknown_error bad_gateway timeout maintenance conflict
resource_locked unavailable robot_unavailable json_error method_not_allowed"""
_FIELDS: Final[Mapping[str, str]] = {
    "offering": "invalid_server_type",
    "settings.networks": "networks_overlap server_already_attached incompatible_network_type",
    "settings.firewalls": "firewall_resource_not_found private_net_only_server",
    "volume": "volume_already_attached",
    "address": "floating_ip_assigned",
}
_PLAIN_INVALID = "protected unsupported_error resource_in_use server_not_stopped"
_REMEDY: Final[Mapping[str, str]] = {
    "unauthorized": "check the API token in the credentials Secret",
    "forbidden": "check the API token in the credentials Secret",
    "token_readonly": "make an API token that may read and write",
    "resource_limit_exceeded": "ask Hetzner for a higher limit of the project",
    "protected": "take the server's protection away",
    "deprecated_api_endpoint": "a newer version of Moorage is needed",
}
# Names of the API's fields, as they come in `details.fields`, by what the user wrote.
PARAMETERS: Final[Mapping[str, str]] = {
    "image": "image",
    "server_type": "offering",
    "user_data": "userData",
    "location": "region",
    "networks": "settings.networks",
    "firewalls": "settings.firewalls",
    "ssh_keys": "settings.sshKeys",
    "placement_group": "settings.placementGroup",
    "public_net": "settings.publicIPv4",
    "labels": "tags",
    "name": "key",
    "size": "size",
}
# Where the API names no field, its text does. It decides nothing but which field is pointed at.
_WORDS: Final[Mapping[str, str]] = {
    "image": "image",
    "server type": "offering",
    "server_type": "offering",
    "ssh key": "settings.sshKeys",
    "ssh_key": "settings.sshKeys",
    "placement group": "settings.placementGroup",
    "firewall": "settings.firewalls",
    "network": "settings.networks",
    "location": "region",
}


class NotUnique(Invalid):
    """The API's `uniqueness_error`: the name is taken. Never leaves this package."""


class Locked(Unavailable):
    """The API's `locked`: something else is under way with the object. Never leaves this package."""


@dataclass(frozen=True, slots=True)
class Reply:
    """What came back."""

    status: int
    headers: Mapping[str, str]
    raw: bytes

    def object(self) -> dict[str, Any]:
        """The JSON object in it. Raises Unavailable."""
        try:
            found = json.loads(self.raw)
        except (ValueError, RecursionError):
            found = None
        if not isinstance(found, dict):
            raise Unavailable(stranger(WHOSE))
        return found

    @property
    def error(self) -> Mapping[str, Any]:
        """The API's error object; empty where this is none."""
        try:
            found = self.object().get("error")
        except Unavailable:
            return {}
        return found if isinstance(found, dict) and isinstance(found.get("code"), str) else {}


def _table() -> dict[str, Callable[[str], HostingError]]:
    table: dict[str, Callable[[str], HostingError]] = {}
    for codes, made in ((_CAPACITY, CapacityError), (_QUOTA, QuotaError), (_AUTHENTICATION, AuthenticationError)):
        table |= dict.fromkeys(codes.split(), made)
    for field, codes in _FIELDS.items():
        table |= {code: _invalid(field) for code in codes.split()}
    table |= dict.fromkeys(_PLAIN_INVALID.split(), Invalid)
    return table | {"uniqueness_error": NotUnique, "locked": Locked}


def _invalid(field: str) -> Callable[[str], HostingError]:
    return lambda text: Invalid(text, field=field)


TABLE: Final = _table()
UNAVAILABLE: Final = frozenset(_UNAVAILABLE.split())


def refusal(reply: Reply) -> HostingError:
    """The error that an answer other than success stands for."""
    error = reply.error
    code, status = str(error.get("code", "")), reply.status
    text = _text(status, code, str(error.get("message", "")))
    if status == 429 or code == "rate_limit_exceeded":
        return Throttled(text, retry_after=wait_of(reply.headers))
    if code in UNAVAILABLE or status >= 500:
        return Unavailable(text, retry_after=wait_of(reply.headers) if status == 503 else None)
    if code == "not_found" and status == 404:
        return NotFound(text)
    if code == "invalid_input":
        return Invalid(text, field=field_of(error))
    made = TABLE.get(code)
    if made is not None:
        return made(text)
    if status in {401, 403, 407}:
        return AuthenticationError(text)
    # A status without the API's own word is a proxy's, or another service's.
    return Unknown(text) if code else Unavailable(text)


def _text(status: int, code: str, message: str) -> str:
    told = f"{code}: {message}" if code else stranger(WHOSE, f"status {status}")
    return f"{told}; {_REMEDY[code]}" if code in _REMEDY else told


def field_of(error: Mapping[str, Any]) -> str | None:
    """What the user has to change, of the fields that an `invalid_input` names."""
    details = error.get("details")
    fields = details.get("fields") if isinstance(details, dict) else None
    for each in fields if isinstance(fields, list) else ():
        name = str(each.get("name", "")) if isinstance(each, dict) else ""
        found = PARAMETERS.get(name.partition(".")[0].partition("[")[0])
        if found is not None:
            return found
    return word_in(str(error.get("message", "")))


def word_in(message: str) -> str | None:
    """The field that a message speaks of."""
    lowered = message.lower()
    return next((field for word, field in _WORDS.items() if word in lowered), None)


def wait_of(headers: Mapping[str, str]) -> float | None:
    """Seconds to wait. The API tells no Retry-After, but how many calls an hour there are: one comes back every
    3600/limit seconds. A proxy's Retry-After goes first."""
    told = retry_after(headers)
    if told is not None:
        return told
    limit = {name.lower(): value for name, value in headers.items()}.get("ratelimit-limit", "")
    if not limit.isascii() or not limit.isdigit() or int(limit) == 0:
        return None
    return min(max(1.0, round(3600 / int(limit))), MAX_RETRY_AFTER)


def failure(what: str, error: Exception, *, one: bool) -> HostingError:
    """The error that anything a call raised stands for; `what` names the call.

    NotFound is believed where `one` object was asked for: a list that is not found is a wrong endpoint.
    """
    if isinstance(error, NotFound) and not one:
        return Unavailable(stranger(WHOSE, f"{what}: {error.message}"))
    if isinstance(error, NotUnique | Locked):
        return (Invalid if isinstance(error, NotUnique) else Unavailable)(f"{what}: {error.message}")
    if isinstance(error, Invalid):
        return type(error)(f"{what}: {error.message}", field=error.field)
    if isinstance(error, Retryable):
        return type(error)(f"{what}: {error.message}", retry_after=error.retry_after)
    if isinstance(error, HostingError):
        return type(error)(f"{what}: {error.message}")
    # A shape that the SDK's models did not expect shows as a KeyError or the like: an answer that makes no sense.
    return Unavailable(stranger(WHOSE, f"{what}: {NONSENSE} ({type(error).__name__})"))
