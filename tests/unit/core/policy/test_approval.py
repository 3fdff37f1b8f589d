"""Approvals: one spelling, what counts when, and that what does not count says why."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from moorage.api.groupconditions import ApprovalCondition
from moorage.api.meta import ObjectMeta
from moorage.api.names import ANNOTATION_APPROVAL
from moorage.core.policy.approval import CLOCKS_DIFFER, MAX_LENGTH, MAX_REASON, Approval, read_approval
from moorage.core.policy.readings import RawReading

NOW = datetime(2026, 11, 20, 12, 0, tzinfo=UTC)
HOUR = timedelta(hours=1)
GIVEN = Approval("u-1", 3, "jane", NOW - HOUR)
ANY_TIME = ApprovalCondition()


def read(text: str | None, condition: ApprovalCondition = ANY_TIME, now: datetime = NOW) -> RawReading:
    annotations = {} if text is None else {ANNOTATION_APPROVAL: text}
    meta = ObjectMeta(name="web", namespace="shop", uid="u-1", generation=3, annotations=annotations)
    return read_approval(condition, meta, now)


def given_with(**fields: Any) -> Approval:
    whole = {"uid": "u-1", "generation": 3, "by": "jane", "at": NOW - HOUR}
    return Approval(**{**whole, **fields})


def test_it_counts_until_it_ends() -> None:
    text = given_with(until=NOW + HOUR, reason="release 7").encode()
    assert text == (
        '{"uid":"u-1","generation":3,"by":"jane","at":"2026-11-20T11:00:00Z",'
        '"until":"2026-11-20T13:00:00Z","reason":"release 7"}'
    )
    raw = read(text)
    assert (raw.value, raw.reason, raw.next_check) == ("Met", "Approved", NOW + HOUR)
    assert raw.message == "approved by jane at 2026-11-20T11:00:00Z until 2026-11-20T13:00:00Z (release 7)"
    assert read(text, now=NOW + HOUR - timedelta(seconds=1)).value == "Met"
    over = read(text, now=NOW + HOUR)
    assert (over.value, over.reason, over.next_check) == ("Unmet", "ApprovalLapsed", None)
    assert over.message == "the approval by jane ended at 2026-11-20T13:00:00Z: moorage approve web -n shop"


def test_without_an_end_it_counts_until_it_is_revoked() -> None:
    raw = read(GIVEN.encode(), now=NOW + 10_000 * HOUR)
    assert (raw.value, raw.next_check) == ("Met", None)


@pytest.mark.parametrize(
    ("until", "end"), [(None, NOW + HOUR), (NOW + 5 * HOUR, NOW + HOUR), (NOW + HOUR / 2, NOW + HOUR / 2)]
)
def test_the_policy_may_let_it_count_for_less(until: datetime | None, end: datetime) -> None:
    text, condition = given_with(until=until).encode(), ApprovalCondition(max_age=2 * HOUR)
    assert (read(text, condition).value, read(text, condition).next_check) == ("Met", end)
    assert read(text, condition, now=end).reason == "ApprovalLapsed"


def test_a_year_that_no_date_can_have_is_no_error() -> None:
    assert read(GIVEN.encode(), ApprovalCondition(max_age=timedelta(days=4_000_000))).value == "Met"


@pytest.mark.parametrize(
    ("text", "reason", "says"),
    [
        (None, "NotApproved", "nobody has approved it"),
        (given_with(uid="u-0").encode(), "ApprovalOfAnother", "for another object"),
        (given_with(generation=2).encode(), "ApprovalOutdated", "jane approved generation 2, now it is 3"),
        (given_with(generation=4).encode(), "ApprovalOutdated", "jane approved generation 4, now it is 3"),
        (given_with(at=NOW + 2 * CLOCKS_DIFFER).encode(), "ApprovalFromFuture", "set that clock right"),
        ("", "ApprovalMalformed", "not what moorage approve writes"),
        ("yes", "ApprovalMalformed", "not what moorage approve writes"),
        ("[" * 2000, "ApprovalMalformed", "not what moorage approve writes"),
        ("x" * 3000, "ApprovalMalformed", "too long"),
        (GIVEN.encode().replace(":", ": "), "ApprovalMalformed", "not"),
        (GIVEN.encode().replace('"jane"', '"joe","by":"jane"'), "ApprovalMalformed", "not spelled"),
        (GIVEN.encode().replace("}", ',"more":1}'), "ApprovalMalformed", "not spelled"),
        (GIVEN.encode().replace("3,", "true,"), "ApprovalMalformed", "not what"),
        (GIVEN.encode().replace("11-20", "02-31"), "ApprovalMalformed", "not what"),
        (GIVEN.encode().replace("00Z", "00+01:00"), "ApprovalMalformed", "not what"),
        ('{"uid":null}', "ApprovalMalformed", "not what"),
        ("null", "ApprovalMalformed", "not what"),
    ],
)
def test_what_does_not_count_is_unmet_and_says_what_to_do(text: str | None, reason: str, says: str) -> None:
    raw = read(text)
    assert (raw.value, raw.reason) == ("Unmet", reason)
    assert says in raw.message
    assert "moorage approve web -n shop" in raw.message


def test_a_clock_that_is_a_little_ahead_is_no_reason() -> None:
    assert read(given_with(at=NOW + CLOCKS_DIFFER).encode()).value == "Met"
    ahead = read(given_with(at=NOW + 2 * CLOCKS_DIFFER).encode())
    assert ahead.next_check == NOW + CLOCKS_DIFFER
    assert read(given_with(at=NOW + 2 * CLOCKS_DIFFER).encode(), now=NOW + CLOCKS_DIFFER).value == "Met"


_TIMES = st.integers(0, 7_000_000_000).map(lambda seconds: datetime.fromtimestamp(seconds, UTC))
_NAMES = st.text(st.characters(exclude_categories=["Cs"]), max_size=60)


@given(_NAMES, _NAMES, st.integers(0, 2**40), _TIMES, st.none() | _TIMES, _NAMES)
def test_what_is_written_is_read(
    uid: str, by: str, generation: int, at: datetime, until: datetime | None, reason: str
) -> None:
    written = Approval(uid, generation, by, at, until, reason)
    found = Approval.parse(written.encode())
    assert found.encode() == written.encode()
    assert (found.uid, found.by, found.generation, found.at, found.until) == (uid, by, generation, at, until)


@given(st.text(max_size=300) | st.recursive(st.none() | st.booleans() | st.text(), st.lists).map(json.dumps))
def test_no_text_is_an_error_beyond_words(text: str) -> None:
    assert read(text).reason == "ApprovalMalformed"


def test_a_long_reason_is_cut_and_a_name_that_is_too_long_refused() -> None:
    assert len(Approval.parse(given_with(reason="r\n" * MAX_LENGTH).encode()).reason) == MAX_REASON
    with pytest.raises(ValueError, match="2048 are allowed"):
        given_with(by="j" * MAX_LENGTH).encode()
