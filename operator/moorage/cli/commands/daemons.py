"""`moorage run`, `moorage configd`, `moorage hostd`: the programs that serve. Their options are their own packages'."""

from __future__ import annotations

from typing import Any

import typer

PASS_ON: dict[str, Any] = {"allow_extra_args": True, "ignore_unknown_options": True, "help_option_names": []}
"""Settings of a command that hands on its arguments, --help included, as they are."""


def hostd(arguments: typer.Context) -> None:
    """Run the embedded hosting service: servers as process trees of this machine. See `moorage hostd --help`."""
    from moorage.hostd.__main__ import main

    raise typer.Exit(main(arguments.args))
