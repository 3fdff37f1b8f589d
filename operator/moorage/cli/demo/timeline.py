"""What happened, and when: measured by the demo's own clock, in seconds from its start."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field

from rich.table import Table


@dataclass(frozen=True, slots=True)
class Moment:
    """Something that happened. `at` in seconds; `subject` is an object or a program."""

    at: float
    subject: str
    text: str


@dataclass(slots=True)
class Timeline:
    """All moments in order. `listener` hears of each at once."""

    clock: Callable[[], float] = time.monotonic
    listener: Callable[[Moment], None] | None = None
    moments: list[Moment] = field(default_factory=list)
    _start: float | None = None

    def mark(self, subject: str, text: str) -> Moment:
        """Note that something happens now."""
        now = self.clock()
        if self._start is None:
            self._start = now
        moment = Moment(now - self._start, subject, text)
        self.moments.append(moment)
        if self.listener is not None:
            self.listener(moment)
        return moment


@dataclass(frozen=True, slots=True)
class Span:
    """How long something took, in seconds."""

    what: str
    seconds: float


def spans(milestones: list[tuple[str, Moment, Moment]]) -> list[Span]:
    """The time from one moment to another, for each pair."""
    return [Span(what, end.at - begin.at) for what, begin, end in milestones]


def moments_table(moments: list[Moment]) -> Table:
    """The moments, with the time since the one before."""
    table = Table(box=None, pad_edge=False, header_style="bold", padding=(0, 2, 0, 0), title_justify="left")
    for column, justify in (("AT", "right"), ("AFTER", "right"), ("WHAT", "left"), ("HAPPENED", "left")):
        table.add_column(column, justify=justify)  # type: ignore[arg-type]
    before = 0.0
    for moment in moments:
        table.add_row(f"{moment.at:.2f} s", f"+{moment.at - before:.2f}", moment.subject, moment.text)
        before = moment.at
    return table


def spans_table(measured: list[Span]) -> Table:
    """The durations."""
    table = Table(box=None, pad_edge=False, show_header=False, padding=(0, 2, 0, 0))
    table.add_column(justify="right")
    table.add_column()
    for span in measured:
        table.add_row(f"{span.seconds:.2f} s", span.what)
    return table
