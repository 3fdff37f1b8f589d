"""What hostd's answers mean, in the contract's errors."""

from __future__ import annotations

from collections.abc import Callable

from pydantic import ValidationError

from moorage.api.hostd import ErrorBody
from moorage.hosting.errors import (
    AuthenticationError,
    CapacityError,
    HostingError,
    Invalid,
    KeyConflict,
    NotFound,
    QuotaError,
    Throttled,
    Unavailable,
    Unknown,
    stranger,
)
from moorage.hosting.http import Answer

HOSTD = "a hostd"
"""Whose endpoint it has to be."""
# A typed refusal is believed only as status *and* reason together: a proxy's bare 404 or 507 is neither "gone" nor
# "full".
_TYPED: dict[tuple[int, str], Callable[[str, ErrorBody], HostingError]] = {
    (400, "Invalid"): lambda text, body: Invalid(text, field=body.field),
    (403, "QuotaExceeded"): lambda text, body: QuotaError(text),
    (404, "NotFound"): lambda text, body: NotFound(text),
    (409, "KeyConflict"): lambda text, body: KeyConflict(text, field=body.field),
    (507, "InsufficientCapacity"): lambda text, body: CapacityError(text),
}


def wants_session(answer: Answer) -> bool:
    """Whether the service did nothing, for it wants a session in place of the token, or another one."""
    try:
        return answer.status == 401 and ErrorBody.model_validate_json(answer.raw).reason == "SessionRequired"
    except ValidationError:
        return False


def refusal(what: str, answer: Answer) -> HostingError:
    """The error that an answer other than success stands for. `what` names the call."""
    status, retry_after = answer.status, answer.retry_after
    try:
        body = ErrorBody.model_validate_json(answer.raw)
    except ValidationError:
        body = None
    if body is not None:
        typed = _TYPED.get((status, body.reason))
        if typed is not None:
            return typed(f"{what}: {body.message or body.reason}", body)
    text = f"{what}: status {status}"
    text = f"{text}, {body.reason}: {body.message}" if body is not None else stranger(HOSTD, text)
    if status in {401, 403, 407}:
        return AuthenticationError(text)
    if status == 429:
        return Throttled(text, retry_after=retry_after)
    if status >= 500 or status in {404, 408, 425}:
        return Unavailable(text, retry_after=retry_after)
    return Unknown(text)
