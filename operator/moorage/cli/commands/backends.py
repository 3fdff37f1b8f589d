"""`moorage backends`: the types of hosting service that this installation knows."""

from __future__ import annotations

from moorage.cli.options import Format, Output


def backends(output: Output = Format.TABLE) -> None:
    """List the types of hosting service that are installed, with the settings that each takes."""
    from moorage.cli import output as out
    from moorage.cli.views.backends import describe, table
    from moorage.hosting.registry import backend_types

    found = [describe(name, factory) for name, factory in sorted(backend_types().items())]
    out.report(found, output, table(found))
