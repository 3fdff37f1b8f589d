"""Where text goes: reports to standard output, everything else to standard error."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from typing import Any

from rich.console import Console, RenderableType

from moorage.cli.options import DocumentFormat, Format


def stdout() -> Console:
    """The console of reports. Without a terminal it writes plain text and does not cut lines."""
    return _console(sys.stdout)


def stderr() -> Console:
    """The console of everything that is not a report."""
    return _console(sys.stderr)


def _console(stream: Any) -> Console:
    # Without a terminal, rich would fold lines at 80 columns, and what reads them would see halves.
    width = None if stream.isatty() else 100_000
    return Console(file=stream, width=width, highlight=False, soft_wrap=width is not None)


def document(data: Any, form: Format | DocumentFormat) -> None:
    """Print a document as JSON or YAML."""
    if form.value == Format.JSON.value:
        sys.stdout.write(json.dumps(data, indent=2, ensure_ascii=False) + "\n")
    else:
        sys.stdout.write(_yaml(data))
    sys.stdout.flush()


def documents(objects: Sequence[Any], form: DocumentFormat) -> None:
    """Print objects so that kubectl can apply them: documents of one YAML stream, or one List in JSON."""
    if form is DocumentFormat.JSON:
        document({"apiVersion": "v1", "kind": "List", "items": list(objects)}, form)
        return
    sys.stdout.write("---\n".join(_yaml(obj) for obj in objects))
    sys.stdout.flush()


def _yaml(data: Any) -> str:
    """YAML with texts of several lines as such, so that files and scripts can be read."""
    import yaml

    class Dumper(yaml.SafeDumper):
        pass

    def text(dumper: yaml.SafeDumper, value: str) -> yaml.ScalarNode:
        return dumper.represent_scalar("tag:yaml.org,2002:str", value, style="|" if "\n" in value else None)

    Dumper.add_representer(str, text)
    return yaml.dump(data, Dumper=Dumper, sort_keys=False, allow_unicode=True, width=120)


def report(data: Any, form: Format, *shown: RenderableType) -> None:
    """Print a report: the renderables for people, or the data they were made from."""
    if form is not Format.TABLE:
        document(data, form)
        return
    write(stdout(), *shown)


def write(console: Console, *shown: RenderableType) -> None:
    """Print renderables; without a terminal no line ends with blanks."""
    if console.is_terminal:
        for part in shown:
            console.print(part)
        return
    with console.capture() as capture:
        for part in shown:
            console.print(part)
    # Tables are padded to the width of their longest line, which may be very long.
    console.file.write("\n".join(line.rstrip(" ") for line in capture.get().split("\n")))
    console.file.flush()
