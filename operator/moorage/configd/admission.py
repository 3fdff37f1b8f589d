"""What of an agent's state is taken. Pure: a bad output is dropped and named, everything else goes on."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any

import re2

from moorage.api.channel import (
    MAX_INLINE_BYTES,
    MAX_OUTPUTS,
    Document,
    DocumentOutput,
    OutputReport,
    Problem,
    StateReport,
)

MAX_INLINE_TOTAL = 32 * 1024
"""All values in one status together have at most so many bytes; the rest go to the Secret."""

MAX_MATCH_WORK = 2**26
"""Instructions of a compiled pattern times bytes of a value. RE2 is linear in both, and all agents wait for a match:
this takes a fifth of a second at the worst, and a value of 4 KiB may have a pattern of 16,384 instructions."""

UNDECLARED = "Undeclared"
PATTERN_MISMATCH = "PatternMismatch"
TOO_LARGE = "TooLarge"
NOT_TEXT = "NotText"
DUPLICATE = "Duplicate"
INVALID_PATTERN = "InvalidPattern"
PATTERN_TOO_COSTLY = "PatternTooCostly"

_MESSAGES = {
    UNDECLARED: "the configuration declares no such output",
    PATTERN_MISMATCH: "the value does not match the output's pattern",
    NOT_TEXT: "the value has a NUL character",
    DUPLICATE: "the state names the output twice",
    INVALID_PATTERN: "the output's pattern is not a regular expression (RE2)",
    PATTERN_TOO_COSTLY: "the pattern is too large for so long a value; write fewer or smaller repetitions {n}",
}


@dataclass(frozen=True, slots=True)
class Admitted:
    """A state as it is recorded."""

    agent: dict[str, Any] = field(repr=False)
    """The full shape of `status.agent`."""
    values: Mapping[str, str] = field(repr=False)
    """The values that go to the Secret, by output."""
    versions: Mapping[str, int]
    """Their versions."""
    problems: tuple[Problem, ...] = ()


def admit(report: StateReport, document: Document | None, served: int, joined_at: str) -> Admitted:
    """Check a state against the configuration as of revision `served`, the highest that the session can have got.

    A value must match its whole pattern (RE2, as by `re2.fullmatch`), be text without NUL, and have at most `maxBytes`
    bytes of UTF-8. A revision above `served` counts as none.
    """
    declared = {output.name: output for output in document.outputs} if document else {}
    rows, values, versions, problems = _outputs(report.outputs, declared)
    steps = {step.name for step in document.steps} if document else set()
    known = [step for step in report.steps if step.name in steps]
    problems += [
        Problem(step=step.name, reason=UNDECLARED, message="the configuration declares no such step")
        for step in report.steps
        if step.name not in steps
    ]
    agent: dict[str, Any] = {
        "sequence": report.sequence,
        "deliveredRevision": report.delivered_revision if report.delivered_revision <= served else 0,
        "acknowledgedRevision": _acknowledged(report, served),
        "ready": report.ready,
    }
    if joined_at:
        agent["joinedAt"] = joined_at
    if rows:
        agent["outputs"] = rows
    if known:
        agent["steps"] = [step.to_dict() for step in {step.name: step for step in known}.values()]
    message = _message(report, served)
    if message:
        agent["message"] = message
    return Admitted(agent, values, versions, tuple(problems))


def _acknowledged(report: StateReport, served: int) -> int:
    claimed = report.acknowledged_revision
    return claimed if claimed <= min(served, report.delivered_revision) else 0


def _message(report: StateReport, served: int) -> str:
    claimed = max(report.delivered_revision, report.acknowledged_revision)
    if claimed > served:
        return f"the agent names revision {claimed}, which it was never served"
    return report.message or ""


def _outputs(
    reports: Iterable[OutputReport], declared: Mapping[str, DocumentOutput]
) -> tuple[list[dict[str, Any]], dict[str, str], dict[str, int], list[Problem]]:
    rows: list[dict[str, Any]] = []
    strangers: list[dict[str, Any]] = []
    values: dict[str, str] = {}
    versions: dict[str, int] = {}
    problems: list[Problem] = []
    seen: set[str] = set()
    room = MAX_INLINE_TOTAL
    for report in reports:
        output = declared.get(report.name)
        error = DUPLICATE if report.name in seen else _refusal(report, output)
        if error:
            message = _MESSAGES.get(error) or f"the value has more than {output.max_bytes if output else 0} bytes"
            problems.append(Problem(output=report.name, reason=error, message=message))
            if error != DUPLICATE:
                (rows if output else strangers).append(
                    {"name": report.name, "version": report.version, "error": error, "message": message}
                )
            seen.add(report.name)
            continue
        seen.add(report.name)
        row: dict[str, Any] = report.to_dict()
        row.pop("value", None)
        value = report.value
        if value is not None and output is not None:
            size = len(value.encode())
            row["inSecret"] = output.sensitive or size > min(MAX_INLINE_BYTES, room)
            if row["inSecret"]:
                values[report.name], versions[report.name] = value, report.version
            else:
                row["value"] = value
                room -= size
        rows.append(row)
    return (rows + strangers)[:MAX_OUTPUTS], values, versions, problems


def _refusal(report: OutputReport, output: DocumentOutput | None) -> str:
    """Why an output is not taken, as one word; empty where it is."""
    if output is None:
        return UNDECLARED
    if report.value is None:
        return ""
    if len(report.value.encode()) > output.max_bytes:
        return TOO_LARGE
    if "\0" in report.value:
        return NOT_TEXT
    if output.pattern is None:
        return ""
    pattern = compiled(output.pattern)
    if pattern is None:
        return INVALID_PATTERN
    if pattern.programsize * len(report.value) > MAX_MATCH_WORK:
        return PATTERN_TOO_COSTLY
    return "" if pattern.fullmatch(report.value) else PATTERN_MISMATCH


@lru_cache(maxsize=1024)
def compiled(pattern: str) -> Any:
    """The compiled RE2 pattern; None where it is not one. RE2 needs time linear in the value, whatever the pattern."""
    options = re2.Options()
    options.log_errors = False
    try:
        return re2.compile(pattern, options=options)
    except re2.error:
        return None
