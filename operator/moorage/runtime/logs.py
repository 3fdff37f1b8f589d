"""Structured logs: one line a record, as text for people or JSON for machines.

Fields come from `extra=fields(...)` and from the context (`bound`). Sensitive values are never passed to a logger: no
filter could find them all. Tracebacks show code and messages, never the values of variables.
"""

from __future__ import annotations

import json
import logging
import random
import re
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from datetime import UTC, datetime
from typing import Any, Literal, TextIO

_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]")
_context: ContextVar[Mapping[str, Any]] = ContextVar("moorage_log_fields", default={})  # noqa: B039 - never mutated

Format = Literal["text", "json"]

_QUIET = {
    "kopf": logging.WARNING,
    # Warns at each start that it leaves signals alone in its thread: that is what it is there for.
    "kopf._core.reactor.running": logging.ERROR,
    "aiohttp.access": logging.WARNING,
    "asyncio": logging.WARNING,
    "urllib3": logging.WARNING,
    "kubernetes": logging.WARNING,
}


def configure(format_: Format = "text", level: str = "info", *, stream: TextIO | None = None) -> None:
    """Send all logging to `stream` (stderr) in the given format. Raises ValueError for an unknown level.

    Libraries speak from WARNING on, unless the level is debug.
    """
    number = logging.getLevelNamesMapping().get(level.upper())
    if number is None:
        raise ValueError(f"unknown log level {level!r}: use debug, info, warning or error")
    handler = logging.StreamHandler(stream or sys.stderr)
    handler.setFormatter(JsonFormatter() if format_ == "json" else TextFormatter())
    root = logging.getLogger()
    for old in list(root.handlers):
        root.removeHandler(old)
    root.addHandler(handler)
    root.setLevel(number)
    for name, quiet in _QUIET.items():
        logger = logging.getLogger(name)
        logger.setLevel(number if number <= logging.DEBUG else max(quiet, number))
        # Kopf installs handlers of its own where it thinks that nobody else does.
        for old in list(logger.handlers):
            logger.removeHandler(old)
        logger.propagate = True


def fields(**values: Any) -> dict[str, Any]:
    """For `extra=`: the record's own fields, in camelCase."""
    return {"fields": values}


@contextmanager
def bound(**values: Any) -> Iterator[None]:
    """All records of this context have these fields too."""
    token = _context.set({**_context.get(), **values})
    try:
        yield
    finally:
        _context.reset(token)


def new_reconcile_id() -> str:
    """A short random id that ties the records of one reconcile together."""
    return f"{random.getrandbits(48):012x}"


def _fields_of(record: logging.LogRecord) -> dict[str, Any]:
    own = getattr(record, "fields", None)
    return {**_context.get(), **(own if isinstance(own, Mapping) else {})}


def _time_of(record: logging.LogRecord) -> str:
    return datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


class JsonFormatter(logging.Formatter):
    """`{"time", "level", "logger", "message", ...fields, "error"}`."""

    def format(self, record: logging.LogRecord) -> str:
        """One JSON object in one line."""
        entry: dict[str, Any] = {
            "time": _time_of(record),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
        }
        entry |= {key: value for key, value in _fields_of(record).items() if key not in entry}
        if record.exc_info:
            entry["error"] = self.formatException(record.exc_info)
        return json.dumps(entry, default=str, ensure_ascii=False)


class TextFormatter(logging.Formatter):
    """`time LEVEL message key=value ...`, then the traceback."""

    def format(self, record: logging.LogRecord) -> str:
        """One line, and the lines of a traceback."""
        pairs = "".join(f" {key}={_quoted(value)}" for key, value in _fields_of(record).items())
        text = f"{_time_of(record)} {record.levelname:<7} {_one_line(record.getMessage())}{pairs}"
        if record.exc_info:
            text = f"{text}\n{self.formatException(record.exc_info)}"
        return text


def _one_line(text: str) -> str:
    """Control characters spelled out: a message may quote what others wrote, and must not look like two."""
    return _CONTROL.sub(lambda found: found[0].encode("unicode_escape").decode(), text)


def _quoted(value: Any) -> str:
    text = _one_line(str(value))
    return json.dumps(text, ensure_ascii=False) if not text or any(c.isspace() or c == '"' for c in text) else text
