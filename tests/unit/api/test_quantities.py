"""Quantities, durations, shares and prices: read exactly, written so that they read back the same."""

from __future__ import annotations

from datetime import timedelta
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from moorage.api.quantities import (
    Share,
    format_duration,
    format_quantity,
    parse_duration,
    parse_price,
    parse_quantity,
    parse_share,
)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        (2, "2"),
        (1.5, "1.5"),
        ("0", "0"),
        ("500m", "0.5"),
        ("250u", "0.00025"),
        ("1n", "0.000000001"),
        ("512Mi", 512 * 2**20),
        ("1.5Gi", 3 * 2**29),
        ("1k", "1000"),
        ("2M", "2000000"),
        ("1E", 10**18),
        ("1Ei", 2**60),
        ("1e3", "1000"),
        ("2E-1", "0.2"),
    ],
)
def test_quantity_is_read_exactly(text: object, value: str | int) -> None:
    assert parse_quantity(text) == Decimal(value)


@pytest.mark.parametrize(
    "text", ["", "-1", -1, True, "1 Gi", "1\n", "1gi", "Gi", "1.", ".5", "1ki", None, [], "9" * 30, "1e99e"]
)
def test_what_is_no_quantity_says_what_to_write(text: object) -> None:
    with pytest.raises(ValueError, match="write a number with or without a unit, such as 2, 500m"):
        parse_quantity(text)


@given(st.decimals(min_value=0, max_value=10**15, places=3))
def test_quantity_reads_back(value: Decimal) -> None:
    assert parse_quantity(format_quantity(value)) == value


@pytest.mark.parametrize(("value", "text"), [(2**30, "1Gi"), (3 * 2**29, "1536Mi"), (1000, "1000"), ("0.5", "500m")])
def test_quantity_is_written_as_people_do(value: int | str, text: str) -> None:
    assert format_quantity(Decimal(value)) == text


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("30s", 30), ("1h30m", 5400), ("250ms", 0.25), ("1.5h", 5400), ("0s", 0), ("90m", 5400), ("10us", 0.00001)],
)
def test_duration_is_read_as_go_does(text: str, seconds: float) -> None:
    assert parse_duration(text) == timedelta(seconds=seconds)


@pytest.mark.parametrize("text", ["", "30", "-1s", "1d", "s", "1 h", 30, None, "1h" * 20, "1234567s"])
def test_what_is_no_duration_says_what_to_write(text: object) -> None:
    with pytest.raises(ValueError, match="write numbers with units ms, s, m or h, such as 30s"):
        parse_duration(text)


@given(st.timedeltas(min_value=timedelta(0), max_value=timedelta(days=300)))
def test_duration_reads_back(value: timedelta) -> None:
    text = format_duration(value)
    if len(text) <= 20:
        assert parse_duration(text) == value


@pytest.mark.parametrize(
    ("value", "total", "down", "up"),
    [(2, 10, 2, 2), ("40%", 3, 1, 2), ("0%", 9, 0, 0), ("100%", 9, 9, 9), (0, 9, 0, 0)],
)
def test_share_of_a_number(value: int | str, total: int, down: int, up: int) -> None:
    share = parse_share(value)
    assert (share.of(total), share.of(total, round_up=True)) == (down, up)
    assert parse_share(int(str(share)) if not share.percent else str(share)) == share


@pytest.mark.parametrize("value", [-1, "2", "101%", "-1%", "1.5%", True, None, 1.5])
def test_what_is_no_share_says_what_to_write(value: object) -> None:
    with pytest.raises(ValueError, match="write a number such as 1"):
        parse_share(value)


def test_price_is_a_decimal_in_quotes() -> None:
    assert parse_price("0.020") == Decimal("0.020")
    for wrong in (0.02, "-1", "1,5", "", None, "1e3"):
        with pytest.raises(ValueError, match="write a decimal number in quotes"):
            parse_price(wrong)


def test_share_is_hashable_and_equal_by_value() -> None:
    assert {Share(1), Share(1), Share(1, percent=True)} == {Share(1), Share(1, percent=True)}
