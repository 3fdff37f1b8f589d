"""What Incus's refusals mean, in the contract's errors.

Incus answers with `{"type": "error", "error_code": ..., "error": ...}`; only such an answer is believed. Its codes are
few: quotas, limits and conflicts are all a 500, told apart by nothing but their text. The texts below are those of
Incus 6.0 to 7.3; one that is not known is never taken for a refusal.
"""

from __future__ import annotations

import json
from typing import Any

from moorage.hosting.errors import (
    AuthenticationError,
    CapacityError,
    HostingError,
    Invalid,
    NotFound,
    QuotaError,
    Throttled,
    Unavailable,
    Unknown,
    stranger,
)
from moorage.hosting.http import Answer

INCUS = "an Incus server"
"""Whose endpoint it has to be."""
_QUOTA = ("Reached maximum number of instances", "Reached maximum aggregate value")
_FULL = ("no space left on device", "Couldn't find a cluster member for the instance", "Cluster member is evacuated")
_BUSY = "Instance is busy running a"
_FORBIDDEN = "Failed checking if instance creation allowed"
_NO_TARGET = "doesn't allow cluster member targeting"
_CONFIG = ("Unknown configuration key", "Invalid config", "Invalid value for", "Invalid devices", "Invalid CPU limit")


def body(answer: Answer, what: str) -> dict[str, Any]:
    """The JSON object of an answer. Raises Unavailable where it is none."""
    try:
        found = json.loads(answer.raw)
    except (ValueError, RecursionError):
        found = None
    if not isinstance(found, dict) or found.get("type") not in {"sync", "async", "error"}:
        raise Unavailable(f"{what}: {stranger(INCUS)}")
    return found


def is_typed(answer: Answer) -> bool:
    """Whether an answer other than success is Incus's own, rather than that of something on the way."""
    return _error(answer) is not None


def refusal(answer: Answer, what: str) -> HostingError:
    """The error that an answer other than success stands for."""
    error = _error(answer)
    if error is not None:
        return _typed(answer, f"{what}: {error}")
    text = stranger(INCUS, f"{what}: status {answer.status} without a word of Incus's own")
    if answer.status in {401, 403, 407}:
        return AuthenticationError(text)
    if answer.status == 429:
        return Throttled(text, retry_after=answer.retry_after)
    if answer.status >= 500 or answer.status in {404, 408, 425}:
        return Unavailable(text, retry_after=answer.retry_after)
    return Unknown(text)


def failure(found: dict[str, Any], what: str) -> HostingError:
    """The error of an operation that failed: as Incus hands it on, its code is that of the cause."""
    text = f"{what}: {found.get('error')}"
    known = _by_text(text)
    if known is not None:
        return known
    if found.get("error_code") in {400, 404}:
        return Invalid(text, field="settings")
    return Unknown(text)


def _error(answer: Answer) -> str | None:
    try:
        found = json.loads(answer.raw)
    except (ValueError, RecursionError):
        return None
    typed = isinstance(found, dict) and found.get("type") == "error" and found.get("error_code") == answer.status
    return str(found.get("error")) if typed else None


def _typed(answer: Answer, text: str) -> HostingError:
    known = _by_text(text)
    if known is not None:
        return known
    match answer.status:
        case 401 | 403:
            return AuthenticationError(text)
        case 404:
            return NotFound(text)
        case 400:
            return Invalid(text)
        case 429:
            return Throttled(text, retry_after=answer.retry_after)
        case status if status >= 500 or status in {409, 412}:
            return Unavailable(text, retry_after=answer.retry_after)
        case _:
            return Unknown(text)


def _by_text(text: str) -> HostingError | None:
    if any(words in text for words in _QUOTA):
        return QuotaError(text)
    if any(words in text for words in _FULL):
        return CapacityError(text)
    if _BUSY in text:
        return Unavailable(text)
    if _NO_TARGET in text:
        remedy = "allow it in the project (restricted.cluster.target=allow), or name no target"
        return Invalid(f"{text}: {remedy}", field="settings.target")
    if _FORBIDDEN in text or any(words in text for words in _CONFIG):
        return Invalid(text, field="settings")
    return None
