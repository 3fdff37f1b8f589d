"""A policy that bounds the age of data decides by none that is older, in its conditions as in its choice."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from moorage.api.hostingpolicy import HostingPolicySpec, HostingPolicyStatus
from moorage.api.hostingservice import DataSource, Offering
from moorage.core.policy import PolicyResult, evaluate_policy
from moorage.core.services import ServiceView

NOW = datetime(2026, 11, 20, 12, 0, tzinfo=UTC)
HOUR = timedelta(hours=1)
CHEAP = "services.exists(s, has(s.minPrice) && s.minPrice < 0.1)"
OFFERING = Offering.from_dict({"name": "m", "cpu": 1, "memory": "1Gi", "pricePerHour": "0.05"})


def dated(name: str, hours: int | None, **fields: Any) -> ServiceView:
    at = None if hours is None else NOW - hours * HOUR
    return ServiceView(name, offerings=(OFFERING,), sources=(DataSource(name="Service", at=at, offerings=1),), **fields)


def evaluate(*services: ServiceView, expression: str = CHEAP, age: str | None = "2h", **more: Any) -> PolicyResult:
    select = {} if age is None else {"maxDataAge": age}
    spec = HostingPolicySpec.from_dict(
        {"when": {"all": [{"name": "c", "service": {"expression": expression}}]}, "select": select}
    )
    return evaluate_policy(spec, services, HostingPolicyStatus(), more.get("now", NOW), {})


@pytest.mark.parametrize(
    ("services", "message"),
    [
        ([dated("a", 3), dated("b", 1)], "the offerings of a are of 2026-11-20T09:00:00Z; they may be at most 2h old"),
        ([dated("a", None)], "of when the offerings of a are is not known; they may be at most 2h old"),
    ],
)
def test_a_condition_on_prices_is_unknown_while_they_are_too_old(services: list[ServiceView], message: str) -> None:
    (reading,) = evaluate(*services).readings
    assert (reading.value, reading.reason) == ("Unknown", "DataTooOld")
    assert reading.message.startswith(message)


def test_without_a_bound_and_within_it_the_condition_decides() -> None:
    assert evaluate(dated("a", 300), age=None).verdict == "Met"
    assert evaluate(dated("a", 2)).verdict == "Met"


def test_a_condition_on_something_else_does_not_ask_how_old_prices_are() -> None:
    assert evaluate(dated("a", 3), expression="services.exists(s, s.available)").verdict == "Met"


def test_old_prices_of_a_service_that_takes_no_servers_are_left_out_and_hold_nothing_up() -> None:
    away = dated("away", 300, usable=False)
    assert evaluate(away, dated("b", 1)).verdict == "Met"
    assert evaluate(away, replace(dated("b", 1), offerings=())).verdict == "Unmet"


def test_a_service_stays_to_be_seen_though_its_prices_are_left_out() -> None:
    away = dated("away", 300, usable=False)
    failover = f"services.exists(s, s.name == 'away' && !s.available) && {CHEAP}"
    assert evaluate(away, dated("b", 1), expression=failover).verdict == "Met"


def test_what_is_left_out_is_named_where_an_expression_cannot_do_without() -> None:
    away, unguarded = dated("away", 300, usable=False), "services.exists(s, s.minPrice < 0.01)"
    (reading,) = evaluate(away, dated("b", 1), expression=unguarded).readings
    assert (reading.value, reading.reason) == ("Unknown", "ExpressionFailed")
    assert "has(s.minPrice)" in reading.message
    assert "the offerings of away are left out, for what is decided by may be at most 2h old" in reading.message
    (other,) = evaluate(away, expression="services.exists(s, s.bootSeconds < 9.0)").readings
    assert (other.reason, "left out" in other.message) == ("ExpressionFailed", False)


def test_it_is_looked_at_again_when_data_becomes_too_old_and_status_does_not_tell_when() -> None:
    result = evaluate(dated("a", 1), dated("b", 2))
    assert result.look_again == NOW + timedelta(seconds=1)
    assert result.next_check is None
    assert evaluate(dated("a", 1), dated("b", 2), now=NOW + timedelta(seconds=1)).verdict == "Unknown"
