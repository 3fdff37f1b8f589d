"""The installed types of hosting service, with the settings that each takes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from pydantic import BaseModel
from rich.markup import escape
from rich.table import Table

from moorage.hosting.registry import Registry


def describe(name: str, types: Registry) -> dict[str, Any]:
    """One type: where it comes from, what it can do, and its settings for services and for servers."""
    source = types.source(name)
    found: dict[str, Any] = {"type": name, "package": source.distribution, "version": source.version}
    if source.problem:
        return {**found, "problem": source.problem}
    factory = types.get(name)
    return {
        **found,
        "abilities": sorted(str(ability) for ability in factory.abilities),
        "conditionalAbilities": [
            {"ability": str(ability), "setting": setting} for ability, setting in sorted(factory.conditional.items())
        ],
        "settings": _fields(factory.settings_model),
        "serverSettings": _fields(factory.server_settings_model),
    }


def _fields(model: type[BaseModel]) -> list[dict[str, Any]]:
    schema = model.model_json_schema(by_alias=True)
    required = set(schema.get("required", ()))
    return [
        {"name": name, "required": name in required, "description": field.get("description", "")}
        for name, field in schema.get("properties", {}).items()
    ]


def table(found: Sequence[dict[str, Any]], *, wide: bool = False) -> Table:
    """The types as a table. `wide`: with their settings, which take far more room than a terminal has."""
    shown = Table(box=None, pad_edge=False, header_style="bold", padding=(0, 2, 0, 0))
    parts = ("settings", "serverSettings") if wide else ()
    for column in ("TYPE", "PACKAGE", "ABILITIES", *("SETTINGS", "SETTINGS OF SERVERS")[: len(parts)]):
        shown.add_column(column, overflow="fold")
    for one in found:
        package = f"{one['package']} {one['version']}".strip()
        if "problem" in one:
            shown.add_row(one["type"], package, escape(one["problem"]))
            continue
        shown.add_row(one["type"], package, _abilities(one), *(_names(one[part]) for part in parts))
    return shown


def _abilities(one: dict[str, Any]) -> str:
    """`Power, Images (by imageOwners)`: what it can do, and what the settings in parentheses decide."""
    decided: dict[str, list[str]] = {}
    for each in one["conditionalAbilities"]:
        decided.setdefault(each["setting"], []).append(each["ability"])
    by = [f"{', '.join(abilities)} (by {setting})" for setting, abilities in decided.items()]
    return "; ".join(part for part in (", ".join(one["abilities"]), *by) if part) or "-"


def _names(fields: Sequence[dict[str, Any]]) -> str:
    return ", ".join(field["name"] + ("" if field["required"] else "?") for field in fields) or "-"
