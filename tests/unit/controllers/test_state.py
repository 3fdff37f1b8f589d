"""What the Secret of a server records survives a round trip; what is damaged is never read as nothing."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta

import pytest

from moorage.controllers.context import ServerMemory
from moorage.controllers.state import KEPT_ATTEMPTS, SecretState, tried_since
from moorage.core.facts import Attempt, CallFailure, Lookup, LookupResult

NOW = datetime(2026, 1, 1, tzinfo=UTC)
S = timedelta(seconds=1)


def secret(text: str | None, **meta: object) -> dict[str, object]:
    return {"metadata": {"annotations": {} if text is None else {"moorage.dev/state": text}, **meta}}


def attempt(number: int) -> Attempt:
    return Attempt(NOW + number * S, NOW + (number + 60) * S)


def test_round_trip() -> None:
    state = SecretState(attempts=(attempt(0),), closed=True)
    assert SecretState.of(secret(state.encode())) == state
    assert SecretState.of(secret(SecretState().encode())) == SecretState()


def test_only_the_latest_attempts_are_kept() -> None:
    state = SecretState()
    for number in range(9):
        state = state.attempted(attempt(number))
    assert state.attempts == tuple(attempt(n) for n in range(9 - KEPT_ATTEMPTS, 9))
    assert state.facts().attempts == state.attempts


MADE = "2026-01-01T00:00:00Z"


def test_a_server_has_been_asked_for_since_its_secret_was_posted_with_the_first_attempt() -> None:
    state = SecretState()
    for number in range(9):
        state = state.attempted(attempt(number))
    assert tried_since(secret(state.encode(), creationTimestamp=MADE)) == datetime.fromisoformat(MADE)


def test_a_server_without_an_attempt_was_never_asked_for_and_a_damaged_record_is_not_none() -> None:
    assert tried_since(None) is None
    for never in (SecretState(), SecretState(closed=True)):
        assert tried_since(secret(never.encode(), creationTimestamp=MADE)) is None
    assert tried_since(secret("{", creationTimestamp=MADE)) == datetime.fromisoformat(MADE)


@pytest.mark.parametrize(
    "text",
    [
        None,
        "",
        "{",
        "null",
        "[]",
        '"x"',
        "{}",
        json.dumps({"attempts": None}),
        json.dumps({"attempts": 3}),
        json.dumps({"attempts": [["2026-01-01T00:00:00+00:00"]]}),
        json.dumps({"attempts": [["soon", "later"]]}),
        json.dumps({"attempts": [[1, 2]]}),
        json.dumps({"attempts": [["2026-01-01T00:00:00", "2026-01-01T00:01:00"]]}),
    ],
)
def test_what_is_damaged_is_refused(text: str | None) -> None:
    with pytest.raises(ValueError, match=r"moorage\.dev/state"):
        SecretState.of(secret(text))


def test_what_was_learnt_later_than_now_is_forgotten() -> None:
    failure = CallFailure("Unavailable", "no answer", False, False, NOW + 3601 * S)
    later = NOW + 3600 * S
    memory = ServerMemory(
        lookup=Lookup(later, 3600.0, LookupResult.NOT_FOUND),
        failure=failure,
        failed_at=later,
        tries=3,
        noticed_at=later,
        deleted_at=later,
        asked_since=later,
    )
    memory.forget_future(later)
    assert memory.failure is failure
    memory.forget_future(NOW)
    assert memory == ServerMemory()
