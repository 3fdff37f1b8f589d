"""Orders about orphans: what is written is read again, and what cannot be meant is refused with what is wrong."""

from __future__ import annotations

import json
from typing import Any

import pytest

from moorage.core.orphans import MAX_ORDERS, Order, read_orders, write_orders

ONE = {"providerID": "i-1", "virtualServer": "u-1", "action": "Release"}


def test_what_is_written_is_read_again() -> None:
    orders = (Order("a", "u1", "Delete"), Order("b", "u2", "Release"))
    assert read_orders(write_orders(reversed(orders))) == orders


def test_no_orders_are_no_annotation() -> None:
    assert write_orders([]) is None
    assert read_orders(None) == read_orders("") == ()


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("{", "not JSON"),
        ("[" * 100_000, "not JSON"),
        ("{}", "not a list"),
        (json.dumps([ONE] * (MAX_ORDERS + 1)), "at most"),
        (json.dumps([ONE, "i-2"]), "order 1 is not an object"),
        (json.dumps([{"providerID": "i-1", "action": "Delete"}]), "not an object of"),
        (json.dumps([{**ONE, "more": 1}]), "not an object of"),
        (json.dumps([{**ONE, "action": "delete"}]), "neither Release nor Delete"),
        (json.dumps([{**ONE, "providerID": ""}]), "is no text"),
        (json.dumps([{**ONE, "virtualServer": 7}]), "is no text"),
    ],
)
def test_anything_else_is_refused(text: Any, problem: str) -> None:
    with pytest.raises(ValueError, match=problem):
        read_orders(text)
