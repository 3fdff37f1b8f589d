"""The `moorage` command: what it offers, and how it ends."""

from __future__ import annotations

import sys
from typing import Annotated

import typer

from moorage.cli.commands import (
    approve,
    backends,
    daemons,
    demo,
    enroll,
    explain,
    failover,
    graph,
    import_,
    orphans,
    plan,
    render,
    simulate,
    testbed,
    tree,
)
from moorage.cli.errors import CliError

app = typer.Typer(
    name="moorage",
    help="Groups of virtual servers on unlike hosting services, placed by a policy and configured in two steps.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
    context_settings={"help_option_names": ["-h", "--help"]},
)

LOOK, ACT, SERVE = "Look around", "Decide", "Serve"
app.command("demo", rich_help_panel=LOOK)(demo.demo)
app.command("tree", rich_help_panel=LOOK)(tree.tree)
app.command("explain", rich_help_panel=LOOK)(explain.explain)
app.command("failover", rich_help_panel=LOOK)(failover.failover)
app.command("plan", rich_help_panel=LOOK)(plan.plan)
app.command("simulate", rich_help_panel=LOOK)(simulate.simulate)
app.command("graph", rich_help_panel=LOOK)(graph.graph)
app.command("render", rich_help_panel=LOOK)(render.render)
app.command("enroll", rich_help_panel=LOOK)(enroll.enroll)
app.command("import", rich_help_panel=LOOK)(import_.import_)
app.add_typer(orphans.app, rich_help_panel=LOOK)
app.command("backends", rich_help_panel=LOOK)(backends.backends)
app.add_typer(testbed.app, rich_help_panel=LOOK)
app.command("approve", rich_help_panel=ACT)(approve.approve)
app.command("run", rich_help_panel=SERVE)(daemons.run)
app.command("configd", rich_help_panel=SERVE)(daemons.configd)
app.command("hostd", rich_help_panel=SERVE, context_settings=daemons.PASS_ON)(daemons.hostd)


def _version(asked: bool) -> None:
    if asked:
        from importlib.metadata import version

        typer.echo(f"moorage {version('moorage')}")
        raise typer.Exit


@app.callback()
def _root(
    version: Annotated[
        bool, typer.Option("--version", help="Print the version.", is_eager=True, callback=_version)
    ] = False,
) -> None:
    """Groups of virtual servers on unlike hosting services, placed by a policy and configured in two steps."""


def main() -> None:
    """Run the command and exit. Codes: see `Exit`; a reader that went away (a closed pipe) gives 1."""
    try:
        app()
    except CliError as error:
        _say(error)
        sys.exit(error.code)


def _say(error: CliError) -> None:
    from moorage.cli.output import stderr
    from moorage.cli.views.safe import safe_lines

    console = stderr()
    console.print("error:", style="bold red", end=" ")
    # What a guest, a service or a file says may be in it.
    console.print(safe_lines(error.message), markup=False)
    if error.hint:
        console.print("hint: ", style="bold", end=" ")
        console.print(safe_lines(error.hint), markup=False)
