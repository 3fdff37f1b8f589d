"""What the answer of a Prometheus means: one number, or a reason why nothing is known."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from moorage.api.probes import MetricQuery
from moorage.core.policy.answers import SAID, readable
from moorage.core.policy.metric import judge_metric, query_form, query_url


def metric(comparison: str = "GreaterThan", threshold: int | str = 10, **more: Any) -> MetricQuery:
    return MetricQuery.from_dict(
        {"url": "http://p:9090/prom/", "query": "up", "comparison": comparison, "threshold": threshold, **more}
    )


def answer(kind: str, result: Any) -> bytes:
    return json.dumps({"status": "success", "data": {"resultType": kind, "result": result}}).encode()


def vector(*values: str) -> bytes:
    return answer("vector", [{"metric": {"i": str(i)}, "value": [1.5, v]} for i, v in enumerate(values)])


@pytest.mark.parametrize(
    ("comparison", "below", "equal", "above"),
    [
        ("GreaterThan", False, False, True),
        ("GreaterThanOrEqual", False, True, True),
        ("LessThan", True, False, False),
        ("LessThanOrEqual", True, True, False),
        ("Equal", False, True, False),
        ("NotEqual", True, False, True),
    ],
)
def test_comparisons(comparison: str, below: bool, equal: bool, above: bool) -> None:
    asked = metric(comparison, "0.1")
    found = [judge_metric(asked, 200, vector(v)).holds for v in ("0.09999", "0.1", "0.10001")]
    assert found == [below, equal, above]
    assert judge_metric(asked, 200, vector("+Inf")).holds is (
        comparison in {"GreaterThan", "GreaterThanOrEqual", "NotEqual"}
    )


def test_the_message_says_what_was_compared() -> None:
    found = judge_metric(metric(), 200, vector("12.5"))
    assert (found.holds, found.reason, found.value) == (True, "ComparisonTrue", 12.5)
    assert found.message == "the result, 12.5, is greater than 10"
    found = judge_metric(metric(threshold="1.5e3"), 200, answer("scalar", [1.5, "3"]))
    assert (found.holds, found.reason) == (False, "ComparisonFalse")
    assert found.message == "the result, 3, is not greater than 1.5E+3"


@pytest.mark.parametrize(
    ("status", "body", "reason"),
    [
        (200, vector(), "MetricNoData"),
        (200, vector("NaN"), "MetricNaN"),
        (200, vector("1", "2"), "MetricSeveralSeries"),
        (200, vector(*["1"] * 500), "MetricSeveralSeries"),
        (200, answer("string", [1.5, "twelve"]), "MetricNotANumber"),
        (200, answer("matrix", [{"metric": {}, "values": [[1, "2"]]}]), "MetricNotANumber"),
        (200, answer("vector", [{"metric": {}, "histogram": [1.5, {"count": "3"}]}]), "MetricNotANumber"),
        (200, vector("twelve"), "AnswerInvalid"),
        (200, vector("9" * 100), "AnswerInvalid"),
        (200, answer("vector", [{"metric": {}, "value": [1.5, 12]}]), "AnswerInvalid"),
        (200, answer("vector", {"0": 1}), "AnswerInvalid"),
        (200, answer("tensor", []), "AnswerInvalid"),
        (200, b"", "AnswerInvalid"),
        (200, b"<html>hello</html>", "AnswerInvalid"),
        (200, b"\xff\xfe", "AnswerInvalid"),
        (200, b"[" * 100_000, "AnswerInvalid"),
        (200, b"[]", "AnswerInvalid"),
        (200, b'{"status":"success","data":[]}', "AnswerInvalid"),
        (200, b'{"status":"error","error":"x"}', "AnswerInvalid"),
        (204, b"", "MetricHTTPError"),
        (302, b"", "MetricRedirected"),
        (401, b"", "MetricUnauthorized"),
        (403, b"", "MetricUnauthorized"),
        (400, b'{"status":"error","error":"parse error"}', "MetricQueryRefused"),
        (422, b'{"status":"error","error":"many-to-many"}', "MetricQueryRefused"),
        (404, b"nothing here", "MetricHTTPError"),
        (500, b'{"status":"error","error":"boom"}', "MetricHTTPError"),
        (503, vector("100"), "MetricHTTPError"),
    ],
)
def test_whatever_is_not_one_number_is_unknown_with_its_reason(status: int, body: bytes, reason: str) -> None:
    found = judge_metric(metric(), status, body)
    assert (found.holds, found.reason, found.value) == (None, reason, None)
    assert found.message


def test_what_a_prometheus_says_of_a_query_is_repeated_and_nobody_elses_page() -> None:
    refused = judge_metric(metric(), 400, b'{"status":"error","error":"1:3: parse error: \\u001b[31munexpected"}')
    assert refused.message == "it refuses the query (status 400): 1:3: parse error: [31munexpected"
    assert "secret" not in judge_metric(metric(), 500, b'{"secret": "secret page"}').message
    assert "secret" not in judge_metric(metric(), 404, b"secret page").message


@given(
    st.binary(max_size=200)
    | st.recursive(st.none() | st.text(max_size=5) | st.integers(), st.lists).map(lambda v: answer("vector", v)),
    st.integers(100, 599),
)
def test_garbage_never_raises_and_is_never_met(body: bytes, status: int) -> None:
    assert judge_metric(metric(), status, body).holds is None


def test_the_request() -> None:
    assert query_url(metric()) == "http://p:9090/prom/api/v1/query"
    assert query_form(metric(timeout="1500ms")) == {"query": "up", "timeout": "1.5s"}


def test_what_outsiders_say_is_one_bounded_line() -> None:
    assert readable("a\n\tb\x1b[2J c") == "a b [2J c"
    assert len(readable("x" * 10_000)) == SAID + 1
