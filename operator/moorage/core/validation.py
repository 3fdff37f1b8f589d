"""What is wrong in a VirtualServerConfig, beyond what its schema and CEL rules refuse: each with what to write instead.

Messages name items, files, steps and outputs, never a value.
"""

from __future__ import annotations

import posixpath
import re
from collections.abc import Iterable, Iterator

import re2

from moorage.api.virtualserverconfig import Item, Output, OutputSource, Readiness, VirtualServerConfigSpec
from moorage.core.configuration.compiled import CompiledConfig, Part, compile_config, probe_texts
from moorage.core.configuration.words import Reason
from moorage.core.dependencies.order import components, shortest_circle
from moorage.core.problems import Problem
from moorage.core.template import Template, nearest, parse_script, parse_text, unknown_references

__all__ = ["Problem", "validate"]

DUPLICATE = "Duplicate"
INVALID = "Invalid"
INVALID_PATTERN = "InvalidPattern"
NO_SUCH_STEP = "NoSuchStep"
RESERVED = "Reserved"

_RESERVED_NAMES = frozenset(
    {"BASH_ENV", "CDPATH", "ENV", "GLOBIGNORE", "HOME", "IFS", "OLDPWD", "PATH", "PWD", "SHELL", "SHELLOPTS", "_"}
)
_RESERVED_PREFIXES = ("LD_", "MOORAGE_", "PYTHON")
_AGENT_DIRECTORY = "/var/lib/moorage"
_PORT = re.compile(r"[0-9]{1,5}", re.ASCII)


def validate(spec: VirtualServerConfigSpec) -> list[Problem]:
    """All problems of a configuration, sorted; empty where it is valid."""
    config = compile_config(spec)
    found = [
        *_duplicates("spec.configuration", "item", (item.name for item in spec.configuration)),
        *_duplicates("spec.files", "file", (file.path for file in spec.files)),
        *_duplicates("spec.steps", "step", (step.name for step in spec.steps)),
        *_duplicates("spec.outputs", "output", (output.name for output in spec.outputs)),
        *_duplicates("spec.settings", "setting for", (setting.service_type for setting in spec.settings)),
        *(problem for item in spec.configuration for problem in _item(item, config)),
        *_cycles(config),
        *_files(config),
        *_steps(config),
        *(problem for output, part in config.outputs for problem in _output(output, part, config)),
    ]
    if spec.readiness is not None:
        found += _readiness(spec.readiness, config)
    return sorted(set(found))


def _duplicates(path: str, what: str, names: Iterable[str]) -> Iterator[Problem]:
    seen: set[str] = set()
    for index, name in enumerate(names):
        if name in seen:
            message = f"there is another {what} {name}; give each its own name, or remove one"
            yield Problem(f"{path}[{index}]", DUPLICATE, message)
        seen.add(name)


def _item(item: Item, config: CompiledConfig) -> Iterator[Problem]:
    path = f"spec.configuration[{item.name}]"
    if item.name in _RESERVED_NAMES or item.name.startswith(_RESERVED_PREFIXES):
        message = f"{item.name} would change how every shell runs; items are environment variables: choose another name"
        yield Problem(path, RESERVED, message)
    yield from _one_of(path, {"value": item.value, "valueFrom": item.value_from, "template": item.template})
    if item.value is not None and item.default is not None:
        yield Problem(f"{path}.default", INVALID, "a value is always known; remove default, or value")
    for name, text in (("value", item.value), ("default", item.default), ("template", item.template)):
        if text is not None and "\0" in text:
            yield Problem(f"{path}.{name}", Reason.NOT_TEXT, "holds a NUL; an environment variable cannot: remove it")
    if item.template is not None:
        yield from _template(f"{path}.template", parse_text(item.template), config, script=False)
    source = item.value_from
    if source is None:
        return
    sources: dict[str, object] = {"output": source.output, "secretKeyRef": source.secret_key_ref}
    sources |= {"configMapKeyRef": source.config_map_key_ref, "field": source.field}
    yield from _one_of(f"{path}.valueFrom", sources)
    if source.output is not None:
        yield from _selection(f"{path}.valueFrom.output", source.output)


def _selection(path: str, source: OutputSource) -> Iterator[Problem]:
    if source.separator is not None and source.select != "Join":
        message = "a separator goes with select: Join only; write select: Join, or remove separator"
        yield Problem(f"{path}.separator", INVALID, message)


def _one_of(path: str, fields: dict[str, object]) -> Iterator[Problem]:
    there = [name for name, value in fields.items() if value is not None]
    if len(there) != 1:
        has = f"has {' and '.join(there)}" if there else "has none"
        yield Problem(path, INVALID, f"{has}; write exactly one of {', '.join(fields)}")


def _template(path: str, template: Template, config: CompiledConfig, *, script: bool) -> Iterator[Problem]:
    for problem in template.problems:
        yield Problem(path, Reason.INVALID_TEMPLATE, str(problem))
    for problem in unknown_references(template, config.items.keys(), script=script):
        yield Problem(path, Reason.NO_SUCH_ITEM, str(problem))


def _cycles(config: CompiledConfig) -> Iterator[Problem]:
    needs = {name: [need for need in c.needs if need in config.items] for name, c in config.items.items()}
    for circle in components(needs):
        if len(circle) > 1 or circle[0] in needs[circle[0]]:
            way = " -> ".join(shortest_circle(needs, circle, circle[0]))
            message = f"{way}: an item cannot be made of itself; take one of these out of the other's template"
            yield Problem(f"spec.configuration[{circle[0]}].template", Reason.ITEM_CYCLE, message)


def _files(config: CompiledConfig) -> Iterator[Problem]:
    plain: dict[str, str] = {}
    for file, part in config.files:
        path = f"spec.files[{file.path}]"
        normal = posixpath.normpath(file.path)
        if normal != file.path:
            yield Problem(f"{path}.path", INVALID, f"write the path without . and ..: {normal}")
            if normal in plain:
                yield Problem(path, DUPLICATE, f"is the same file as {plain[normal]}; remove one")
        plain.setdefault(normal, file.path)
        if normal == _AGENT_DIRECTORY or normal.startswith(_AGENT_DIRECTORY + "/"):
            yield Problem(f"{path}.path", RESERVED, f"{_AGENT_DIRECTORY} is the agent's own; choose another directory")
        yield from _template(f"{path}.content", part.template, config, script=False)
    for normal in plain:
        above = next((parent for parent in _parents(normal) if parent in plain), None)
        if above is not None:
            message = f"{above} is a file as well, so nothing can be within it; change one of the two paths"
            yield Problem(f"spec.files[{plain[normal]}].path", INVALID, message)


def _parents(path: str) -> Iterator[str]:
    while (path := posixpath.dirname(path)) not in {"/", ""}:
        yield path


def _steps(config: CompiledConfig) -> Iterator[Problem]:
    for step, part in config.steps:
        path = f"spec.steps[{step.name}]"
        yield from _script(f"{path}.script", step.script, part, config)


def _script(path: str, text: str, part: Part, config: CompiledConfig) -> Iterator[Problem]:
    if "\0" in text:
        yield Problem(path, Reason.NOT_TEXT, "holds a NUL, which no shell reads; remove it")
    yield from _template(path, part.template, config, script=True)


def _output(output: Output, part: Part, config: CompiledConfig) -> Iterator[Problem]:
    path = f"spec.outputs[{output.name}]"
    yield from _one_of(path, {"command": output.command, "file": output.file, "field": output.field})
    if output.command is not None:
        yield from _script(f"{path}.command", output.command, part, config)
    steps = {step.name for step, _ in config.steps}
    for name in sorted(set(output.after) - steps):
        message = f"there is no step {name}{nearest(name, steps)}; name a step, or leave it out"
        yield Problem(f"{path}.after", NO_SUCH_STEP, message)
    for name in sorted({name for name in output.after if output.after.count(name) > 1}):
        yield Problem(f"{path}.after", DUPLICATE, f"names the step {name} more than once; once is enough")
    if output.pattern is not None:
        yield from _pattern(f"{path}.pattern", output.pattern)


def _pattern(path: str, pattern: str) -> Iterator[Problem]:
    options = re2.Options()
    options.log_errors = False
    try:
        re2.compile(pattern, options)
    except re2.error as error:
        detail = error.args[0] if error.args else ""
        why = detail.decode(errors="replace") if isinstance(detail, bytes) else str(detail)
        message = f"is no regular expression of RE2: {why}; RE2 knows no look-around and no back-references"
        yield Problem(path, INVALID_PATTERN, message)


def _readiness(readiness: Readiness, config: CompiledConfig) -> Iterator[Problem]:
    path = "spec.readiness"
    yield from _one_of(path, {"exec": readiness.exec, "tcp": readiness.tcp, "http": readiness.http})
    if readiness.exec is not None:
        template = parse_script(readiness.exec.command)
        yield from _template(f"{path}.exec.command", template, config, script=True)
    fields = ("tcp.host", "tcp.port") if readiness.tcp is not None else ("http.url",)
    for field, text in zip(fields, probe_texts(readiness), strict=False):
        template = parse_text(text)
        yield from _template(f"{path}.{field}", template, config, script=False)
        if field == "tcp.port" and not template.references and not _is_port(text):
            message = (
                'is no port; write a number from 1 to 65535 in quotes, such as "8080", or an item, such as "${port}"'
            )
            yield Problem(f"{path}.{field}", INVALID, message)


def _is_port(text: str) -> bool:
    return bool(_PORT.fullmatch(text)) and 1 <= int(text) <= 65535
