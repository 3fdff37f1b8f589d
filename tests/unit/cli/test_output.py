"""What is printed without a terminal can be read by programs, and is there at once."""

from __future__ import annotations

import io

from rich.console import Console
from rich.table import Table

from moorage.cli.demo.screen import Screen
from moorage.cli.demo.timeline import Moment
from moorage.cli.output import write


def table() -> Table:
    """With a cell that is longer than its neighbour."""
    made = Table(box=None, pad_edge=False)
    made.add_column("WHAT")
    made.add_column("WHY")
    made.add_row("a", "short")
    made.add_row("b", "a longer one", style="bold")
    return made


def console(*, terminal: bool) -> tuple[Console, io.StringIO]:
    file = io.StringIO()
    return Console(file=file, width=60, force_terminal=terminal, color_system=None), file


def test_no_line_ends_with_blanks_where_there_is_no_terminal() -> None:
    target, file = console(terminal=False)
    write(target, "", table(), "")
    assert file.getvalue() == "\nWHAT  WHY\na     short\nb     a longer one\n\n"


def test_the_demo_shows_tables_as_the_commands_do() -> None:
    target, file = console(terminal=False)
    Screen(target).show("", table())
    assert not any(line.endswith(" ") for line in file.getvalue().splitlines())


def test_a_terminal_gets_what_rich_makes_of_it() -> None:
    target, file = console(terminal=True)
    write(target, table())
    assert "a longer one" in file.getvalue()


def test_a_moment_is_one_line() -> None:
    target, file = console(terminal=False)
    Screen(target).moment(Moment(0.5, "control plane", "starting"))
    assert file.getvalue() == "   0.50 s  control plane  starting\n"
