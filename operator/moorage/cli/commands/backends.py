"""`moorage backends`: the types of hosting service that this installation knows."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated

import typer

from moorage.cli.options import Format


class Listing(StrEnum):
    """How the types are printed."""

    TABLE = "table"
    WIDE = "wide"
    JSON = "json"
    YAML = "yaml"


def backends(
    output: Annotated[
        Listing, typer.Option("--output", "-o", help="How it is printed; wide adds the names of all settings.")
    ] = Listing.TABLE,
) -> None:
    """List the types of hosting service: where each comes from, what it can do, and the settings that it takes."""
    from moorage.cli import output as out
    from moorage.cli.views.backends import describe, table
    from moorage.hosting.registry import registry

    found = [describe(name, registry()) for name in registry().names]
    wide = output is Listing.WIDE
    out.report(found, Format.TABLE if wide else Format(output.value), table(found, wide=wide))
