"""What can go wrong between us and the API server, as types that say what to do next."""

from __future__ import annotations

import json
from typing import Any

# Answers of these codes may quote the body that was sent; for a Secret the body is what must never be shown.
_QUOTING = frozenset({400, 413, 415, 422})


class KubeError(Exception):
    """Any failure of this layer."""


class NotLeader(KubeError):
    """An outward call was refused because this process does not hold the lease (any more)."""


class ConfigError(KubeError):
    """No usable kubeconfig, context or in-cluster credentials; the message says what is missing."""


class InvalidObject(KubeError):
    """A stored object does not fit its model; the message names fields, never their values."""


class ApiError(KubeError):
    """The API server refused a request, or could not be reached (`status` 0).

    `reason` is Kubernetes' machine word (`NotFound`, `AlreadyExists`, ...), `causes` the machine words of the
    details, `retry_after` the seconds the server asked us to wait (None: it did not).
    """

    def __init__(
        self,
        status: int,
        reason: str,
        message: str,
        *,
        causes: tuple[str, ...] = (),
        retry_after: float | None = None,
    ) -> None:
        super().__init__(message)
        self.status = status
        self.reason = reason
        self.message = message
        self.causes = causes
        self.retry_after = retry_after

    @property
    def namespace_terminating(self) -> bool:
        """True where a creation was refused because the namespace is being deleted: not worth a retry."""
        return "NamespaceTerminating" in self.causes

    def __str__(self) -> str:
        return f"{self.message} ({self.status or 'no answer'} {self.reason})"


class BadRequest(ApiError):
    """400: the request itself is wrong."""


class Unauthorized(ApiError):
    """401: our credentials are not accepted, also after they were loaded again."""


class Forbidden(ApiError):
    """403: a missing RBAC rule, an admission plugin, or a namespace that is being deleted."""


class NotFound(ApiError):
    """404: the object (or its kind) does not exist."""


class Conflict(ApiError):
    """409: another resourceVersion or uid than the one we gave; read again, decide again."""


class AlreadyExists(Conflict):
    """409 on a creation: the name is taken."""


class Gone(ApiError):
    """410: the resourceVersion or continue token is too old; list again."""


class TooLarge(ApiError):
    """413: the object is too large to be stored."""


class Invalid(ApiError):
    """422: the object breaks a rule of its schema, or the test of a JSON patch failed."""


class TooManyRequests(ApiError):
    """429: the server asks us to slow down, and retrying within the call was not enough."""


class Unavailable(ApiError):
    """5xx, no connection, or no answer in time. Whether a write took place is unknown."""


_BY_STATUS: dict[int, type[ApiError]] = {
    400: BadRequest,
    401: Unauthorized,
    403: Forbidden,
    404: NotFound,
    409: Conflict,
    410: Gone,
    413: TooLarge,
    422: Invalid,
    429: TooManyRequests,
}


def from_status(code: int, body: Any, *, retry_after: float | None = None, sensitive: bool = False) -> ApiError:
    """The error for a `Status` object of the API server (or whatever a proxy answered in its place).

    With `sensitive` the message is withheld wherever it could quote the body that we sent.
    """
    status = body if isinstance(body, dict) else {}
    reason = str(status.get("reason") or "")
    details = status.get("details")
    details = details if isinstance(details, dict) else {}
    causes = tuple(str(c.get("reason", "")) for c in details.get("causes") or () if isinstance(c, dict))
    if retry_after is None and isinstance(details.get("retryAfterSeconds"), int | float):
        retry_after = float(details["retryAfterSeconds"]) or None
    message = str(status.get("message") or f"the API server answered {code}")
    if sensitive and code in _QUOTING:
        message = f"the API server refused the {details.get('kind') or 'object'} (its message is withheld)"
    cls = _BY_STATUS.get(code, Unavailable if code >= 500 else ApiError)
    if code == 409 and reason == "AlreadyExists":
        cls = AlreadyExists
    if reason == "Expired":
        cls = Gone
    return cls(code, reason or cls.__name__, message, causes=causes, retry_after=retry_after)


def parse_body(raw: bytes) -> Any:
    """The JSON of an answer, or None where it is not JSON (a proxy's HTML page)."""
    try:
        return json.loads(raw)
    except ValueError:
        return None
