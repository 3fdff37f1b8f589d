"""Series as they are written: YAML, CSV, Prometheus; and what is said of those that are wrong."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from moorage.cli.errors import CliError, Exit
from moorage.cli.simulate.series import Column, Point, merged, read_series

T0, T1 = datetime(2026, 3, 1, tzinfo=UTC), datetime(2026, 3, 1, 1, tzinfo=UTC)


def write(folder: Path, name: str, text: str) -> str:
    file = folder / name
    file.write_text(text)
    return str(file)


def test_yaml_and_csv_say_the_same(tmp_path: Path) -> None:
    table = "time,price.a.small,available.a,capacity.a,condition.work\n"
    table += "2026-03-01T00:00:00Z,0.05,true,none,unknown\n\n2026-03-01T02:00:00+01:00,,,5,yes\n"
    points = read_series(write(tmp_path, "s.csv", table))
    small = Column("price", "a", "small")
    room, there, work = Column("capacity", "a"), Column("available", "a"), Column("condition", "work")
    assert points == [
        Point(T0, {small: Decimal("0.05"), there: True, room: None, work: None}),
        Point(T1, {room: 5, work: True}),
    ]
    text = """
points:
- {at: 2026-03-01T00:00:00Z, price.a.small: 0.05, available.a: true, capacity.a: null, condition.work: unknown}
- {at: 1772326800, capacity.a: 5, condition.work: true}
"""
    assert read_series(write(tmp_path, "s.yaml", text)) == points


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("time,price.a.small\nyesterday,1\n", "row 2: 'yesterday' is not a time"),
        ("time,price.a.small\n2026-03-01T00:00:00,1\n", "row 2: the time 2026-03-01T00:00:00 has no zone"),
        ("time,price.a.small\n2026-03-01T00:00:00Z,cheap\n", "price.a.small is 'cheap'"),
        ("time,price.a.small\n2026-03-01T00:00:00Z,-1\n", "price.a.small is '-1'"),
        ("time,price.a.small\n2026-03-01T00:00:00Z,inf\n", "price.a.small is 'inf'"),
        ("time,capacity.a\n2026-03-01T00:00:00Z,1.5\n", "capacity.a is '1.5'"),
        ("time,available.a\n2026-03-01T00:00:00Z,unknown\n", "available.a is 'unknown'"),
        ("time,condition.a\n2026-03-01T00:00:00Z,maybe\n", "condition.a is 'maybe'"),
        ("time,prise.a.small\n", "header: 'prise.a.small' is no column"),
        ("time,price.a\n", "header: 'price.a' is no column"),
        ("time,capacity.a,capacity.a\n", "it has a column twice"),
        ("price.a.small,time\n", "its first column is not `time`"),
        ("", "its first column is not `time`"),
        ("time,capacity.a\n2026-03-01T00:00:00Z\n", "row 2: it has 1 cells, the header 2"),
        ('time,capacity.a\n2026-03-01T00:00:00Z,"1\n', "it is not CSV"),
        ("time,capacity.a\n2026-03-01T00:00:00Z,1\n2026-03-01T00:00:00Z,2\n", "row 3: its time"),
    ],
)
def test_a_wrong_table_is_said_with_its_place(tmp_path: Path, text: str, said: str) -> None:
    with pytest.raises(CliError) as raised:
        read_series(write(tmp_path, "s.csv", text))
    assert said in raised.value.message
    assert raised.value.code is Exit.USAGE


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("points: 3", "it is no series"),
        ("- 3", "it is no series"),
        ("points: [{capacity.a: 3}]", "point 1: it has no time"),
        ("points: [{at: 2026-03-01}]", "point 1: 2026-03-01 is not a time"),
        ("points: [{at: 2026-03-01T00:00:00}]", "has no zone"),
        ("points: [{at: 1.0e+30}]", "is not a time"),
        ("points: [", "is not YAML"),
    ],
)
def test_a_wrong_document_is_said_with_its_place(tmp_path: Path, text: str, said: str) -> None:
    with pytest.raises(CliError, match=said):
        read_series(write(tmp_path, "s.yaml", text))


def answer(*values: tuple[float, str], kind: str = "matrix", more: int = 0) -> str:
    series: list[Any] = [{"metric": {}, "values": [list(v) for v in values]}] * (1 + more)
    return json.dumps({"status": "success", "data": {"resultType": kind, "result": series}})


def test_an_answer_of_prometheus_is_compared_and_its_gaps_are_unknown(tmp_path: Path) -> None:
    base = T0.timestamp()
    values = [(0, "1"), (60, "7"), (120, "8"), (180, "NaN"), (240, "9"), (600, "9"), (660, "1")]
    file = write(tmp_path, "a.json", answer(*((base + s, v) for s, v in values)))
    points = read_series(f"queue>5={file}")
    told = [((p.at - T0).total_seconds(), p.values[Column("condition", "queue")]) for p in points]
    assert told == [
        (0, False),
        (60, True),
        (180, None),
        (240, True),
        (300, None),
        (600, True),
        (660, False),
    ]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (answer((0, "1"), more=1), "it has 2 series"),
        (answer((0, "1"), kind="vector"), "its result is a vector"),
        (answer((0, "text")), "is not an answer of /api/v1/query_range"),
        ("[]", "is not an answer of /api/v1/query_range"),
        ("{", "is not an answer of /api/v1/query_range"),
    ],
)
def test_another_answer_is_said(tmp_path: Path, text: str, said: str) -> None:
    file = write(tmp_path, "a.json", text)
    with pytest.raises(CliError, match=said):
        read_series(f"queue<=5={file}")


def test_a_limit_that_is_no_number_is_said(tmp_path: Path) -> None:
    with pytest.raises(CliError, match="'five' is not a number"):
        read_series("queue>five=x.json")


def test_series_are_merged_by_time_and_tell_each_column_once() -> None:
    room, work = Column("capacity", "a"), Column("condition", "w")
    one, two = [Point(T0, {room: 1}), Point(T1, {room: 2})], [Point(T1, {work: True})]
    assert merged([one, two]) == [Point(T0, {room: 1}), Point(T1, {room: 2, work: True})]
    with pytest.raises(CliError, match=r"two series have the column capacity\.a"):
        merged([one, one])
