"""What a simulation found: a summary, the changes, and a drawing in characters."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator, Mapping, Set
from dataclasses import dataclass
from datetime import datetime, timedelta, tzinfo
from decimal import Decimal
from typing import Any, Final

from rich.console import RenderableType
from rich.text import Text

from moorage.cli.simulate.scene import COLOURS, PLACED, lanes, ticks
from moorage.cli.views.explain import table
from moorage.cli.views.safe import cell, safe
from moorage.core.placement.views import price_text
from moorage.core.simulation import Simulated, Span

_STYLES: Final = {"Met": "green", "Unmet": "dim", "Unknown": "yellow"}
_CELLS: Final[Mapping[str, tuple[str, str, str]]] = {
    COLOURS["Met"]: ("█", "#", "green"),
    COLOURS["Unmet"]: ("·", ".", "dim"),
    COLOURS["Unknown"]: ("?", "?", "yellow"),
    PLACED: ("█", "#", "cyan"),
}
_MEANINGS: Final[Mapping[str, str]] = {
    COLOURS["Met"]: "met",
    COLOURS["Unmet"]: "unmet",
    COLOURS["Unknown"]: "unknown",
    PLACED: "placed there",
}
_LEVELS: Final = "▁▂▃▄▅▆▇█"
_ASCII_LEVELS: Final = "_.-=+*%#"
_NARROWEST, _WIDEST = 24, 120


@dataclass(frozen=True, slots=True)
class SimulationView:
    """Everything that `moorage simulate` says."""

    policy: str
    group: str
    simulated: Simulated
    zone: tzinfo
    notes: tuple[str, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """The JSON form."""
        found = self.simulated
        return {
            "policy": self.policy,
            "group": self.group,
            "from": self._time(found.spans[0].start),
            "to": self._time(found.spans[-1].end),
            "metSeconds": _seconds(found.met),
            "placedSeconds": _seconds(found.placed),
            "unpricedSeconds": _seconds(found.unpriced),
            "cost": _money(found.cost),
            "looks": found.looks,
            "notes": list(self.notes),
            "spans": [self._span(span) for span in found.spans],
        }

    def _span(self, span: Span) -> dict[str, Any]:
        return {
            "from": self._time(span.start),
            "to": self._time(span.end),
            "verdict": span.verdict,
            "message": span.message,
            "conditions": {r.name: {"value": r.value, "reason": r.reason} for r in span.readings},
            "service": span.service,
            "pricePerHour": None if span.price is None else format(span.price, "f"),
            "cost": _money(span.cost),
            "why": span.why,
        }

    def to_csv(self) -> str:
        """One row for each span."""
        names = list(dict.fromkeys(r.name for span in self.simulated.spans for r in span.readings))
        out = io.StringIO()
        writer = csv.writer(out, lineterminator="\n")
        writer.writerow(["from", "to", "verdict", "service", "pricePerHour", "cost", *names])
        for span in self.simulated.spans:
            values = {r.name: r.value for r in span.readings}
            price = "" if span.price is None else format(span.price, "f")
            row = [self._time(span.start), self._time(span.end), span.verdict, span.service or "", price]
            writer.writerow([*row, _money(span.cost), *(values.get(name, "") for name in names)])
        return out.getvalue()

    def show(self, width: int, *, ascii_only: bool = False) -> list[RenderableType]:
        """The parts, top down."""
        parts: list[RenderableType] = [self._summary(), Text(), self._changes(), Text()]
        return [*parts, *self._drawing(width, ascii_only)]

    def title(self) -> str:
        """One line for a drawing."""
        found = self.simulated
        return f"{self.policy}: met {_share(found.met, found)}, placed {_share(found.placed, found)}, {self._cost()}"

    def _summary(self) -> Text:
        found = self.simulated
        text = Text("policy ").append(self.policy, style="bold").append(f", {safe(self.group)}\n")
        text.append(f"from {self._time(found.spans[0].start)} to {self._time(found.spans[-1].end)}\n")
        text.append(f"met for {_span(found.met)} ({_share(found.met, found)})")
        text.append(f", placed for {_span(found.placed)} ({_share(found.placed, found)}), {self._cost()}")
        return text

    def _cost(self) -> str:
        cost = f"cost {_money(self.simulated.cost)}"
        unpriced = self.simulated.unpriced
        return f"{cost}, without {_span(unpriced)} at a price that is not known" if unpriced else cost

    def _changes(self) -> RenderableType:
        shown = table("FROM", "FOR", "POLICY", "SERVICE", "PRICE", "COST", "WHY")
        for span in self.simulated.spans:
            price = price_text(span.price) if span.service is not None else "-"
            cost = _money(span.cost) if span.cost else "-"
            verdict = Text(span.verdict, style=_STYLES[span.verdict])
            why = span.message if span.service is not None or not span.why else f"{span.message}; {span.why}"
            start = self._time(span.start)
            shown.add_row(start, _span(span.length), verdict, span.service or "-", price, cost, cell(why))
        return shown

    def _drawing(self, width: int, ascii_only: bool) -> Iterator[Text]:
        rows, spans = lanes(self.simulated), self.simulated.spans
        margin = min(24, max(len("price"), *(len(row.title) for row in rows))) + 2
        columns = max(_NARROWEST, min(_WIDEST, width - margin))
        start, end = spans[0].start, spans[-1].end
        at = [_column_span(spans, start + (end - start) * (2 * n + 1) / (2 * columns)) for n in range(columns)]
        for row in rows:
            text = Text(safe(row.title)[: margin - 2].ljust(margin))
            for index in at:
                colour = row.colours[index]
                mark, plain, style = (" ", " ", "") if colour is None else _CELLS[colour]
                text.append(plain if ascii_only else mark, style=style)
            yield text
        highest = max((s.price for s in spans if s.price is not None), default=None)
        if highest:
            levels = _ASCII_LEVELS if ascii_only else _LEVELS
            bars = "".join(_level(spans[index].price, highest, levels) for index in at)
            yield Text("price".ljust(margin)).append(bars).append(f"  up to {price_text(highest)}")
        yield Text(_axis(start, end, self.zone, margin, columns))
        yield Text("".ljust(margin)).append(_legend({row.colours[index] for row in rows for index in at}, ascii_only))

    def _time(self, at: datetime) -> str:
        local = at.astimezone(self.zone)
        return local.isoformat(timespec="seconds").replace("+00:00", "Z")


def _column_span(spans: tuple[Span, ...], at: datetime) -> int:
    return next((index for index, span in enumerate(spans) if at < span.end), len(spans) - 1)


def _level(price: Decimal | None, highest: Decimal, levels: str) -> str:
    if price is None:
        return " "
    return levels[min(len(levels) - 1, int(price / highest * len(levels)))]


def _legend(colours: Set[str | None], ascii_only: bool) -> Text:
    """What each sign of the lanes means, of those that are drawn: one of the same look is told once."""
    meanings: dict[str, list[str]] = {}
    for colour, (mark, plain, _) in _CELLS.items():
        if colour in colours:
            meanings.setdefault(plain if ascii_only else mark, []).append(_MEANINGS[colour])
    return Text("   ".join(f"{sign} {' or '.join(texts)}" for sign, texts in meanings.items()))


def _axis(start: datetime, end: datetime, zone: tzinfo, margin: int, columns: int) -> str:
    line = [" "] * (margin + columns)
    free = margin
    for at, text in ticks(start, end, zone, most=max(2, columns // 16)):
        column = margin + int((at - start) / (end - start) * columns)
        if column >= free and column + len(text) + 1 <= len(line):
            line[column : column + len(text) + 1] = list(f"|{text}")
            free = column + len(text) + 2
    return "".join(line).rstrip()


def _money(cost: Decimal) -> str:
    return f"{cost:.4f}".rstrip("0").rstrip(".") or "0"


def _seconds(length: timedelta) -> int:
    return length // timedelta(seconds=1)


def _span(length: timedelta) -> str:
    """`3d4h`, `10h`, `1h30m`, `45s`: at most the two largest units."""
    seconds = _seconds(length)
    parts = []
    for unit, size in (("d", 86400), ("h", 3600), ("m", 60), ("s", 1)):
        count, seconds = divmod(seconds, size)
        if count:
            parts.append(f"{count}{unit}")
    return "".join(parts[:2]) or "0s"


def _share(part: timedelta, found: Simulated) -> str:
    whole = found.spans[-1].end - found.spans[0].start
    return f"{100 * (part / whole):.1f} %"
