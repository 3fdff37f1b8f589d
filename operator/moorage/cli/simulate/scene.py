"""The drawing of a simulation: one lane for each condition, the policy and each service, and the price below.

It is made of rectangles, lines and texts on a plane, so that SVG and PNG show the same.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta, tzinfo
from decimal import Decimal
from typing import Final

from moorage.core.placement.views import price_text
from moorage.core.simulation import Simulated, Span

WIDTH: Final = 960
_LEFT, _RIGHT, _TOP = 190, 44, 46
_LANE, _GAP, _PRICES = 18, 8, 90
_LETTERS: Final = 24
INK, FAINT, PAPER = "#1f2933", "#d5dbe1", "#ffffff"
COLOURS: Final = {"Met": "#2f9e6e", "Unmet": "#e4e8ec", "Unknown": "#f2b84b"}
PLACED, PRICE = "#3b6fb6", "#b4482f"
_STEPS: Final = (1, 2, 5, 10, 15, 30, 60, 120, 180, 360, 720, 1440, 2880, 7200, 10080, 20160, 43200, 129600, 525600)
"""Minutes between two marks of the axis."""


@dataclass(frozen=True, slots=True)
class Box:
    """A filled rectangle."""

    x: float
    y: float
    width: float
    height: float
    colour: str


@dataclass(frozen=True, slots=True)
class Stroke:
    """A line through points."""

    points: tuple[tuple[float, float], ...]
    colour: str
    width: float = 1.0


@dataclass(frozen=True, slots=True)
class Label:
    """A text; ``anchor`` is the side of it that is at ``x``. ``y`` is its middle."""

    x: float
    y: float
    text: str
    anchor: str = "start"
    size: int = 12
    colour: str = INK


Shape = Box | Stroke | Label


@dataclass(frozen=True, slots=True)
class Scene:
    """Shapes, in the order in which they are drawn."""

    width: int
    height: int
    shapes: tuple[Shape, ...]


@dataclass(frozen=True, slots=True)
class Lane:
    """A row: a title, and what is drawn at which spans."""

    title: str
    colours: tuple[str | None, ...]


def lanes(simulated: Simulated) -> list[Lane]:
    """The rows of the drawing, top down."""
    spans = simulated.spans
    names = list(dict.fromkeys(r.name for span in spans for r in span.readings))
    found = [Lane(name, tuple(_reading(span, name) for span in spans)) for name in names]
    found.append(Lane("policy", tuple(COLOURS[span.verdict] for span in spans)))
    services = sorted({span.service for span in spans if span.service is not None})
    return found + [
        Lane(f"on {name}", tuple(PLACED if s.service == name else None for s in spans)) for name in services
    ]


def _reading(span: Span, name: str) -> str | None:
    return next((COLOURS[r.value] for r in span.readings if r.name == name), None)


def draw(simulated: Simulated, title: str, zone: tzinfo) -> Scene:
    """The whole drawing."""
    spans = simulated.spans
    rows = lanes(simulated)
    start, end = spans[0].start, spans[-1].end
    bottom = _TOP + len(rows) * (_LANE + _GAP)
    prices = max((s.price for s in spans if s.price is not None), default=None)
    floor = bottom + (_PRICES + 2 * _GAP if prices else 0)

    def x(at: datetime) -> float:
        return _LEFT + (WIDTH - _LEFT - _RIGHT) * ((at - start) / (end - start))

    shapes: list[Shape] = [Box(0, 0, WIDTH, floor + 40, PAPER), Label(_LEFT, 20, title, size=14)]
    for at, text in ticks(start, end, zone):
        shapes.append(Stroke(((x(at), _TOP - 4), (x(at), floor)), FAINT))
        shapes.append(Label(x(at), floor + 14, text, "middle", 11))
    for number, row in enumerate(rows):
        y = _TOP + number * (_LANE + _GAP)
        shapes.append(Label(_LEFT - 10, y + _LANE / 2, _short(row.title), "end"))
        for span, colour in zip(spans, row.colours, strict=True):
            if colour is not None:
                shapes.append(Box(x(span.start), y, max(0.75, x(span.end) - x(span.start)), _LANE, colour))
    if prices:
        shapes += _price_lane(spans, prices, bottom + _GAP, x)
    return Scene(WIDTH, floor + 40, tuple(shapes))


def _price_lane(spans: Sequence[Span], highest: Decimal, top: float, x: Callable[[datetime], float]) -> Iterator[Shape]:
    yield Label(_LEFT - 10, top + 8, _short(f"price, up to {price_text(highest)}"), "end")
    yield Stroke(((_LEFT, top + _PRICES), (WIDTH - _RIGHT, top + _PRICES)), INK)
    points: list[tuple[float, float]] = []
    for span in spans:
        if span.price is None:
            if points:
                yield Stroke(tuple(points), PRICE, 1.5)
            points = []
            continue
        y = top + _PRICES * (1 - 0.95 * float(span.price / highest))
        points += [(x(span.start), y), (x(span.end), y)]
    if points:
        yield Stroke(tuple(points), PRICE, 1.5)


def ticks(start: datetime, end: datetime, zone: tzinfo, most: int = 8) -> Iterator[tuple[datetime, str]]:
    """Round moments of the zone's clock, and how each is written."""
    minutes = (end - start) / timedelta(minutes=1)
    step = next((s for s in _STEPS if minutes / s <= most), _STEPS[-1])
    local = start.astimezone(zone).replace(tzinfo=None)
    midnight = local.replace(hour=0, minute=0, second=0, microsecond=0)
    wall = midnight + timedelta(minutes=step * int((local - midnight) / timedelta(minutes=step)))
    form = "%d %b" if step >= 1440 else "%H:%M" if minutes <= 1440 else "%d %b %H:%M"
    for _ in range(2 * most + 4):
        # The steps are of the clock on the wall, so marks stay at full hours over a change of it.
        at = wall.replace(tzinfo=zone)
        if at > end:
            return
        if at >= start:
            yield at, wall.strftime(form)
        wall += timedelta(minutes=step)


def _short(text: str) -> str:
    return text if len(text) <= _LETTERS else text[: _LETTERS - 1] + "…"
