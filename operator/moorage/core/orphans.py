"""What a person asked for about orphans, in the annotation `moorage.dev/orphans` of their HostingService.

A JSON list of objects with `providerID`, `virtualServer` (the uid that the orphan's tags name) and `action`, `Release`
or `Delete`. The uid makes an order that was forgotten there harmless: it never means a server that was adopted since.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final, Literal

OrphanAction = Literal["Release", "Delete"]
MAX_ORDERS: Final = 200
ACTIONS: Final[tuple[OrphanAction, ...]] = ("Release", "Delete")


@dataclass(frozen=True, slots=True)
class Order:
    """What is to become of one orphan."""

    provider_id: str
    virtual_server: str
    action: OrphanAction


def read_orders(text: str | None) -> tuple[Order, ...]:
    """The orders of an annotation's text; none where there is none. Raises ValueError, naming what is wrong."""
    if not text:
        return ()
    try:
        listed = json.loads(text)
    except (ValueError, RecursionError):
        raise ValueError("it is not JSON") from None
    if not isinstance(listed, list) or len(listed) > MAX_ORDERS:
        raise ValueError(f"it is not a list of at most {MAX_ORDERS} orders")
    return tuple(_order(entry, number) for number, entry in enumerate(listed))


def _order(entry: object, number: int) -> Order:
    if not isinstance(entry, dict) or set(entry) != {"providerID", "virtualServer", "action"}:
        raise ValueError(f"order {number} is not an object of providerID, virtualServer and action")
    action = next((known for known in ACTIONS if known == entry["action"]), None)
    if action is None:
        raise ValueError(f"the action of order {number} is neither Release nor Delete")
    if not all(isinstance(entry[name], str) and entry[name] for name in ("providerID", "virtualServer")):
        raise ValueError(f"providerID or virtualServer of order {number} is no text")
    return Order(entry["providerID"], entry["virtualServer"], action)


def write_orders(orders: Iterable[Order]) -> str | None:
    """The text that `read_orders` reads; None where there is nothing to say, and the annotation is to go."""
    listed = [
        {"providerID": order.provider_id, "virtualServer": order.virtual_server, "action": order.action}
        for order in sorted(orders, key=lambda order: order.provider_id)
    ]
    return json.dumps(listed) if listed else None
