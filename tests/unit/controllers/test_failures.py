"""What each typed error means for a server: the right end or the right pause, and a message with the field."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from moorage.controllers.failures import AUTHENTICATION_RETRY, FIRST_RETRY, LAST_RETRY, failure
from moorage.hosting.errors import (
    AuthenticationError,
    CapacityError,
    HostingError,
    Invalid,
    KeyConflict,
    NotFound,
    QuotaError,
    Throttled,
    TimedOut,
    Unavailable,
    Unknown,
)

NOW = datetime(2026, 1, 1, tzinfo=UTC)


@pytest.mark.parametrize(
    ("error", "reason", "message"),
    [
        (CapacityError("no room for small"), "InsufficientCapacity", "no room for small"),
        (QuotaError("3 of 3 servers"), "QuotaExceeded", "3 of 3 servers"),
        (Invalid("ami-1 is gone", field="image"), "Invalid", "image: ami-1 is gone"),
        (Invalid("there is no t9.huge", field="offering"), "Invalid", "offering: there is no t9.huge"),
        (Invalid("a name has no dots here", field="name"), "Invalid", "name: a name has no dots here"),
        (KeyConflict("another request had this key"), "KeyConflict", "another request had this key"),
    ],
)
def test_what_a_repetition_cannot_mend_ends_the_server_and_names_what_to_change(
    error: HostingError, reason: str, message: str
) -> None:
    found = failure(error, 1, NOW)
    assert (found.reason, found.message) == (reason, message)
    assert (found.terminal, found.definite, found.retry_at) == (True, True, None)


@pytest.mark.parametrize("kind", [Throttled, Unavailable, TimedOut, Unknown, NotFound, AuthenticationError])
def test_what_may_pass_is_tried_again_with_growing_pauses(kind: type[HostingError]) -> None:
    pauses = []
    for tries in range(1, 20):
        found = failure(kind("told to fail"), tries, NOW)
        assert not found.terminal
        assert found.retry_at is not None
        pauses.append(found.retry_at - NOW)
    assert pauses == sorted(pauses)
    assert pauses[0] == (AUTHENTICATION_RETRY if kind is AuthenticationError else FIRST_RETRY)
    assert pauses[-1] == LAST_RETRY
    assert failure(kind("told to fail"), 1, NOW).definite is kind.definite


def test_a_service_that_says_when_is_not_asked_before() -> None:
    found = failure(Throttled("slow down", retry_after=90), 1, NOW)
    assert found.retry_at == NOW + timedelta(seconds=90)
