"""The condition `metric`: what the answer of a Prometheus means."""

from __future__ import annotations

import json
from collections.abc import Mapping
from decimal import Decimal, InvalidOperation
from typing import Any, Final

from moorage.api.probes import Comparison, MetricQuery
from moorage.core.policy.answers import Answer, readable, unknown

MAX_NUMBER: Final = 64
_WORDS: Mapping[Comparison, tuple[str, str]] = {
    "GreaterThan": ("is greater than", "is not greater than"),
    "GreaterThanOrEqual": ("is at least", "is less than"),
    "LessThan": ("is less than", "is not less than"),
    "LessThanOrEqual": ("is at most", "is more than"),
    "Equal": ("is", "is not"),
    "NotEqual": ("is not", "is"),
}


def query_url(metric: MetricQuery) -> str:
    """Where the query is posted to."""
    return f"{metric.url.rstrip('/')}/api/v1/query"


def query_form(metric: MetricQuery) -> dict[str, str]:
    """What is posted. The server is told the timeout, so that it does not go on working for nobody."""
    return {"query": metric.query, "timeout": f"{metric.timeout.total_seconds():g}s"}


def judge_metric(metric: MetricQuery, status: int, body: bytes) -> Answer:
    """What an answer of the query API says. Never raises; whatever is not one number is unknown."""
    document = _document(body)
    if status != 200:
        return _refused(status, document)
    if document is None or document.get("status") != "success":
        return unknown("AnswerInvalid", "the answer is not the JSON of a Prometheus's query")
    data = document.get("data")
    kind, result = (data.get("resultType"), data.get("result")) if isinstance(data, dict) else (None, None)
    match kind, result:
        case "scalar", [_, value]:
            return _compared(metric, value)
        case "vector", []:
            return unknown("MetricNoData", "the query has no result; there is no such series now")
        case "vector", [{"value": [_, value]}]:
            return _compared(metric, value)
        case "vector", [{"histogram": _}]:
            return unknown(
                "MetricNotANumber", "the result is a histogram; take a number of it, say histogram_quantile()"
            )
        case "vector", [_, _, *_]:
            message = f"the query has {len(result)} series as its result; make them one, say with sum() or max()"
            return unknown("MetricSeveralSeries", message)
        case "string", _:
            return unknown("MetricNotANumber", "the result is a text; write a query whose result is one number")
        case "matrix", _:
            return unknown("MetricNotANumber", "the result is a range; write a query whose result is one number")
        case _:
            return unknown("AnswerInvalid", "the answer is not the JSON of a Prometheus's query")


def _document(body: bytes) -> dict[str, Any] | None:
    try:
        document = json.loads(body)
    except (ValueError, RecursionError):
        return None
    return document if isinstance(document, dict) else None


def _refused(status: int, document: dict[str, Any] | None) -> Answer:
    """A Prometheus says in JSON what is wrong with a query; of anybody else's answer nothing is repeated."""
    if 300 <= status < 400:
        return unknown("MetricRedirected", f"it answers with a redirect (status {status}); write the URL it leads to")
    if status in (401, 403):
        return unknown("MetricUnauthorized", f"it refuses the credentials (status {status}); see credentialsSecretRef")
    error = document.get("error") if document is not None and document.get("status") == "error" else None
    said = f": {readable(error)}" if isinstance(error, str) and error else ""
    if status in (400, 422):
        return unknown("MetricQueryRefused", f"it refuses the query (status {status}){said}")
    return unknown("MetricHTTPError", f"it answers with status {status}{said}")


def _compared(metric: MetricQuery, value: object) -> Answer:
    number = _number(value)
    if number is None:
        return unknown("AnswerInvalid", "the answer is not the JSON of a Prometheus's query")
    if number.is_nan():
        return unknown("MetricNaN", "the result is not a number (NaN), as of 0/0")
    holds = _holds(metric.comparison, number, metric.threshold)
    words = _WORDS[metric.comparison][0 if holds else 1]
    message = f"the result, {_short(number)}, {words} {metric.threshold}"
    return Answer(holds, "ComparisonTrue" if holds else "ComparisonFalse", message, float(number))


def _number(value: object) -> Decimal | None:
    if not isinstance(value, str) or len(value) > MAX_NUMBER:
        return None
    try:
        return Decimal(value)
    except InvalidOperation:
        return None


def _short(number: Decimal) -> str:
    return f"{float(number):.6g}"


def _holds(comparison: Comparison, number: Decimal, threshold: Decimal) -> bool:
    match comparison:
        case "GreaterThan":
            return number > threshold
        case "GreaterThanOrEqual":
            return number >= threshold
        case "LessThan":
            return number < threshold
        case "LessThanOrEqual":
            return number <= threshold
        case "Equal":
            return number == threshold
        case "NotEqual":
            return number != threshold
