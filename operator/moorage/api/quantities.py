"""Kubernetes quantities, Go durations, numbers-or-percent and prices: parsed on reading, spelled out on writing."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import timedelta
from decimal import Decimal
from typing import Annotated, Any

from pydantic import AfterValidator, BeforeValidator, Field, PlainSerializer, WithJsonSchema

from moorage.api.rules import Rule, remedy
from moorage.api.rules import rules as rules_of

_SUFFIXES: dict[str, Decimal] = {
    "": Decimal(1),
    "n": Decimal("1e-9"),
    "u": Decimal("1e-6"),
    "m": Decimal("1e-3"),
    **{s: Decimal(1000) ** i for i, s in enumerate(("k", "M", "G", "T", "P", "E"), 1)},
    **{s: Decimal(1024) ** i for i, s in enumerate(("Ki", "Mi", "Gi", "Ti", "Pi", "Ei"), 1)},
}
_BINARY = tuple(reversed(("Ki", "Mi", "Gi", "Ti", "Pi", "Ei")))

QUANTITY_PATTERN = r"^[0-9]+(\.[0-9]+)?([numkMGTPE]|[KMGTPE]i|[eE][+-]?[0-9]{1,2})?$"
DURATION_PATTERN = r"^([0-9]{1,6}(\.[0-9]{1,6})?(ns|us|ms|s|m|h))+$"
SHARE_PATTERN = r"^(100|[0-9]{1,2})%$"
PRICE_PATTERN = r"^[0-9]{1,12}(\.[0-9]{1,9})?$"
NUMBER_PATTERN = r"^-?[0-9]{1,15}(\.[0-9]{1,9})?([eE][+-]?[0-9]{1,2})?$"

_QUANTITY = re.compile(r"^(?P<number>[0-9]+(?:\.[0-9]+)?)(?P<suffix>[numkMGTPE]|[KMGTPE]i|[eE][+-]?[0-9]{1,2})?$")
_DURATION = re.compile(DURATION_PATTERN)
_DURATION_PART = re.compile(r"([0-9]+(?:\.[0-9]+)?)(ns|us|ms|s|m|h)")
_SHARE = re.compile(SHARE_PATTERN)
_PRICE = re.compile(PRICE_PATTERN)
_NUMBER = re.compile(NUMBER_PATTERN)
_MICROSECONDS = {
    "ns": Decimal("0.001"),
    "us": Decimal(1),
    "ms": Decimal(1000),
    "s": Decimal(1_000_000),
    "m": Decimal(60_000_000),
    "h": Decimal(3_600_000_000),
}


def parse_quantity(value: Any) -> Decimal:
    """`512Mi` -> 536870912, `100m` -> 0.1, `2` -> 2; not negative. Raises ValueError for anything else."""
    if isinstance(value, Decimal):
        return value
    if isinstance(value, int) and not isinstance(value, bool) and value >= 0:
        return Decimal(value)
    text = str(value) if isinstance(value, str | float) else ""
    match = _QUANTITY.fullmatch(text) if len(text) <= 24 else None
    if match is None:
        raise ValueError("is not a quantity; write a number with or without a unit, such as 2, 500m, 512Mi or 1.5Gi")
    number, suffix = match.group("number"), match.group("suffix") or ""
    return Decimal(number) * _SUFFIXES[suffix] if suffix in _SUFFIXES else Decimal(number + suffix)


def format_quantity(value: Decimal) -> str:
    """The shortest exact spelling: whole binary units where they fit (`512Mi`), else a plain number or thousandths."""
    if value == value.to_integral_value():
        whole = int(value)
        for suffix in _BINARY:
            unit = int(_SUFFIXES[suffix])
            if whole >= unit and whole % unit == 0:
                return f"{whole // unit}{suffix}"
        return str(whole)
    thousandths = value * 1000
    if thousandths == thousandths.to_integral_value():
        return f"{int(thousandths)}m"
    return format(value.normalize(), "f")


def parse_duration(value: Any) -> timedelta:
    """A Go duration (`1h30m`, `250ms`, `0s`); not negative. Raises ValueError for anything else."""
    if isinstance(value, timedelta):
        return value
    if not isinstance(value, str) or len(value) > 20 or not _DURATION.fullmatch(value):
        raise ValueError("is not a duration; write numbers with units ms, s, m or h, such as 30s, 10m or 1h30m")
    micros = sum((Decimal(number) * _MICROSECONDS[unit] for number, unit in _DURATION_PART.findall(value)), Decimal(0))
    return timedelta(microseconds=int(micros))


def format_duration(value: timedelta) -> str:
    """`timedelta(minutes=90)` -> `1h30m`; `0s` for nothing."""
    micros = round(value / timedelta(microseconds=1))
    text = ""
    for unit in ("h", "m", "s", "ms", "us"):
        count, micros = divmod(micros, int(_MICROSECONDS[unit]))
        if count:
            text += f"{count}{unit}"
    return text or "0s"


@dataclass(frozen=True, slots=True)
class Share:
    """A number of servers, or a percentage of all of them."""

    amount: int
    percent: bool = False

    def of(self, total: int, *, round_up: bool = False) -> int:
        """How many of `total` this is; percentages are rounded down unless told otherwise."""
        if not self.percent:
            return self.amount
        return -(-self.amount * total // 100) if round_up else self.amount * total // 100

    def __str__(self) -> str:
        return f"{self.amount}%" if self.percent else str(self.amount)


def parse_share(value: Any) -> Share:
    """`2` or `"40%"`. Raises ValueError for anything else, negative numbers and more than 100 % included."""
    if isinstance(value, Share):
        return value
    if isinstance(value, int) and not isinstance(value, bool) and value >= 0:
        return Share(value)
    if isinstance(value, str) and _SHARE.fullmatch(value):
        return Share(int(value[:-1]), percent=True)
    raise ValueError('is neither a number nor a percentage; write a number such as 1 or a string such as "25%"')


def parse_price(value: Any) -> Decimal:
    """`"0.02"` -> Decimal("0.02"). Raises ValueError for anything but digits with at most one point."""
    if isinstance(value, Decimal):
        return value
    if isinstance(value, str) and _PRICE.fullmatch(value):
        return Decimal(value)
    raise ValueError('is not a price; write a decimal number in quotes, such as "0.02"')


def parse_number(value: Any) -> Decimal:
    """`-5`, `"0.95"` or `"1.5e9"`. Raises ValueError for anything else, floats included, which YAML may round."""
    if isinstance(value, Decimal):
        return value
    if isinstance(value, int) and not isinstance(value, bool):
        return Decimal(value)
    if isinstance(value, str) and _NUMBER.fullmatch(value):
        return Decimal(value)
    raise ValueError('is not a number; write a whole number, or a decimal one in quotes, such as "0.95"')


def _share_to_json(value: Share) -> int | str:
    return str(value) if value.percent else value.amount


def _format_price(value: Decimal) -> str:
    return format(value, "f")


def _positive(value: timedelta) -> timedelta:
    if value <= timedelta(0):
        raise ValueError("must be above 0; write a duration such as 30s")
    return value


def _some(value: Share) -> Share:
    if value.amount == 0:
        raise ValueError('must be above 0; write a number such as 1 or a string such as "25%"')
    return value


def _int_or_string(*rules: Rule) -> dict[str, Any]:
    return {"x-kubernetes-int-or-string": True, "maxLength": 24, **rules_of(*rules)}


def _duration(*more: Rule) -> dict[str, Any]:
    valid = Rule(
        f"self.matches(r'{DURATION_PATTERN}')",
        "is not a duration",
        "write numbers with units ms, s, m or h, such as 30s, 10m or 1h30m",
    )
    return {"type": "string", "maxLength": 20, **rules_of(valid, *more)}


_ABOVE_ZERO = Rule("!self.matches('^[0hmnsu.]+$')", "must be above 0", "write a duration such as 30s")
_SHARE_RULE = Rule(
    f"type(self) == int ? self >= 0 : self.matches(r'{SHARE_PATTERN}')",
    "is neither a number nor a percentage",
    'write a number such as 1 or a string such as "25%"',
)
_SOME_RULE = Rule(
    "type(self) == int ? self != 0 : !(self in ['0%', '00%'])",
    "must be above 0, or nothing could ever change",
    'write a number such as 1 or a string such as "25%"',
)
_QUANTITY_RULE = Rule(
    f"type(self) == int ? self >= 0 : self.matches(r'{QUANTITY_PATTERN}')",
    "is not a quantity",
    "write a number with or without a unit, such as 2, 500m, 512Mi or 1.5Gi",
)
_NUMBER_RULE = Rule(
    f"type(self) == int || self.matches(r'{NUMBER_PATTERN}')",
    "is not a number",
    'write a whole number, or a decimal one in quotes, such as "0.95"',
)


Quantity = Annotated[
    Decimal,
    BeforeValidator(parse_quantity),
    PlainSerializer(format_quantity, return_type=str),
    WithJsonSchema(_int_or_string(_QUANTITY_RULE)),
]
"""A Kubernetes quantity: a Decimal in base units (bytes, cores)."""

Duration = Annotated[
    timedelta,
    BeforeValidator(parse_duration),
    PlainSerializer(format_duration, return_type=str),
    WithJsonSchema(_duration()),
]
"""A Go duration as a timedelta."""

Seconds = Annotated[
    float,
    BeforeValidator(lambda value: parse_duration(value).total_seconds() if isinstance(value, str) else value),
    Field(ge=0, le=365 * 86400, allow_inf_nan=False),
]
"""Seconds, written as a number or as a Go duration: the type of a backend's settings that are times."""

Interval = Annotated[
    timedelta,
    BeforeValidator(parse_duration),
    AfterValidator(_positive),
    PlainSerializer(format_duration, return_type=str),
    WithJsonSchema(_duration(_ABOVE_ZERO)),
]
"""A Go duration above zero."""

IntOrPercent = Annotated[
    Share,
    BeforeValidator(parse_share),
    PlainSerializer(_share_to_json, return_type=int | str),
    WithJsonSchema(_int_or_string(_SHARE_RULE)),
]
"""A count or a percentage."""

PositiveIntOrPercent = Annotated[
    Share,
    BeforeValidator(parse_share),
    AfterValidator(_some),
    PlainSerializer(_share_to_json, return_type=int | str),
    WithJsonSchema(_int_or_string(_SHARE_RULE, _SOME_RULE)),
]
"""A count or a percentage, above zero."""

Price = Annotated[
    Decimal,
    BeforeValidator(parse_price),
    PlainSerializer(_format_price, return_type=str),
    WithJsonSchema(
        {
            "type": "string",
            "pattern": PRICE_PATTERN,
            "maxLength": 32,
            **remedy("is not a price", 'write a decimal number in quotes, such as "0.02"'),
        }
    ),
]
"""Money for one hour, in whatever one currency the platform team keeps to."""

Number = Annotated[
    Decimal,
    BeforeValidator(parse_number),
    PlainSerializer(str, return_type=str),
    WithJsonSchema(_int_or_string(_NUMBER_RULE)),
]
"""Any number, exactly as it was written."""
