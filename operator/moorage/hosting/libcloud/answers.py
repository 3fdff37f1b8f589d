"""What went wrong, in the contract's errors: by what the provider answered, then by what Libcloud made of it."""

from __future__ import annotations

from typing import Final

from libcloud.common.exceptions import RateLimitReachedError
from libcloud.common.types import InvalidCredsError

from moorage.hosting.errors import (
    NONSENSE,
    AuthenticationError,
    HostingError,
    Invalid,
    NotFound,
    Retryable,
    Throttled,
    Unavailable,
    Unknown,
    stranger,
)
from moorage.hosting.http import retry_after
from moorage.hosting.libcloud.exchange import Exchange, Reply
from moorage.hosting.libcloud.profiles import Profile

WHOSE: Final = "this driver's provider"
"""Whose endpoint it has to be."""


def failure(what: str, error: Exception, exchange: Exchange, profile: Profile, *, one: bool) -> HostingError:
    """The error that anything a call raised stands for. `what` names the call, `one` says that it is about one server:
    only then is NotFound believed."""
    found = _typed(error, exchange, profile)
    if not found.definite or not any(profile.creates(reply) for reply in exchange.replies):
        return _named(what, found, one=one)
    # The server was made, and what failed is what the driver asked after it.
    return Unavailable(f"{what}: the server was made, but then: {found.message}")


def _typed(error: Exception, exchange: Exchange, profile: Profile) -> HostingError:
    if isinstance(error, HostingError):
        return error
    last = exchange.last
    if last is not None and last.status >= 300:
        return profile.refusal(last) or _by_status(last)
    if isinstance(error, InvalidCredsError):
        return AuthenticationError("the driver refuses the credentials")
    if isinstance(error, RateLimitReachedError):
        return Throttled("the driver says that there were too many calls")
    # Text of Libcloud's errors may hold what was sent. The class says enough: an answer that makes no sense.
    return Unavailable(stranger(WHOSE, f"{NONSENSE} ({type(error).__name__})"))


def _by_status(reply: Reply) -> HostingError:
    text = f"status {reply.status}"
    if reply.status in {401, 403, 407}:
        return AuthenticationError(text)
    if reply.status == 429:
        return Throttled(text, retry_after=retry_after(reply.headers))
    if reply.status >= 500 or reply.status in {404, 408, 425} or reply.status < 400:
        text = stranger(WHOSE, text) if reply.status < 500 else text
        return Unavailable(text, retry_after=retry_after(reply.headers))
    if reply.status in {400, 422}:
        return Invalid(f"{text}: the provider refuses the request, and the driver does not tell why")
    return Unknown(text)


def _named(what: str, error: HostingError, *, one: bool) -> HostingError:
    text = f"{what}: {error.message}"
    if isinstance(error, NotFound) and not one:
        return Unavailable(stranger(WHOSE, text))
    if isinstance(error, Invalid):
        return type(error)(text, field=error.field)
    if isinstance(error, Retryable):
        return type(error)(text, retry_after=error.retry_after)
    return type(error)(text)
