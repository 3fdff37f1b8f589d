"""Expressions over services: what they see, what they refuse, and that they are bounded before they run."""

from __future__ import annotations

import time
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from moorage.api.hostingservice import Offering
from moorage.core.expressions import (
    FAILED,
    INVALID,
    MAX_LENGTH,
    TOO_EXPENSIVE,
    ExpressionError,
    Services,
    Sizes,
    compile_expression,
    evaluate,
)
from moorage.core.services import ServiceView

SMALL = Offering(name="small", cpu=Decimal(1), memory=Decimal(2**30), price_per_hour=Decimal("0.03"))
LARGE = Offering(name="large", cpu=Decimal("7.5"), memory=Decimal(2**34), arch="arm64", price_per_hour=Decimal("0.40"))
A = ServiceView(
    "a", type="local", region="eu-1", labels={"zone": "x"}, offerings=(SMALL, LARGE), room=3, limit=10, used=7
)
B = ServiceView("b", type="ec2", offerings=(), servers=4, usable=False)
TWO = Services([B, A])


def holds(text: str, services: Services = TWO) -> bool:
    return evaluate(compile_expression(text), services)


def failure(text: str, services: Services = TWO) -> ExpressionError:
    with pytest.raises(ExpressionError) as caught:
        holds(text, services)
    return caught.value


@pytest.mark.parametrize(
    "text",
    [
        "services.exists(s, s.available && s.minPrice < 0.05)",
        "services.exists(s, s.available && s.minPrice < 1)",
        "services.size() == 2 && size(services) == 2",
        "services.exists_one(s, s.available)",
        "services.all(s, !has(s.minPrice) || s.minPrice == 0.03)",
        'services.filter(s, s.available).map(s, s.name) == ["a"]',
        'services.map(s, s.available, s.name) == ["a"]',
        'services.exists(s, "zone" in s.labels && s.labels["zone"] == "x" && s.labels.zone == "x")',
        'services.exists(s, s.region.startsWith("eu-") && s.name.matches("^[a-z]$"))',
        "services.exists(s, s.capacity.available >= 3 && s.capacity.limit == 10 && s.capacity.used == 7)",
        'services.exists(s, s.offerings.exists(o, o.cpu >= 7.5 && o.memory >= 17179869184 && o.arch == "arm64"))',
        "services.exists(s, s.offerings.exists(o, o.price > 0.3))",
        'services.exists(s, s.type == "ec2" && s.servers == 4 && !has(s.capacity.limit))',
        'services[0].name == "a" && services[1].name == "b"',
        "services.map(s, s.servers).exists(n, n > 3)",
        'timestamp("2026-11-22T08:00:00Z") + duration("1h") == timestamp("2026-11-22T09:00:00Z")',
        'timestamp("2026-11-22T08:00:00Z").getHours("Europe/Zurich") == 9',
        'size("é") == 1',
    ],
)
def test_an_expression_sees_the_services(text: str) -> None:
    assert holds(text)


@pytest.mark.parametrize(
    ("text", "part"),
    [
        (
            "services.exists(s, s.vailable)",
            "line 1, column 21: there is no field 'vailable'; the fields are available,",
        ),
        ("services.exists(s,\n  has(s.price))", "line 2, column 6: there is no field 'price'"),
        ("services.exists(s, s.offerings.exists(o, o.gpu))", "there is no field 'gpu'"),
        ("services.exists(s, s.capacity.free > 1)", "the fields are available, limit, used"),
        ("servces.size() > 0", "line 1, column 1: undeclared reference to 'servces'"),
        ("services.exists(s,\n  s.available &&& true)", "line 2, column 17: Syntax error"),
        ('services.size() == "a"', "found no matching overload for '_==_' applied to '(int, string)'"),
        ("services.size()", "the result is of type int, not bool"),
        ("services", "the result is of type list<map<string, dyn>>, not bool"),
        ("now() > 1", "undeclared reference to 'now'"),
        ("", "the expression is empty"),
        (" \n", "the expression is empty"),
        ("true" + " " * MAX_LENGTH, f"at most {MAX_LENGTH} are allowed"),
        ("(" * 400 + "true" + ")" * 400, "recursion limit"),
        ("services.exists(s, )", "line 1, column 20"),
        ('services.exists(s, s.name.matches("("))', "line 1, column 34: the pattern of matches() is not a regular"),
        ("services.exists(s, s.name.matches(s.type))", "the pattern of matches() must be a literal text"),
        ('services.exists(s, s.name.matches("(a{0,900}b){0,900}"))', "the pattern of matches() is not a regular"),
        ('services.exists(s, s.name.matches("' + "a" * 300 + '"))', "has 300 characters; at most 256 are allowed"),
    ],
)
def test_an_expression_that_is_none_is_refused_with_its_place(text: str, part: str) -> None:
    error = failure(text)
    assert error.reason == INVALID
    assert part in error.message
    assert "\n" not in error.message


@pytest.mark.parametrize(
    ("text", "part"),
    [
        (
            "services.exists(s, s.minPrice > 1)",
            "'minPrice' is not known of every service; guard what needs it with has()",
        ),
        ("services[5].available", "index=5"),
        ("1 / (services.size() - 2) > 0", "divide by zero"),
        ("9223372036854775807 + services.size() > 0", "overflow"),
        ("services.exists(s, s.name > 1)", "No matching overload"),
        ("services[0].name", "the result is of type string, not bool"),
        ("services.exists(s, s.name)", ""),
    ],
)
def test_an_expression_without_a_result_says_why(text: str, part: str) -> None:
    error = failure(text)
    assert error.reason == FAILED
    assert part in error.message


def test_what_is_unknown_matters_only_where_it_decides() -> None:
    assert holds("services.exists(s, s.minPrice < 0.05)")
    assert not holds("services.all(s, s.available && s.minPrice < 0.05)")
    assert failure("services.all(s, s.minPrice < 0.05)").reason == FAILED


@pytest.mark.parametrize(
    "text",
    [
        "services.all(a, services.all(b, services.all(c, a.name != b.name || c.available)))",
        "services.all(a, services == services)",
        '["aaaaaaaa"]' + ".map(a, a + a)" * 22 + "[0].size() > 0",
        "[[1]]" + ".map(a, a + a)" * 22 + "[0].size() > 0",
        "[services]" + ".map(a, a + a)" * 12 + ".all(a, a.size() > 0)",
        '[{"a": services}]' + ".map(m, {'a': m.a + m.a})" * 12 + "[0].a.size() > 0",
        "services.all(a, (" + "+".join(["services"] * 25) + ").size() > 0)",
        "services.all(a, dyn(services) == dyn(services))",
        'services.all(a, a.name.matches("(a{0,900}b)"))',
        "services.all(a, services.map(b, b.offerings).map(o, o.size()).all(n, n >= 0))",
    ],
)
def test_an_expression_that_may_take_too_long_is_not_evaluated(text: str) -> None:
    many = Services([ServiceView(f"s{i}", offerings=(SMALL, LARGE)) for i in range(300)])
    error = failure(text, many)
    assert error.reason == TOO_EXPENSIVE
    assert "over 300 services" in error.message


def test_ordinary_expressions_are_far_from_the_bounds_at_five_hundred_services() -> None:
    many = Services([ServiceView(f"s{i}", offerings=(SMALL,) * 10) for i in range(500)])
    assert holds("services.exists(s, s.available && s.minPrice < 0.05 && s.offerings.exists(o, o.cpu >= 1))", many)


def test_the_bound_grows_with_the_services() -> None:
    expression = compile_expression("services.all(s, services.all(t, s.name != t.name))")
    small, large = (expression.cost(Sizes(n, 10, 5)) for n in (10, 100))
    assert large.steps > 50 * small.steps
    assert large.loops == 100 * 101


def test_over_no_services_exists_is_false_and_all_is_true() -> None:
    none = Services([])
    assert not holds("services.exists(s, s.available)", none)
    assert holds("services.all(s, s.available)", none)


_WORDS = """services . s exists( all( map( ) , available minPrice 0 1.5 "x" == && ! [ ] { } : ? + - labels has( in true
' é \x00 matches( dyn( offerings"""
_PARTS = st.sampled_from([*_WORDS.split(), " ", "\n"])


@given(st.lists(_PARTS, max_size=24).map("".join) | st.text(max_size=60))
def test_any_text_is_a_value_or_a_typed_error(text: str) -> None:
    try:
        outcome = str(holds(text))
    except ExpressionError as error:
        outcome = error.reason
    assert outcome in {"True", "False", INVALID, FAILED, TOO_EXPENSIVE}


def test_nested_loops_are_bounded_without_walking_them_again_and_again() -> None:
    nested = "services.map(s, " * 14 + "services" + ")" * 14 + " == []"
    began = time.process_time()
    assert compile_expression(nested).cost(Sizes(2, 1, 1)).loops > 2**14
    assert time.process_time() - began < 2, "the bound itself must not cost what it is there to refuse"
