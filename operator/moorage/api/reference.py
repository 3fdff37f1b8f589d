"""The field reference in Markdown: `python -m moorage.api.reference --check FILE` or `--write FILE`."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from moorage.api.crd import object_schema
from moorage.api.kinds import KINDS, KindInfo
from moorage.api.names import API_VERSION
from moorage.api.rules import VALIDATIONS
from moorage.api.schema import Schema

_INTRO = f"""# API reference

<!-- Generated from the models by `python -m moorage.api.reference --write docs/reference/api.md`; change those. -->

The kinds of `{API_VERSION}`. `kubectl explain <kind> --recursive` shows the same fields. A field that is
not **required** may be left out. *Refused* says what the API server does not take, and what to write instead.
"""


def reference() -> str:
    """The whole page."""
    contents = "\n".join(f"- [{i.kind}](#{i.kind.lower()}) (`{i.short_name}`): {_summary(i)}" for i in KINDS)
    return "\n".join((_INTRO, contents, *(_kind(info) for info in KINDS)))


def _summary(info: KindInfo) -> str:
    return _cell(str(object_schema(info)["description"]))


def _kind(info: KindInfo) -> str:
    schema = object_schema(info)
    scope = "in a namespace" if info.namespaced else "in the whole cluster"
    lines = [f"\n## {info.kind}\n", f"{schema['description']}\n"]
    lines.append(f"Lives {scope}; plural `{info.plural}`, short name `{info.short_name}`, category `moorage`.\n")
    columns = ", ".join(f"`{c.name}`{' (wide)' if c.wide else ''}" for c in info.columns)
    lines.append(f"`kubectl get {info.short_name}` prints {columns}.\n")
    lines += [f"*Refused*: {_cell(v['message'])}." for v in schema.get(VALIDATIONS, ())]
    for part in ("spec", "status"):
        lines.append(f"\n### {info.kind}.{part}\n\n{schema['properties'][part]['description']}\n")
        lines += [f"*Refused*: {_cell(v['message'])}.\n" for v in schema["properties"][part].get(VALIDATIONS, ())]
        lines.append("| field | type | default | meaning |\n|---|---|---|---|")
        lines += [_row(*entry) for entry in _fields(schema["properties"][part], "")]
    return "\n".join(lines)


def _fields(schema: Schema, prefix: str) -> Iterator[tuple[str, Schema, bool]]:
    required = schema.get("required", ())
    for name, child in schema.get("properties", {}).items():
        if "description" not in child:
            continue  # it is described where it stands first
        path = f"{prefix}{name}"
        yield path, child, name in required
        inner = child.get("items", child)
        yield from _fields(inner, f"{path}{'[]' if 'items' in child else ''}.")


def _row(path: str, schema: Schema, required: bool) -> str:
    default = "**required**" if required else ""
    if "default" in schema:
        default = f"`{json.dumps(schema['default'], ensure_ascii=False)}`"
    refused = [*schema.get(VALIDATIONS, ()), *schema.get("items", {}).get(VALIDATIONS, ())]
    meaning = " ".join([str(schema.get("description", "")), *(f"*Refused*: {v['message']}." for v in refused)])
    return f"| `{path}` | {_type(schema)} | {default} | {_cell(meaning)} |"


def _type(schema: Schema) -> str:
    if "enum" in schema:
        return ", ".join(f"`{value}`" for value in schema["enum"])
    if schema.get("x-kubernetes-int-or-string"):
        return "number or string"
    if schema.get("x-kubernetes-preserve-unknown-fields"):
        return "any object"
    if schema["type"] == "array":
        return f"list of {_type(schema['items'])}"
    if "additionalProperties" in schema:
        return f"map of {_type(schema['additionalProperties'])}"
    return "time" if schema.get("format") == "date-time" else str(schema["type"])


def _cell(text: str) -> str:
    """Text within a table: `${x}`, `<x>` and `|` as they are."""
    return text.replace("|", "\\|").replace("<", "&lt;").replace("\n", " ")


def main(argv: Sequence[str] | None = None) -> int:
    """Check or write the page; 1 if `--check` finds a difference."""
    parser = argparse.ArgumentParser(prog="python -m moorage.api.reference", description=__doc__)
    action = parser.add_mutually_exclusive_group(required=True)
    action.add_argument("--check", metavar="FILE", type=Path, help="compare FILE with the models")
    action.add_argument("--write", metavar="FILE", type=Path, help="write FILE")
    args = parser.parse_args(argv)
    page = reference() + "\n"
    if args.check:
        current: Any = args.check.read_text() if args.check.is_file() else None
        if current != page:
            sys.stderr.write(f"{args.check} differs from the models; run make generate\n")
        return int(current != page)
    args.write.parent.mkdir(parents=True, exist_ok=True)
    args.write.write_text(page)
    return 0


if __name__ == "__main__":
    sys.exit(main())
