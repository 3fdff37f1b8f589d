"""The signed question of a webhook, and what its answer means."""

from __future__ import annotations

import hashlib
import hmac
import json
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from moorage.core.policy.webhook import judge_webhook, question, signature

NOW = datetime(2026, 11, 22, 12, 0, 0, 500_000, tzinfo=UTC)
JSON = "application/json"


def test_the_question_names_the_policy_and_the_time() -> None:
    assert json.loads(question("p", "ns", "u-1", "may-run", NOW)) == {
        "policy": "p",
        "namespace": "ns",
        "uid": "u-1",
        "condition": "may-run",
        "time": "2026-11-22T12:00:00Z",
    }


def test_a_receiver_can_check_the_signature_as_documented() -> None:
    body = question("p", "ns", "u-1", "may-run", NOW)
    header = signature(b"k" * 32, body, NOW)
    parts = dict(part.split("=", 1) for part in header.split(","))
    assert parts["t"] == str(int(NOW.timestamp()))
    expected = hmac.new(b"k" * 32, parts["t"].encode() + b"." + body, hashlib.sha256).hexdigest()
    assert hmac.compare_digest(parts["v1"], expected)
    assert signature(b"j" * 32, body, NOW) != header


@pytest.mark.parametrize(
    ("body", "holds", "message"),
    [
        (b'{"met": true}', True, "the endpoint says yes"),
        (b'{"met": false, "message": "budget is spent"}', False, "the endpoint says no: budget is spent"),
        (b' {"message": "", "met": true} ', True, "the endpoint says yes"),
        (b'{"met": true, "message": "a\\nb\\u001b[1m"}', True, "the endpoint says yes: a b [1m"),
    ],
)
def test_yes_and_no(body: bytes, holds: bool, message: str) -> None:
    found = judge_webhook(200, JSON, body)
    assert (found.holds, found.message) == (holds, message)
    assert found.reason == ("WebhookTrue" if holds else "WebhookFalse")


@pytest.mark.parametrize(
    ("status", "kind", "body", "reason"),
    [
        (301, JSON, b'{"met": true}', "WebhookRedirected"),
        (307, "", b"", "WebhookRedirected"),
        (201, JSON, b'{"met": true}', "WebhookHTTPError"),
        (204, "", b"", "WebhookHTTPError"),
        (500, JSON, b'{"met": true}', "WebhookHTTPError"),
        (200, "text/html", b'{"met": true}', "AnswerInvalid"),
        (200, "", b'{"met": true}', "AnswerInvalid"),
        (200, JSON, b"", "AnswerInvalid"),
        (200, JSON, b"true", "AnswerInvalid"),
        (200, JSON, b"{}", "AnswerInvalid"),
        (200, JSON, b'{"met": 1}', "AnswerInvalid"),
        (200, JSON, b'{"met": "true"}', "AnswerInvalid"),
        (200, JSON, b'{"met": null}', "AnswerInvalid"),
        (200, JSON, b'{"Met": true}', "AnswerInvalid"),
        (200, JSON, b'{"met": true, "message": 5}', "AnswerInvalid"),
        (200, JSON, b'{"met": true, "more": {}}', "AnswerInvalid"),
        (200, JSON, b'{"met": false, "met": true}', "AnswerInvalid"),
        (200, JSON, b'{"met": true}{"met": true}', "AnswerInvalid"),
        (200, JSON, b"[" * 50_000, "AnswerInvalid"),
        (200, JSON, b"\xff", "AnswerInvalid"),
    ],
)
def test_whatever_is_not_exactly_an_answer_is_unknown(status: int, kind: str, body: bytes, reason: str) -> None:
    found = judge_webhook(status, kind, body)
    assert (found.holds, found.reason) == (None, reason)


def test_a_wrong_field_is_named_and_its_value_is_not() -> None:
    found = judge_webhook(200, "application/json; charset=utf-8", b'{"met": "hunter2"}')
    assert "met: " in found.message
    assert "hunter2" not in found.message
    assert "hunter2" not in judge_webhook(200, JSON, b'{"met": true, "hunter2": 1}').message


@given(st.binary(max_size=100))
def test_garbage_never_raises_and_is_never_met(body: bytes) -> None:
    assert judge_webhook(200, JSON, body).holds is None
