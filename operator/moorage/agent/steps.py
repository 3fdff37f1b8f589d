"""The thread that runs steps: one at a time, in the order of declaration, each as soon as its own items are there."""

from __future__ import annotations

import os
import re
from typing import Any, Dict, Optional, Tuple

from .log import log
from .process import Outcome, Runner, trim
from .work import Work, now

LOG_LIMIT = 1024 * 1024
_FILE_RETRY = 5.0
_FIRST_RETRY, _LAST_RETRY = 1.0, 30.0


class StepThread:
    """Runs steps until the work stops. A step that waits for items or for its next attempt does not hold up others."""

    def __init__(self, work: Work, runner: Runner) -> None:
        self._work = work
        self._runner = runner
        self._not_before: Dict[str, float] = {}
        self._logs = work.store.path("logs")
        os.makedirs(self._logs, mode=0o700, exist_ok=True)
        for result in work.store.steps.values():
            if result.get("state") != "Succeeded":
                result["digest"] = ""  # interrupted or failed before the reboot: try again
                result["attempts"] = 0

    def run(self) -> None:
        """The thread's body."""
        while not self._work.stopping.is_set():
            with self._work.changed:
                step, wait = self._next()
                if step is None:
                    self._work.wait(wait)
            if step is not None:
                self._run(step)
            elif self._work.message:
                self._work.write_files()
                self._work.settle()
            self._trim_logs()

    def _next(self) -> Tuple[Optional[Dict[str, Any]], Optional[float]]:
        """The step to run now, or how long there is none (None: until something changes)."""
        waits = [30.0]
        if self._work.message:
            waits.append(_FILE_RETRY)
        for step in self._work.steps():
            if self._work.settled(step):
                continue
            wait = self._not_before.get(step["name"], 0.0) - now()
            if wait <= 0 or self._work.current(step) is None:
                return step, None
            waits.append(wait)
        return None, min(waits)

    def _run(self, step: Dict[str, Any]) -> None:
        name = step["name"]
        with self._work.changed:
            digest = self._work.digest(step)
            before = self._work.current(step)
            attempts = int(before.get("attempts", 0)) + 1 if before else 1
            env = self._work.environment(step)
            self._work.store.steps[name] = {"state": "Running", "digest": digest, "attempts": attempts}
        self._work.settle()
        log("step %s: attempt %d" % (name, attempts))
        argv = self._argv(name, step["script"])
        timeout = float(step.get("timeoutSeconds", 60))
        outcome = self._runner.script(argv, env, timeout, os.path.join(self._logs, _file_name(name) + ".log"))
        if self._work.stopping.is_set() and not outcome.ok:
            return  # ended by the stop, so it says nothing about the step: it runs again
        self._record(step, digest, attempts, outcome)

    def _record(self, step: Dict[str, Any], digest: str, attempts: int, outcome: Outcome) -> None:
        name = step["name"]
        result: Dict[str, Any] = {"digest": digest, "attempts": attempts, "exitCode": outcome.exit_code}
        if outcome.ok:
            result["state"] = "Succeeded"
            self._not_before.pop(name, None)
        else:
            last = attempts > int(step.get("retries", 3))
            result["state"] = "Failed" if last else "Running"
            result["message"] = outcome.problem or "exit code %d" % (outcome.exit_code or 0)
            self._not_before[name] = now() + min(_LAST_RETRY, _FIRST_RETRY * 2 ** (attempts - 1))
        log("step %s: %s" % (name, "succeeded" if outcome.ok else result["message"]))
        with self._work.changed:
            self._work.store.steps[name] = result
            self._work.step_runs += 1
        self._work.settle()

    def _argv(self, name: str, script: str) -> "list[str]":
        """The script by a file: what is on a command line can be seen by everyone."""
        path = os.path.join(self._logs, _file_name(name) + ".sh")
        handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o700)
        with os.fdopen(handle, "w", encoding="utf-8") as out:
            out.write(script)
        return [path] if script.startswith("#!") else ["/bin/sh", path]

    def _trim_logs(self) -> None:
        for entry in os.scandir(self._logs):
            if entry.name.endswith(".log"):
                trim(entry.path, LOG_LIMIT)


def _file_name(name: str) -> str:
    return re.sub(r"[^A-Za-z0-9_.-]", "_", name)[:80] or "_"
