"""What the typed errors of a hosting service mean for a server, and when to try again."""

from __future__ import annotations

from datetime import datetime, timedelta

from moorage.core.facts import CallFailure
from moorage.hosting.errors import AuthenticationError, CapacityError, HostingError, Invalid, QuotaError, Retryable

FIRST_RETRY = timedelta(seconds=1)
LAST_RETRY = timedelta(seconds=60)
AUTHENTICATION_RETRY = timedelta(seconds=30)


def failure(error: HostingError, tries: int, now: datetime) -> CallFailure:
    """What an error means for a server: whether it ends the object, and when to try again."""
    terminal = isinstance(error, CapacityError | QuotaError | Invalid)
    wait = min(FIRST_RETRY * (1 << min(tries - 1, 10)), LAST_RETRY)
    if isinstance(error, AuthenticationError):
        wait = max(wait, AUTHENTICATION_RETRY)
    if isinstance(error, Retryable) and error.retry_after is not None:
        wait = max(wait, timedelta(seconds=error.retry_after))
    message = error.message
    if isinstance(error, Invalid) and error.field:
        message = f"{error.field}: {message}"
    return CallFailure(error.reason, message, terminal, error.definite, None if terminal else now + wait)
