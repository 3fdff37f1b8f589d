"""`moorage simulate`: when a policy would have been met, where its group would have been, and at what cost."""

from __future__ import annotations

import sys
from enum import StrEnum
from typing import Annotated
from zoneinfo import ZoneInfo

import typer

from moorage.cli.errors import CliError, Exit
from moorage.cli.options import Format


class Simulation(StrEnum):
    """How a simulation is printed."""

    TABLE = "table"
    JSON = "json"
    YAML = "yaml"
    CSV = "csv"


def simulate(
    files: Annotated[
        list[str],
        typer.Option(
            "--filename", "-f", help="The policy, and what goes with it: services, a group.", show_default=False
        ),
    ],
    series: Annotated[
        list[str] | None,
        typer.Option(
            help="A series: YAML or CSV, or 'CONDITION>NUMBER=FILE' with an answer of Prometheus; may be repeated.",
            show_default=False,
        ),
    ] = None,
    start: Annotated[
        str, typer.Option("--from", help="When it begins. Default: with the series.", show_default=False)
    ] = "",
    end: Annotated[str, typer.Option("--to", help="When it ends. Default: with the series.", show_default=False)] = "",
    step: Annotated[
        str, typer.Option(help="Look also that often, such as 15m. Default: at changes alone.", show_default=False)
    ] = "",
    time_zone: Annotated[str, typer.Option(help="In which time zone times are shown.")] = "UTC",
    output: Annotated[Simulation, typer.Option("--output", "-o", help="How it is printed.")] = Simulation.TABLE,
    plot: Annotated[
        str, typer.Option(help="Also draw it into this file, .svg or .png.", metavar="FILE", show_default=False)
    ] = "",
) -> None:
    """Play a policy against a series of prices, capacities and conditions, without a cluster.

    At each change, and whenever a condition says that it may change by itself, the policy is read and the group placed
    by the controller's own decisions. Without a ServerGroup in the files it is about one server.
    """
    from moorage.cli import output as out
    from moorage.cli.manifests import read_objects
    from moorage.cli.simulate import drawing
    from moorage.cli.simulate.scenario import parse_instant, parse_step, read_scenario, situations, untold
    from moorage.cli.simulate.scene import draw
    from moorage.cli.simulate.series import merged, read_series
    from moorage.cli.views.simulate import SimulationView
    from moorage.core.simulation import TooLong
    from moorage.core.simulation import simulate as play

    if plot:
        drawing.check_format(plot)
    zone = _zone(time_zone)
    scenario = read_scenario(read_objects(files))
    points = merged(read_series(one) for one in series or ())
    found, last = situations(scenario, points, parse_instant(start, "--from"), parse_instant(end, "--to"))
    try:
        looks = parse_step(step)
        simulated = play(scenario.policy.spec, scenario.request, found, last, looks, scenario.bounds)
    except TooLong as error:
        reached = f"{error.reached:%Y-%m-%dT%H:%M:%SZ}"
        hint = f"it got to {reached}: give an earlier --to, or a longer --step"
        raise CliError("the policy is looked at too often for one simulation", hint=hint) from None
    notes = tuple(f"no series tells of condition {name}: it stays unknown" for name in untold(scenario, points))
    notes += scenario.notes
    name = scenario.policy.metadata.name
    view = SimulationView(name, scenario.group, simulated, zone, notes)
    for note in notes:
        sys.stderr.write(f"note: {note}\n")
    if plot:
        drawing.write(draw(simulated, view.title(), zone), plot)
    if output is Simulation.CSV:
        sys.stdout.write(view.to_csv())
        return
    console = out.stdout()
    width = console.width if console.is_terminal else 100
    shown = view.show(width, ascii_only=console.options.ascii_only)
    out.report(view.to_dict(), Format(output.value), *shown)


def _zone(name: str) -> ZoneInfo:
    try:
        return ZoneInfo(name)
    except (KeyError, ValueError, OSError):
        hint = "write one such as UTC or Europe/Zurich"
        raise CliError(f"there is no time zone {name!r}", Exit.USAGE, hint=hint) from None
