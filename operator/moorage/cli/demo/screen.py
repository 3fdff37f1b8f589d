"""Shows the demo: on a terminal a live tree below what happens, elsewhere one line for each thing that happens."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console, RenderableType
from rich.live import Live
from rich.rule import Rule
from rich.text import Text

from moorage.cli.demo.timeline import Moment
from moorage.cli.output import write


class Screen:
    """What the demo says, line by line; with `live`, the group's tree below."""

    def __init__(self, console: Console) -> None:
        self.console = console
        self._live: Live | None = None

    @contextmanager
    def live(self, tree: Callable[[], RenderableType | None]) -> Iterator[None]:
        """Within the block, show what `tree` gives below all else, a few times a second. Only on a terminal."""

        def present() -> RenderableType:
            return tree() or Text()

        if self.console.is_terminal:
            self._live = Live(console=self.console, get_renderable=present, refresh_per_second=5, transient=True)
            self._live.start()
        try:
            yield
        finally:
            self.settle()

    def settle(self) -> None:
        """Stop the live part; what was printed stays."""
        if self._live is not None:
            self._live.stop()
            self._live = None

    def chapter(self, title: str) -> None:
        """Begin a part of the story."""
        self.console.print()
        if self.console.is_terminal:
            self.console.print(Rule(Text(title, style="bold"), align="left", style="dim"))
        else:
            self.console.print(f"== {title}", markup=False)

    def moment(self, moment: Moment) -> None:
        """Something happened."""
        line = Text(f"{moment.at:7.2f} s  ", style="dim")
        line.append(f"{moment.subject}  ", style="bold")
        line.append(moment.text, style="not bold")
        self.console.print(line)

    def verified(self, text: str) -> None:
        """Something was checked and holds."""
        self.console.print(Text("      ok   ", style="bold green").append(text, style="green"))

    def show(self, *parts: RenderableType) -> None:
        """Show something as it is."""
        write(self.console, *parts)
