"""`moorage demo`: everything at once, on this machine."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated

import typer


def demo(
    once: Annotated[
        bool, typer.Option("--once", help="Verify everything, clean up and exit. Also with CI=true.")
    ] = False,
    context: Annotated[
        str,
        typer.Option(help="Use this context of your kubeconfig instead of a cluster of its own.", show_default=False),
    ] = "",
    kubeconfig: Annotated[
        Path | None, typer.Option(help="The kubeconfig of --context. Default: as kubectl.", show_default=False)
    ] = None,
) -> None:
    """Show the whole on this machine with real processes: placed, created in parallel, configured in two steps."""
    from moorage.cli.demo.run import Settings, run

    ci = os.environ.get("CI", "").lower() in ("1", "true", "yes")
    raise typer.Exit(run(Settings(once=once or ci, context=context, kubeconfig=kubeconfig)))
