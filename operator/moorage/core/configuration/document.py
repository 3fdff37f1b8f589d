"""Putting the channel's document together, within its size."""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import timedelta
from typing import Any

from moorage.api.virtualserverconfig import File, Output, Readiness, Step
from moorage.core.configuration.compiled import Part
from moorage.core.configuration.facts import ServerInput
from moorage.core.configuration.resolve import Resolution
from moorage.core.configuration.words import MAX_DOCUMENT_BYTES, Reason, shorten
from moorage.core.problems import Problem
from moorage.core.template import RenderedTooLargeError


def assemble(
    given: ServerInput, resolution: Resolution, texts: Mapping[str, str]
) -> tuple[dict[str, Any], tuple[Problem, ...]]:
    """The channel's document without its revision, and what could not be put into it.

    Where the whole would be larger than a Secret can hold, the largest files are left out, one problem each.
    """
    config = given.config
    env = config.environment()
    files, problems = _files(given, texts)
    document: dict[str, Any] = {
        "server": _server(given),
        "pending": _pending(given, resolution),
        "items": {name: texts[name] for name in sorted(env) if name in texts},
        "files": files,
        "steps": [_step(step, part, texts) for step, part in config.steps if not part.broken],
        "outputs": [_output(o, part, resolution, texts) for o, part in config.outputs if not part.broken],
    }
    if config.readiness is not None and not config.readiness[1].broken:
        document["readiness"] = _readiness(*config.readiness, texts)
    unheld = {n: t for n, t in texts.items() if resolution.items[n].definition and n not in document["items"]}
    problems += _fit(document, unheld)
    return document, tuple(problems)


def encode_document(document: Mapping[str, Any]) -> bytes:
    """The bytes of a document: compact UTF-8 JSON, the same for the same document."""
    return json.dumps(document, ensure_ascii=False, separators=(",", ":")).encode()


def _server(given: ServerInput) -> dict[str, Any]:
    own = given.own
    server: dict[str, Any] = {"name": own.name, "namespace": own.namespace}
    server |= {"group": own.group or "", "member": own.member or "", "ordinal": own.ordinal}
    fields = {output.field for output, _ in given.config.outputs}
    if "address" in fields and own.address is not None:
        server["address"] = own.address
    if "id" in fields and own.provider_id is not None:
        server["id"] = own.provider_id
    return server


def _pending(given: ServerInput, resolution: Resolution) -> list[dict[str, str]]:
    """What is waited for, in words that do not change while the wait goes on: each change would be a new revision."""
    config = given.config
    pending = []
    for item in resolution.pending:
        needs = [need for need in config.items[item.name].needs if need in resolution.items]
        waits = ", ".join(f"item {need}" for need in needs if not resolution.items[need].known)
        pending.append({"item": item.name, "waitingFor": waits or item.source})
    parts = [part for _, part in (*config.files, *config.steps, *config.outputs)]
    parts += [config.readiness[1]] if config.readiness else []
    unknown = sorted({name for part in parts for name in part.unknown})
    return pending + [{"item": name, "waitingFor": f"there is no item {name}"} for name in unknown]


def _waits(part: Part, texts: Mapping[str, str]) -> list[str]:
    return [name for name in part.all_names if name not in texts]


def _files(given: ServerInput, texts: Mapping[str, str]) -> tuple[list[dict[str, Any]], list[Problem]]:
    files: list[dict[str, Any]] = []
    problems: list[Problem] = []
    for file, part in given.config.files:
        if part.broken:
            continue
        try:
            files.append(_file(file, part, texts))
        except RenderedTooLargeError as error:
            message = f"file {file.path} would have {error}; make it smaller or fetch it in a step"
            problems.append(Problem(f"spec.files[{file.path}].content", Reason.TOO_LARGE, message))
    return files, problems


def _file(file: File, part: Part, texts: Mapping[str, str]) -> dict[str, Any]:
    rendered: dict[str, Any] = {"path": file.path, "mode": file.mode, "owner": file.owner}
    waits = _waits(part, texts)
    if waits:
        return rendered | {"pending": waits}
    return rendered | {"content": part.template.render(texts, MAX_DOCUMENT_BYTES), "pending": []}


def _step(step: Step, part: Part, texts: Mapping[str, str]) -> dict[str, Any]:
    return {
        "name": step.name,
        "script": part.template.literal,
        "env": list(part.needs),
        "onChange": step.on_change,
        "timeoutSeconds": _seconds(step.timeout),
        "retries": step.retries,
        "pending": _waits(part, texts),
    }


def _output(output: Output, part: Part, resolution: Resolution, texts: Mapping[str, str]) -> dict[str, Any]:
    """A command over a sensitive item gives a sensitive output, as a template would."""
    rendered: dict[str, Any] = {"name": output.name}
    if output.command is not None:
        rendered["command"] = part.template.literal
    elif output.file is not None:
        rendered["file"] = output.file
    else:
        rendered["field"] = output.field
    rendered |= {"env": list(part.needs), "after": list(output.after)}
    rendered |= {"refreshSeconds": _seconds(output.refresh), "maxBytes": output.max_bytes}
    rendered["sensitive"] = output.sensitive or any(resolution.items[name].sensitive for name in part.needs)
    if output.pattern is not None:
        rendered["pattern"] = output.pattern
    return rendered | {"pending": _waits(part, texts)}


def _readiness(readiness: Readiness, part: Part, texts: Mapping[str, str]) -> dict[str, Any]:
    """The host, port and URL keep their `${item}`; the agent replaces it, as the shell does in a command."""
    rendered: dict[str, Any] = {}
    if readiness.exec is not None:
        rendered["exec"] = {"command": part.template.literal}
    elif readiness.tcp is not None:
        rendered["tcp"] = {"host": readiness.tcp.host, "port": readiness.tcp.port}
    elif readiness.http is not None:
        rendered["http"] = {"url": readiness.http.url}
    return rendered | {
        "env": list(part.needs),
        "periodSeconds": _seconds(readiness.period),
        "timeoutSeconds": _seconds(readiness.timeout),
        "failureThreshold": readiness.failure_threshold,
        "pending": _waits(part, texts),
    }


def _seconds(duration: timedelta) -> int | float:
    seconds = duration.total_seconds()
    return int(seconds) if seconds == int(seconds) else seconds


def _fit(document: dict[str, Any], unheld: Mapping[str, str]) -> list[Problem]:
    """Leave out the largest files until the document, with the values kept beside it, is small enough."""
    problems: list[Problem] = []
    beside = len(encode_document(unheld))
    least = len(encode_document(document | {"files": []})) + beside
    if least > MAX_DOCUMENT_BYTES:
        return [_oversize({**document["items"], **unheld}, least)]
    while (size := len(encode_document(document)) + beside) > MAX_DOCUMENT_BYTES:
        largest = max(document["files"], key=lambda file: (len(file.get("content", "").encode()), file["path"]))
        document["files"] = [file for file in document["files"] if file is not largest]
        message = (
            f"the configuration has {size} bytes, at most {MAX_DOCUMENT_BYTES} are allowed; file {largest['path']} is "
            f"left out with its {len(largest.get('content', '').encode())} bytes: make it smaller or fetch it in a step"
        )
        problems.append(Problem(f"spec.files[{largest['path']}]", Reason.TOO_LARGE, shorten(message)))
    return problems


def _oversize(values: Mapping[str, str], size: int) -> Problem:
    largest = max(values, key=lambda name: (len(values[name].encode()), name), default="none")
    message = (
        f"items and scripts have {size} bytes, at most {MAX_DOCUMENT_BYTES} are allowed, so the configuration is not "
        f"delivered; the largest item is {largest}: make values and scripts smaller"
    )
    return Problem("spec", Reason.TOO_LARGE, message)
