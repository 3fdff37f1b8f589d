"""The thread that reads outputs: after the steps they need, after every step that ran, and every `refresh`."""

from __future__ import annotations

import os
import stat
from typing import Any, Dict, List, Optional, Tuple

from .files import FileError, locate
from .log import log
from .process import Runner
from .work import Work, now

COMMAND_TIMEOUT = 30.0
_GRACE = 3.0
_FIRST_RETRY, _LAST_RETRY = 0.05, 5.0
_SHORTEST = 0.1

Reading = Tuple[Optional[str], str, str]
"""A value; or None, an error word and a message that does not hold the value."""


class _Schedule:
    """When an output is read next, and since when reading it fails."""

    def __init__(self) -> None:
        self.due = 0.0
        self.retry = _FIRST_RETRY
        self.failing_since = 0.0
        self.after = -1
        self.inputs = ""


class OutputThread:
    """Reads outputs until the work stops. A value that is not there yet is looked for again, ever less often."""

    def __init__(self, work: Work, runner: Runner) -> None:
        self._work = work
        self._runner = runner
        self._schedules: Dict[str, _Schedule] = {}

    def run(self) -> None:
        """The thread's body."""
        while not self._work.stopping.is_set():
            with self._work.changed:
                due, wait = self._due()
                if not due:
                    self._work.wait(wait)
            changed = False
            for output in due:
                changed = self._read(output) or changed
            if changed:
                self._work.settle()

    def _due(self) -> Tuple[List[Dict[str, Any]], Optional[float]]:
        due, wait = [], None
        for output in self._work.document.get("outputs") or []:
            if output.get("pending") or not all(self._work.succeeded(step) for step in output.get("after") or []):
                continue
            schedule = self._schedules.setdefault(output["name"], _Schedule())
            inputs = self._work.store.digest(output, self._work.environment(output))
            if schedule.after != self._work.step_runs or schedule.inputs != inputs:
                schedule.after, schedule.inputs, schedule.due, schedule.retry = (
                    self._work.step_runs,
                    inputs,
                    0.0,
                    _FIRST_RETRY,
                )
            left = schedule.due - now()
            if left <= 0:
                due.append(output)
            elif wait is None or left < wait:
                wait = left
        return due, wait

    def _read(self, output: Dict[str, Any]) -> bool:
        """Read one output; True where what is to be reported changed."""
        name = output["name"]
        with self._work.changed:
            env = self._work.environment(output)
            server = dict(self._work.document.get("server") or {})
        value, error, message = read(output, env, server, self._runner, self._work.root)
        schedule = self._schedules[name]
        kept = dict(self._work.store.outputs.get(name) or {})
        if value is not None:
            schedule.failing_since, schedule.retry = 0.0, _FIRST_RETRY
            refresh = output.get("refreshSeconds")
            schedule.due = now() + (max(_SHORTEST, float(refresh)) if refresh else 1e9)
            if kept.get("value") != value:
                kept["value"], kept["version"] = value, int(kept.get("version", 0)) + 1
                log("output %s: version %d" % (name, kept["version"]))
            kept.pop("error", None)
            kept.pop("message", None)
        else:
            schedule.failing_since = schedule.failing_since or now()
            schedule.due = now() + schedule.retry
            schedule.retry = min(_LAST_RETRY, schedule.retry * 1.6)
            # A value that a background process is about to write is not an error yet.
            if error not in ("TooLarge", "NotText") and now() - schedule.failing_since < _GRACE:
                return False
            kept["error"], kept["message"] = error, message
        with self._work.changed:
            if self._work.store.outputs.get(name) == kept:
                return False
            self._work.store.outputs[name] = kept
            if error:
                log("output %s: %s: %s" % (name, error, message))
            return True


def read(output: Dict[str, Any], env: Dict[str, str], server: Dict[str, Any], runner: Runner, root: str) -> Reading:
    """Read an output once. The value is without the line ends at its end, as a shell's `$(...)` has it."""
    limit = int(output.get("maxBytes", 4096))
    if output.get("command") is not None:
        outcome = runner.capture(output["command"], env, COMMAND_TIMEOUT, limit + 2)
        if outcome.problem:
            return None, "CommandFailed", outcome.problem
        if outcome.exit_code:
            return None, "CommandFailed", "exit code %d" % outcome.exit_code
        return _text(outcome.output, limit)
    if output.get("file") is not None:
        return _read_file(str(output["file"]), root, limit)
    fact = server.get(str(output.get("field")))
    if fact is None or fact == "":
        return None, "Unknown", "the field is not known in the guest"
    return _text(str(fact).encode(), limit)


def _read_file(path: str, root: str, limit: int) -> Reading:
    try:
        # Without O_NONBLOCK a FIFO would be waited for.
        handle = os.open(locate(root, path), os.O_RDONLY | os.O_NONBLOCK)
    except FileNotFoundError:
        return None, "Missing", "%s is not there" % path
    except OSError as error:
        return None, "Unreadable", "%s: %s" % (path, error.strerror)
    except FileError as problem:
        return None, "Unreadable", str(problem)
    try:
        if not stat.S_ISREG(os.fstat(handle).st_mode):
            return None, "Unreadable", "%s is not a regular file" % path
        with os.fdopen(handle, "rb", closefd=False) as source:
            data = source.read(limit + 2)
    except OSError as error:
        return None, "Unreadable", "%s: %s" % (path, error.strerror)
    finally:
        os.close(handle)
    return _text(data, limit)


def _text(data: bytes, limit: int) -> Reading:
    data = data.rstrip(b"\n")
    if len(data) > limit:
        return None, "TooLarge", "more than %d bytes" % limit
    if not data:
        return None, "Empty", "nothing was printed or written yet"
    try:
        text = data.decode("utf-8")
    except UnicodeDecodeError:
        return None, "NotText", "not UTF-8"
    if "\0" in text:
        return None, "NotText", "a NUL byte"
    return text, "", ""
