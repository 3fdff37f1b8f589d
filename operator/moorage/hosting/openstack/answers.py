"""What the answers of OpenStack's services mean, in the contract's errors.

Nova and Keystone refuse with a JSON object of one key that names the kind of refusal. A refusal is believed only as
status *and* key together: a proxy's bare 404 is not "gone". Glance and Neutron are only asked for lists, which say
"nothing" as an empty list.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, Final

from moorage.hosting.errors import (
    AuthenticationError,
    HostingError,
    Invalid,
    NotFound,
    QuotaError,
    Throttled,
    Unavailable,
    Unknown,
    stranger,
)

KEYSTONE: Final = "Keystone"
"""Whose endpoint it has to be: those of the other services are in its catalogue."""
_KEYS: Final = frozenset(
    {
        "badRequest",
        "computeFault",
        "conflictingRequest",
        "error",
        "forbidden",
        "itemNotFound",
        "notImplemented",
        "overLimit",
        "serviceUnavailable",
        "unauthorized",
    }
)
_FIELDS: Final[tuple[tuple[str, str], ...]] = (
    (r"key_name|keypair|key pair", "settings.keyName"),
    (r"availability.?zone", "settings.zone"),
    (r"security.?group", "settings.securityGroups"),
    (r"server.?group|scheduler.hint|instance.group|\bgroup\b", "settings.serverGroup"),
    (r"volume|block device|boot sequence", "settings.bootVolume"),
    (r"\bnetworks?\b|\bport\b|fixed.?ip|subnet", "settings.networks"),
    (r"user_data", "userData"),
    (r"metadata|\btags?\b", "tags"),
    (r"\bimage|imageref", "image"),
    (r"flavor", "offering"),
    (r"\bname\b|hostname", "name"),
)


class Conflict(Unavailable):
    """The server is in a state in which it cannot be done (409 `conflictingRequest`): nothing was done."""

    definite = True


class NotImplementedThere(Unknown):
    """The driver behind Nova cannot do it (501 `notImplemented`)."""

    definite = True


class Older(Invalid):
    """The service does not know the version of its API that is asked for (406)."""


def refusal(what: str, status: int, body: object, retry_after: float | None) -> HostingError:
    """The error that an answer other than success stands for. `what` names the call."""
    key, told = _named(body)
    text = f"{what}: {told}" if told else f"{what}: status {status}"
    if status in {401, 407}:
        return AuthenticationError(text)
    if status == 429 or (status, key) == (413, "overLimit"):
        return Throttled(text, retry_after=retry_after)
    match status, key:
        case 404, "itemNotFound":
            return NotFound(text)
        case 400, "badRequest":
            return Invalid(text, field=_field(told))
        case 409, "conflictingRequest":
            return Conflict(text)
        case 501, "notImplemented":
            return NotImplementedThere(text)
        case 403, "forbidden":
            return _forbidden(text, told)
        case 406, _ if key:
            return Older(f"{what}: this Nova is older than the release Train (microversion 2.79)", field="endpoint")
    if status == 403:
        return AuthenticationError(text)
    if status >= 500:
        return Unavailable(text, retry_after=retry_after)
    if not told:
        text = stranger(KEYSTONE, text)
    return Unavailable(text, retry_after=retry_after) if status in {404, 408, 425} else Unknown(text)


def is_keystones(body: object) -> bool:
    """Whether it is a refusal in Keystone's own form."""
    return _named(body)[0] == "error"


def _forbidden(text: str, told: str) -> HostingError:
    """Nova has one key for two kinds of refusal, and nothing but the text to tell them apart: "Quota exceeded for ...",
    "Maximum number of ports exceeded" on the one hand, "Policy doesn't allow ..." on the other."""
    if re.search(r"quota|maximum number|limit exceeded", told, re.IGNORECASE):
        if re.search(r"metadata", told, re.IGNORECASE):
            return Invalid(text, field="tags")
        return QuotaError(text)
    return AuthenticationError(text)


def _named(body: object) -> tuple[str, str]:
    """The key of a refusal and its message, "" where there is none."""
    if isinstance(body, Mapping) and len(body) == 1:
        key, value = next(iter(body.items()))
        if key in _KEYS and isinstance(value, Mapping):
            message: Any = value.get("message")
            return key, message if isinstance(message, str) and message else key
        if key == "errors" and isinstance(value, list) and value and isinstance(value[0], Mapping):
            # Refusals of the version of the API come in a form of their own.
            return key, str(value[0].get("title") or key)
    return "", ""


def _field(told: str) -> str | None:
    """The field of the spec that Nova means: it names none, so this looks for words. Only the hint depends on it."""
    for pattern, field in _FIELDS:
        if re.search(pattern, told, re.IGNORECASE):
            return field
    return None
