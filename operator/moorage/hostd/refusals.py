"""Refusals that hostd answers with, each a status and a body."""

from __future__ import annotations

from moorage.api.hostd import ErrorBody


class Refusal(Exception):
    """An answer other than success."""

    def __init__(
        self, status: int, reason: str, message: str, *, field: str | None = None, retry_after: float | None = None
    ) -> None:
        super().__init__(message)
        self.status = status
        self.body = ErrorBody(reason=reason, message=message, field=field)
        self.retry_after = retry_after


def invalid(message: str, field: str | None = None) -> Refusal:
    """400: the request cannot be served as it stands."""
    return Refusal(400, "Invalid", message, field=field)


def not_found(server_id: str) -> Refusal:
    """404: no such server."""
    return Refusal(404, "NotFound", f"no server {server_id[:128]!r}")


def key_conflict(message: str) -> Refusal:
    """409: the key means another request, or a server that is gone."""
    return Refusal(409, "KeyConflict", message, field="key")


def conflict(message: str) -> Refusal:
    """409: not in this state."""
    return Refusal(409, "Conflict", message)


def no_capacity(message: str) -> Refusal:
    """507: the service is full."""
    return Refusal(507, "InsufficientCapacity", message)


def over_quota(limit: int) -> Refusal:
    """403: the account may not have more."""
    return Refusal(403, "QuotaExceeded", f"the account may have {limit} servers and has them")
