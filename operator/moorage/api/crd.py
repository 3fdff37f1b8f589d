"""CustomResourceDefinitions made from the models: `python -m moorage.api.crd --check crds/` or `--write crds/`."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import yaml

from moorage.api.base import Model
from moorage.api.kinds import KINDS, Column, KindInfo
from moorage.api.names import GROUP, VERSION
from moorage.api.rules import VALIDATIONS
from moorage.api.schema import Schema, of_status, structural_schema

_HEADER = "# Generated from the models by `python -m moorage.api.crd --write crds/`; change those, not this.\n"
_TYPE_FIELDS: Schema = {
    "apiVersion": {"description": "The group and version of this kind: moorage.dev/v1alpha1.", "type": "string"},
    "kind": {"description": "The kind, in CamelCase.", "type": "string"},
    "metadata": {"type": "object"},
}
NO_STATUS_YET: Schema = {"observedGeneration": -1}
"""The status of a new object, so that no tool takes it for finished before anyone has looked at it."""


def object_schema(info: KindInfo) -> Schema:
    """The `openAPIV3Schema` of a kind."""
    whole = structural_schema(info.model, worded=info.worded)
    spec, status = whole["properties"]["spec"], of_status(whole["properties"]["status"])
    status["properties"]["observedGeneration"]["default"] = -1
    status["default"] = NO_STATUS_YET
    schema: Schema = {
        "description": whole["description"],
        "type": "object",
        "required": ["spec"],
        "properties": {
            **_TYPE_FIELDS,
            "spec": {"description": _docstring(info.model, "spec"), **_rest(spec)},
            "status": {"description": _docstring(info.model, "status"), **_rest(status)},
        },
    }
    if VALIDATIONS in whole:
        schema[VALIDATIONS] = whole[VALIDATIONS]
    return schema


def crd(info: KindInfo) -> dict[str, Any]:
    """The CustomResourceDefinition of a kind."""
    subresources: dict[str, Any] = {"status": {}}
    if info.scale:
        subresources["scale"] = {
            "specReplicasPath": ".spec.scale.replicas",
            "statusReplicasPath": ".status.scale.replicas",
            "labelSelectorPath": ".status.selector",
        }
    return {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": f"{info.plural}.{GROUP}"},
        "spec": {
            "group": GROUP,
            "scope": "Namespaced" if info.namespaced else "Cluster",
            "names": {
                "kind": info.kind,
                "listKind": f"{info.kind}List",
                "plural": info.plural,
                "singular": info.kind.lower(),
                "shortNames": [info.short_name],
                "categories": ["moorage"],
            },
            "versions": [
                {
                    "name": VERSION,
                    "served": True,
                    "storage": True,
                    "subresources": subresources,
                    "additionalPrinterColumns": [_column(c) for c in info.columns],
                    "schema": {"openAPIV3Schema": object_schema(info)},
                }
            ],
        },
    }


def crds() -> tuple[dict[str, Any], ...]:
    """The CustomResourceDefinitions of all kinds."""
    return tuple(crd(info) for info in KINDS)


def files() -> dict[str, str]:
    """The content of each file in `crds/`, by name."""
    return {
        f"{GROUP}_{info.plural}.yaml": _HEADER
        + yaml.dump(crd(info), Dumper=_Dumper, sort_keys=False, width=120, allow_unicode=True)
        for info in KINDS
    }


class _Dumper(yaml.SafeDumper):
    def ignore_aliases(self, data: Any) -> bool:
        """Nothing is written as an anchor: kubectl reads them, people do not."""
        return True


def _docstring(model: type[Model], field: str) -> str:
    return str(getattr(model.model_fields[field].annotation, "__doc__", ""))


def _rest(schema: Schema) -> Schema:
    return {k: v for k, v in schema.items() if k != "description"}


def _column(column: Column) -> dict[str, Any]:
    entry: dict[str, Any] = {
        "name": column.name,
        "type": column.type,
        "jsonPath": column.path,
        "description": column.description,
    }
    return {**entry, "priority": 1} if column.wide else entry


def outdated(folder: Path, wanted: dict[str, str], pattern: str) -> list[str]:
    """Names of the files in `folder` that are missing, different, or (by `pattern`) not wanted."""
    stray = {p.name for p in folder.glob(pattern)} - wanted.keys()
    return sorted(
        stray | {n for n, text in wanted.items() if not (folder / n).is_file() or (folder / n).read_text() != text}
    )


def main(argv: Sequence[str] | None = None) -> int:
    """Check or write the files; 1 if `--check` finds a difference."""
    parser = argparse.ArgumentParser(prog="python -m moorage.api.crd", description=__doc__)
    action = parser.add_mutually_exclusive_group(required=True)
    action.add_argument("--check", metavar="DIR", type=Path, help="compare the files in DIR with the models")
    action.add_argument("--write", metavar="DIR", type=Path, help="write the files into DIR")
    args = parser.parse_args(argv)
    folder: Path = args.check or args.write
    wanted = files()
    changed = outdated(folder, wanted, f"{GROUP}_*.yaml")
    if args.check:
        if changed:
            sys.stderr.write(f"{', '.join(changed)} in {folder} differ from the models; run make generate\n")
        return 1 if changed else 0
    folder.mkdir(parents=True, exist_ok=True)
    for name in changed:
        if name in wanted:
            (folder / name).write_text(wanted[name])
        else:
            (folder / name).unlink()
    return 0


if __name__ == "__main__":
    sys.exit(main())
