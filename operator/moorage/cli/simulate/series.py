"""Reads series: points in time with the columns that change there, from YAML, CSV, or an answer of Prometheus."""

from __future__ import annotations

import csv
import io
import json
import math
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal, InvalidOperation
from itertools import pairwise
from statistics import median
from typing import Any, Final

from moorage.cli.errors import CliError, Exit
from moorage.cli.manifests import parse_yaml, read_text

COLUMN_FORMS: Final = (
    "price.SERVICE.OFFERING, spotPrice.SERVICE.OFFERING, available.SERVICE, capacity.SERVICE and condition.NAME"
)
_PRICE = re.compile(r"(?P<kind>price|spotPrice)\.(?P<service>[^\s]+)\.(?P<offering>[^\s.]+)")
_NAME = re.compile(r"[A-Za-z0-9]([-A-Za-z0-9_.]*[A-Za-z0-9])?")
_BOOLEANS: Final = {"true": True, "yes": True, "1": True, "false": False, "no": False, "0": False}
_NOTHING: Final = frozenset({"unknown", "none", "null", "nan", "~"})
_GAP: Final = 2.5
"""By how much the distance of two samples of Prometheus may exceed the usual one before what is between is unknown."""
_COMPARISONS: Final[Mapping[str, Callable[[float, float], bool]]] = {
    "<": lambda a, b: a < b,
    "<=": lambda a, b: a <= b,
    ">": lambda a, b: a > b,
    ">=": lambda a, b: a >= b,
    "==": lambda a, b: a == b,
    "!=": lambda a, b: a != b,
}

Value = Decimal | int | bool | None


@dataclass(frozen=True, slots=True)
class Column:
    """What a column is about. ``kind`` is price, spotPrice, available, capacity or condition; ``name`` is a service, or
    a condition; ``offering`` goes with a price."""

    kind: str
    name: str
    offering: str = ""

    def __str__(self) -> str:
        return ".".join(part for part in (self.kind, self.name, self.offering) if part)


@dataclass(frozen=True, slots=True)
class Point:
    """The columns that change at a moment. A value holds until the column's next one; None: unknown, or no bound."""

    at: datetime
    values: Mapping[Column, Value]


def read_series(source: str) -> list[Point]:
    """The points of a file, or of `CONDITION>NUMBER=FILE` for an answer of Prometheus. Raises CliError."""
    bound = re.fullmatch(r"(?P<name>[^\s<>=!]+)(?P<how><=|>=|==|!=|<|>)(?P<limit>[^\s=]+)=(?P<file>.+)", source)
    if bound:
        return list(_prometheus(bound["file"], bound["name"], bound["how"], _limit(source, bound["limit"])))
    text = read_text(source)
    if source.lower().endswith(".csv"):
        return list(_csv(source, text))
    return list(_yaml(source, text))


def merged(series: Iterable[Iterable[Point]]) -> list[Point]:
    """All points in the order of time, those of one moment together. Raises CliError where two series tell a column."""
    values: dict[datetime, dict[Column, Value]] = {}
    teller: dict[Column, int] = {}
    for number, points in enumerate(series):
        for point in points:
            for column, value in point.values.items():
                if teller.setdefault(column, number) != number:
                    raise CliError(f"two series have the column {column}", Exit.USAGE, hint="leave it out of one")
                values.setdefault(point.at, {})[column] = value
    return [Point(at, values[at]) for at in sorted(values)]


def parse_time(text: Any, where: str) -> datetime:
    """An instant with its zone, or seconds since 1970. Raises CliError."""
    if isinstance(text, datetime):
        found = text
    elif isinstance(text, bool | date) or text is None:
        raise _wrong(where, f"{text} is not a time", "write one such as 2026-11-20T18:00:00Z")
    else:
        found = _moment(str(text).strip(), where)
    if found.tzinfo is None:
        raise _wrong(
            where, f"the time {text} has no zone", "write it with Z or an offset, such as 2026-11-20T18:00:00Z"
        )
    return found.astimezone(UTC)


def _moment(text: str, where: str) -> datetime:
    try:
        if re.fullmatch(r"\d{9,11}(\.\d+)?", text):
            return datetime.fromtimestamp(float(text), UTC)
        return datetime.fromisoformat(text)
    except (ValueError, OverflowError, OSError):
        hint = "write one such as 2026-11-20T18:00:00Z, or seconds since 1970"
        raise _wrong(where, f"{text!r} is not a time", hint) from None


def _wrong(where: str, problem: str, hint: str = "") -> CliError:
    return CliError(f"{where}: {problem}", Exit.USAGE, hint=hint)


# YAML and CSV


def _yaml(source: str, text: str) -> Iterator[Point]:
    documents = parse_yaml(source, text)
    whole = documents[0] if len(documents) == 1 else None
    points = whole.get("points") if isinstance(whole, dict) else None
    if not isinstance(points, list):
        raise _wrong(source, "it is no series", "write points: with a list of {at: TIME, COLUMN: VALUE, ...}")
    before: datetime | None = None
    for number, entry in enumerate(points, 1):
        where = f"{source}, point {number}"
        if not isinstance(entry, dict) or "at" not in entry:
            raise _wrong(where, "it has no time", "write at: 2026-11-20T18:00:00Z")
        at = parse_time(entry["at"], where)
        before = _later(where, before, at)
        cells = {str(key): value for key, value in entry.items() if key != "at"}
        yield Point(at, {(c := _column(where, key)): _value(where, c, value) for key, value in cells.items()})


def _csv(source: str, text: str) -> Iterator[Point]:
    try:
        rows = list(csv.reader(io.StringIO(text), strict=True, skipinitialspace=True))
    except csv.Error as error:
        raise _wrong(source, f"it is not CSV: {error}") from None
    rows = [row for row in rows if any(cell.strip() for cell in row)]
    if not rows or rows[0][0].strip().lower() not in {"time", "at"}:
        raise _wrong(source, "its first column is not `time`", f"write the header time,COLUMN,...: {COLUMN_FORMS}")
    columns = [_column(f"{source}, header", cell.strip()) for cell in rows[0][1:]]
    if len(set(columns)) < len(columns):
        raise _wrong(source, "it has a column twice")
    before: datetime | None = None
    for number, row in enumerate(rows[1:], 2):
        where = f"{source}, row {number}"
        if len(row) != len(columns) + 1:
            raise _wrong(where, f"it has {len(row)} cells, the header {len(columns) + 1}")
        at = parse_time(row[0], where)
        before = _later(where, before, at)
        cells = zip(columns, (cell.strip() for cell in row[1:]), strict=True)
        yield Point(at, {column: _value(where, column, cell) for column, cell in cells if cell})


def _later(where: str, before: datetime | None, at: datetime) -> datetime:
    if before is not None and at <= before:
        raise _wrong(where, f"its time {at:%Y-%m-%dT%H:%M:%SZ} is not later than that before it")
    return at


def _column(where: str, text: str) -> Column:
    kind, _, rest = text.partition(".")
    price = _PRICE.fullmatch(text)
    if price is not None:
        return Column(price["kind"], price["service"], price["offering"])
    if kind in {"available", "capacity", "condition"} and _NAME.fullmatch(rest):
        return Column(kind, rest)
    raise _wrong(where, f"{text!r} is no column", f"there are {COLUMN_FORMS}")


def _value(where: str, column: Column, value: Any) -> Value:
    text = "unknown" if value is None else str(value).strip().lower()
    if column.kind in {"available", "condition"}:
        if text in _BOOLEANS:
            return _BOOLEANS[text]
        if text in _NOTHING and column.kind == "condition":
            return None
        more = ", unknown" if column.kind == "condition" else ""
        raise _wrong(where, f"{column} is {text!r}", f"write true or false{more}")
    if text in _NOTHING:
        return None
    try:
        number = Decimal(text)
    except InvalidOperation:
        number = Decimal("NaN")
    if not number.is_finite() or number < 0:
        raise _wrong(where, f"{column} is {text!r}", "write a number of 0 or more, or unknown")
    if column.kind == "capacity":
        if number != number.to_integral_value():
            raise _wrong(where, f"{column} is {text!r}", "write a whole number of servers, or none for no bound")
        return int(number)
    return number


# Prometheus


def _limit(source: str, text: str) -> float:
    try:
        return float(text)
    except ValueError:
        raise _wrong(source, f"{text!r} is not a number", "write CONDITION>NUMBER=FILE") from None


def _prometheus(file: str, condition: str, how: str, limit: float) -> Iterator[Point]:
    """What a condition was, from the JSON of /api/v1/query_range: compared sample by sample, unknown in gaps."""
    column = _column(file, f"condition.{condition}")
    samples = _samples(file)
    if not samples:
        return
    usual = median(b[0] - a[0] for a, b in pairwise(samples)) if len(samples) > 1 else 0.0
    held: bool | None = None
    first = True
    for index, (at, value) in enumerate(samples):
        found = None if math.isnan(value) else _COMPARISONS[how](value, limit)
        if first or found != held:
            yield Point(_stamp(file, at), {column: found})
        held, first = found, False
        following = samples[index + 1][0] if index + 1 < len(samples) else None
        if following is not None and usual and following - at > _GAP * usual:
            held = None
            yield Point(_stamp(file, at) + timedelta(seconds=usual), {column: None})


def _stamp(file: str, at: float) -> datetime:
    try:
        return datetime.fromtimestamp(at, UTC)
    except (ValueError, OverflowError, OSError):
        raise _wrong(file, f"{at} is not a time") from None


def _samples(file: str) -> list[tuple[float, float]]:
    try:
        whole = json.loads(read_text(file))
        data = whole["data"]
        if data["resultType"] != "matrix":
            raise _wrong(file, f"its result is a {data['resultType']}", "ask /api/v1/query_range")
        results = data["result"]
        if len(results) > 1:
            hint = "aggregate in the query, with sum(...) or max(...)"
            raise _wrong(file, f"it has {len(results)} series, a condition is about one", hint)
        found = [(float(at), float(value)) for result in results for at, value in result["values"]]
    except (ValueError, KeyError, TypeError, IndexError, RecursionError):
        raise _wrong(file, "it is not an answer of /api/v1/query_range in JSON") from None
    return sorted(found)
