"""`moorage backends`: the types of hosting service that this installation knows."""

from __future__ import annotations

from moorage.cli.options import Format, Output


def backends(output: Output = Format.TABLE) -> None:
    """List the types of hosting service: where each comes from, what it can do, and the settings that it takes."""
    from moorage.cli import output as out
    from moorage.cli.views.backends import describe, table
    from moorage.hosting.registry import registry

    found = [describe(name, registry()) for name in registry().names]
    out.report(found, output, table(found))
