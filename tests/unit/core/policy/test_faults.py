"""When a policy can only be mended by an edit."""

from __future__ import annotations

from datetime import UTC, datetime
from itertools import product
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from moorage.api.hostingpolicy import MAX_CONDITIONS, HostingPolicySpec, HostingPolicyStatus, Reading, Verdict, When
from moorage.core import expressions
from moorage.core.policy import PolicyResult, decide, evaluate_policy, never_met, overlong, why_never_met
from moorage.core.policy.verdict import tree
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


_VALUES: tuple[Verdict, ...] = ("Met", "Unmet", "Unknown")


@st.composite
def _trees(draw: st.DrawFn) -> dict[str, Any]:
    """The dict of a `when` whose conditions are a, b, c... in the order in which they are written."""
    names = iter("abcdef")
    schedule = {"from": "2026-01-01T00:00:00Z"}

    def part(depth: int) -> dict[str, Any] | None:
        name = next(names, None)
        if name is None:
            return None
        leaf = {"name": name, "schedule": schedule}
        form = draw(st.sampled_from(["leaf", "not", "all", "any"][: 2 + 2 * depth]))
        if form in ("leaf", "not"):
            return leaf if form == "leaf" else {"not": leaf}
        more = [p for p in (part(0) for _ in range(draw(st.integers(0, 2)))) if p is not None]
        return {form: [leaf, *more]}

    sides = {
        side: [p for p in (part(1) for _ in range(draw(st.integers(0, 3)))) if p is not None] for side in ("all", "any")
    }
    return sides if sides["all"] or sides["any"] else {"all": [{"name": "a", "schedule": schedule}]}


@given(_trees(), st.sets(st.sampled_from("abcdef")))
def test_never_met_is_exactly_that_no_values_of_the_others_meet_it(written: dict[str, Any], bad: set[str]) -> None:
    policy = When.from_dict(written)
    names = [c.name for c in policy.conditions]
    readings = [reading(n) for n in names if n in bad]
    good = [n for n in names if n not in bad]
    reachable = any(
        decide(
            tree(policy),
            {r.name: r for r in readings}
            | {n: Reading(name=n, value=v, since=NOW) for n, v in zip(good, values, strict=True)},
        ).verdict
        == "Met"
        for values in product(_VALUES, repeat=len(good))
    )
    assert never_met(policy, readings) is (bool(readings) and not reachable)


def test_what_is_negated_and_wrong_rules_out_just_as_much() -> None:
    schedule = {"from": "2026-01-01T00:00:00Z"}
    policy = When.from_dict({"all": [{"not": {"name": "bad", "schedule": schedule}}]})
    assert never_met(policy, [reading("bad")])


def many(count: int) -> When:
    schedule = {"from": "2026-01-01T00:00:00Z"}
    parts = [{"name": f"c{number}", "schedule": schedule} for number in range(count)]
    return When.from_dict({"any": [{"any": parts[i : i + 8]} for i in range(0, count, 8)]})


def evaluated(when: When) -> PolicyResult:
    return evaluate_policy(HostingPolicySpec(when=when), (), HostingPolicyStatus(), NOW, {})


def test_more_conditions_than_a_status_takes_are_none() -> None:
    assert evaluated(many(MAX_CONDITIONS)).verdict == "Met"
    found = evaluated(many(MAX_CONDITIONS + 1))
    assert (len(found.readings), found.verdict) == (MAX_CONDITIONS, "Unknown")
    assert {r.reason for r in found.readings} == {"TooManyConditions"}
    assert "write at most 32" in found.readings[0].message
    assert never_met(many(MAX_CONDITIONS + 1), found.readings)


def test_two_conditions_of_one_name_in_different_places_are_unknown_and_the_rest_counts() -> None:
    schedule = {"from": "2026-01-01T00:00:00Z"}
    one, other = {"name": "a", "schedule": schedule}, {"name": "b", "schedule": schedule}
    found = evaluated(When.from_dict({"any": [{"all": [one]}, {"not": one}, other]}))
    assert [(r.name, r.value, r.reason) for r in found.readings] == [
        ("a", "Unknown", "DuplicateName"),
        ("b", "Met", "InSchedule"),
    ]
    assert (found.verdict, [r.name for r in found.invalid]) == ("Met", ["a"])


def test_expressions_that_are_too_long_together_are_not_even_compiled(monkeypatch: pytest.MonkeyPatch) -> None:
    text = "true || " * 500 + "true"
    conditions: list[dict[str, Any]] = [{"name": f"c{n}", "service": {"expression": text}} for n in range(4)]
    always = {"name": "always", "schedule": {"from": "2026-01-01T00:00:00Z"}}
    assert evaluated(When.from_dict({"all": [*conditions, always]})).verdict == "Met"
    pod = {"apiVersion": "v1", "kind": "Pod", "expression": text + " || true || true || true"}
    compiled: list[str] = []
    monkeypatch.setattr(expressions, "compile_expression", compiled.append)
    found = evaluated(When.from_dict({"any": [*conditions, {**conditions[0], "name": "c4"}, always]}))
    assert [(r.value, r.reason) for r in found.readings] == [("Unknown", "ExpressionsTooLong")] * 5 + [
        ("Met", "InSchedule")
    ]
    assert "16,384 characters; shorten them" in found.invalid[0].message
    assert not compiled
    read = overlong(When.from_dict({"all": [{"name": "pods", "resource": pod}, *conditions, always]}))
    assert read == {"pods", "c0", "c1", "c2", "c3"}


def test_readings_that_are_not_there_rule_out_nothing() -> None:
    assert not never_met(when(all="bad"), ())


def test_every_wrong_condition_is_named_within_bounds() -> None:
    assert why_never_met([reading("a"), reading("ok", "OutOfSchedule"), reading("b")]) == (
        "condition a: why a; condition b: why b"
    )
    many = why_never_met([reading(f"c{number}") for number in range(NAMED + 2)])
    assert many.endswith("condition c4: why c4 (and 2 more)")
