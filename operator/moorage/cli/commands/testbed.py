"""`moorage testbed`: real hosting services on this machine, to try Moorage on."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Annotated, TypeVar

import typer

from moorage.cli.errors import CliError
from moorage.cli.options import Format, Output

if TYPE_CHECKING:
    from moorage.testbed.bed import Bed, Say

T = TypeVar("T")

app = typer.Typer(
    name="testbed", help="Real hosting services on this machine, to try Moorage on.", no_args_is_help=True
)
Names = Annotated[list[str], typer.Argument(metavar="NAME...", help="Beds, see `moorage testbed list`.")]


@app.command("list")
def list_beds(output: Output = Format.TABLE) -> None:
    """List the beds: whether each runs, and what this machine lacks for it."""
    from moorage.cli import output as out
    from moorage.cli.views.testbed import table
    from moorage.testbed import bed, names, status

    found = []
    for name in names():
        one = bed(name)
        running = status(one)
        state = "Running" if running else "Stopped"
        found.append({"name": name, "state": state, "summary": one.summary, "lacks": one.lacks()})
    out.report(found, output, table(found))


@app.command()
def install(names: Names) -> None:
    """Install what beds need: packages of the system (as root), programs and images in the cache."""
    from moorage.testbed import install as bring

    for name in names:
        _done(name, bring)


@app.command()
def up(names: Names) -> None:
    """Install and start beds; prints where each is and its credentials, as JSON."""
    from moorage.testbed import up as start

    for name in names:
        running = _done(name, start)
        typer.echo(_json({"name": name, **vars(running)}))


@app.command()
def down(names: Names) -> None:
    """Stop beds and remove everything that ran on them."""
    from moorage.testbed import down as stop

    for name in names:
        _done(name, stop)


def _json(value: object) -> str:
    import json

    return json.dumps(value)


def _done(name: str, act: Callable[[Bed, Say], T]) -> T:
    from moorage.testbed import Lacking, bed, names

    try:
        one = bed(name)
    except KeyError:
        raise CliError(f"no test bed {name!r}", hint=f"there are: {', '.join(names())}") from None
    try:
        return act(one, lambda text: typer.echo(text, err=True))
    except Lacking as problem:
        raise CliError(str(problem)) from None
