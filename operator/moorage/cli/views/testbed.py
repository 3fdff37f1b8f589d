"""The test beds as a table."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from rich.table import Table


def table(found: Sequence[dict[str, Any]]) -> Table:
    """One line a bed."""
    shown = Table(box=None, pad_edge=False, header_style="bold", padding=(0, 2, 0, 0))
    for column in ("NAME", "STATE", "WHAT IT IS"):
        shown.add_column(column)
    for one in found:
        lacks = "; ".join(one["lacks"])
        shown.add_row(one["name"], one["state"], one["summary"] + (f" (not here: {lacks})" if lacks else ""))
    return shown
