"""Errors of hosting services, typed at the edge: a backend lets nothing else out.

The controller decides by the class alone, never by a provider's text. `definite` says whether the service is known
not to have done what was asked: only then may a creation be given up or asked for elsewhere.

Messages end up in conditions and logs: they hold no credential, no user-data and no setting's value. They are cut
to a bounded length and stripped of control characters here, whatever the provider sent.
"""

from __future__ import annotations

from typing import ClassVar

MAX_MESSAGE = 512


NONSENSE = "the answer makes no sense"


def stranger(service: str, told: str = NONSENSE) -> str:
    """What is said of an answer that the service would not give: something else may be at the endpoint."""
    return f"{told}; is the endpoint that of {service}?"


def clean(text: str, limit: int = MAX_MESSAGE) -> str:
    """One printable line of at most `limit` characters."""
    line = " ".join("".join(c if c.isprintable() else " " for c in text[: 4 * limit]).split())
    return line if len(line) <= limit else line[: limit - 1] + "…"


class HostingError(Exception):
    """Base of all errors that a backend raises.

    `reason` is a CamelCase word fit for a condition's reason. `definite` is true where the service has surely not
    acted on the request; false where it may have, or may yet.
    """

    reason: ClassVar[str] = "HostingError"
    definite: ClassVar[bool] = False

    def __init__(self, message: str) -> None:
        self.message = clean(message) or self.reason
        super().__init__(self.message)


class Retryable(HostingError):
    """The same call may succeed later. `retry_after`: seconds the service asked to wait, or None."""

    reason = "Retryable"

    def __init__(self, message: str, *, retry_after: float | None = None) -> None:
        super().__init__(message)
        self.retry_after = retry_after


class Throttled(Retryable):
    """The service refused the call for its rate. Nothing was done."""

    reason = "Throttled"
    definite = True


class Unavailable(Retryable):
    """No usable answer: connection refused or cut, a server-side error, garbage. The call may have been acted on."""

    reason = "Unavailable"


class TimedOut(Retryable):
    """No answer within the time allowed. The call may have been acted on, or may yet be."""

    reason = "TimedOut"


class CapacityError(HostingError):
    """The service has no room for this server now. Nothing was created; another service or offering may have room."""

    reason = "InsufficientCapacity"
    definite = True


class QuotaError(HostingError):
    """This account may not have more. Nothing was created."""

    reason = "QuotaExceeded"
    definite = True


class AuthenticationError(HostingError):
    """The credentials are missing, wrong, expired or do not allow the call. Nothing was done."""

    reason = "AuthenticationFailed"
    definite = True


class NotFound(HostingError):
    """The service answered, in its own typed way, that it knows no such server. Never inferred from a bare 404."""

    reason = "NotFound"
    definite = True


class Invalid(HostingError):
    """The service, or the backend before asking it, refuses the request as it stands: repeating it is pointless.

    `field` names what to change, as the user wrote it (`image`, `offering`, `settings.bootDelay`, ...), or is None.
    """

    reason = "Invalid"
    definite = True

    def __init__(self, message: str, *, field: str | None = None) -> None:
        super().__init__(message)
        self.field = field


class KeyConflict(Invalid):
    """The key is already used by a server that was asked for with another request. Nothing was created."""

    reason = "KeyConflict"


class Unknown(HostingError):
    """The service answered with something this backend does not know. It may have acted. Treated as not retryable at
    once: the caller backs off and shows the message."""

    reason = "Unknown"
