"""When a policy can only be mended by an edit."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest

from moorage.api.hostingpolicy import Reading, When
from moorage.core.policy import never_met, why_never_met
from moorage.core.problems import NAMED

NOW = datetime(2026, 1, 1, tzinfo=UTC)


def reading(name: str, reason: str = "InvalidSchedule") -> Reading:
    return Reading(name=name, value="Unknown", reason=reason, message=f"why {name}", since=NOW)


def when(**names: str) -> When:
    """Conditions whose names begin with what is wrong with them: `bad`, or nothing."""
    schedule: dict[str, Any] = {"from": "2026-01-01T00:00:00Z"}
    return When.from_dict({k: [{"name": n, "schedule": schedule} for n in v.split()] for k, v in names.items()})


@pytest.mark.parametrize(
    ("conditions", "never"),
    [
        ({"all": "good"}, False),
        ({"all": "good bad"}, True),
        ({"any": "good bad"}, False),
        ({"any": "bad bad2"}, True),
        ({"all": "good", "any": "good2 bad"}, False),
        ({"all": "good", "any": "bad"}, True),
        ({"all": "bad", "any": "good"}, True),
        ({"all": "unread bad"}, True),
    ],
)
def test_what_is_wrong_rules_out_that_the_policy_is_ever_met(conditions: dict[str, str], never: bool) -> None:
    names = " ".join(conditions.values()).split()
    readings = [
        reading(name, "InvalidSchedule" if name.startswith("bad") else "OutOfSchedule")
        for name in names
        if name != "unread"
    ]
    assert never_met(when(**conditions), readings) is never


def test_readings_that_are_not_there_rule_out_nothing() -> None:
    assert not never_met(when(all="bad"), ())


def test_every_wrong_condition_is_named_within_bounds() -> None:
    assert why_never_met([reading("a"), reading("ok", "OutOfSchedule"), reading("b")]) == (
        "condition a: why a; condition b: why b"
    )
    many = why_never_met([reading(f"c{number}") for number in range(NAMED + 2)])
    assert many.endswith("condition c4: why c4 (and 2 more)")
