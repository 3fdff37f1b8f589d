"""What the agent works on, shared by its threads under one lock: the configuration, and how far it is applied."""

from __future__ import annotations

import threading
import time
from typing import Any, Dict, List, Optional

from .files import FileError, write_file
from .log import log
from .store import Store


class Work:
    """The configuration, the results of its steps, its outputs and readiness.

    `changed` is notified, under its lock, whenever something that another thread may wait for has changed.
    """

    def __init__(self, store: Store, root: str) -> None:
        self.store = store
        self.root = root
        self.changed = threading.Condition()
        self.stopping = threading.Event()
        self.document: Dict[str, Any] = {}
        self.ready = False
        self.probed = False
        self.step_runs = 0
        """How many steps have ended; outputs are read again after each."""
        self._file_problems: Dict[str, str] = {}
        self._written = threading.Lock()
        kept = store.document()
        if kept is not None and isinstance(kept.get("revision"), int):
            self.document = kept

    @property
    def revision(self) -> int:
        """The revision in force; 0 before the first."""
        return int(self.document.get("revision", 0))

    def deliver(self, document: Dict[str, Any], body: bytes) -> None:
        """Take a configuration: keep it, write its files, let its steps follow. Raises OSError if it cannot be kept."""
        self.store.save_document(body)
        with self.changed:
            self.document = document
            self.store.delivered = self.revision
            self.store.acknowledged = min(self.store.acknowledged, self.revision)
            self._forget_removed()
        self.write_files()
        pending = len(document.get("pending") or [])
        log("revision %d delivered, %d items pending" % (self.revision, pending))
        self.settle()

    def write_files(self) -> None:
        """Write every file whose items are known. One that cannot be written is a problem and holds up no other."""
        with self._written:
            problems = {}
            for spec in self.document.get("files") or []:
                if spec.get("pending") or "content" not in spec:
                    continue
                try:
                    if write_file(self.root, spec):
                        log("wrote %s" % spec["path"])
                except FileError as problem:
                    problems[str(spec["path"])] = str(problem)
            for path, why in problems.items():
                if self._file_problems.get(path) != why:
                    log("cannot write %s" % why)
            self._file_problems = problems

    @property
    def message(self) -> str:
        """What keeps this revision from being applied, apart from steps."""
        problems = sorted(self._file_problems.values())
        return "; ".join(problems)[:500]

    def settle(self) -> None:
        """See whether the revision in force is now applied as far as it can be; keep the state and tell the others."""
        with self.changed:
            if self.revision and not self._file_problems and all(self.settled(s) for s in self.steps()):
                self.store.acknowledged = self.revision
            try:
                self.store.save()
                self.store.save_status(self.status())
            except OSError as error:
                log("cannot keep the state: %s" % error.strerror)
            self.changed.notify_all()

    def status(self) -> Dict[str, Any]:
        """What programs in the guest may know."""
        return {"revision": self.revision, "pending": self.document.get("pending") or [], "ready": self.ready}

    def steps(self) -> List[Dict[str, Any]]:
        """The steps of the configuration in force."""
        return list(self.document.get("steps") or [])

    def environment(self, spec: Dict[str, Any]) -> Dict[str, str]:
        """The values of the items that a step, command or probe uses."""
        items = self.document.get("items") or {}
        return {name: str(items[name]) for name in spec.get("env") or [] if name in items}

    def digest(self, step: Dict[str, Any]) -> str:
        """What a run of a step is keyed by: its script and its own inputs."""
        return self.store.digest(step["script"], self.environment(step))

    def current(self, step: Dict[str, Any]) -> Optional[Dict[str, Any]]:
        """The kept result of a step, where it counts for its present inputs."""
        result = self.store.steps.get(step["name"])
        if result is None:
            return None
        if step.get("onChange") == "Ignore" and result.get("state") == "Succeeded":
            return result
        return result if result.get("digest") == self.digest(step) else None

    def settled(self, step: Dict[str, Any]) -> bool:
        """Whether there is nothing more to do for a step now: it waits for items, has succeeded, or failed for good."""
        if step.get("pending"):
            return True
        result = self.current(step)
        return result is not None and result.get("state") in ("Succeeded", "Failed")

    def succeeded(self, name: str) -> bool:
        """Whether a step has succeeded with its present inputs."""
        for step in self.steps():
            if step["name"] == name:
                result = None if step.get("pending") else self.current(step)
                return result is not None and result.get("state") == "Succeeded"
        return False

    def set_ready(self, ready: bool) -> None:
        """Record the readiness."""
        with self.changed:
            if self.probed and self.ready == ready:
                return
            self.probed = True
            self.ready = ready
            log("ready" if ready else "not ready")
        self.settle()

    def wait(self, seconds: Optional[float]) -> None:
        """Wait under the lock for a change, a while, or the stop."""
        with self.changed:
            if not self.stopping.is_set():
                self.changed.wait(seconds)

    def stop(self) -> None:
        """Wake every thread for the last time."""
        self.stopping.set()
        with self.changed:
            self.changed.notify_all()

    def _forget_removed(self) -> None:
        steps = {step["name"] for step in self.steps()}
        outputs = {output["name"] for output in self.document.get("outputs") or []}
        for name in [n for n in self.store.steps if n not in steps]:
            del self.store.steps[name]
        for name in [n for n in self.store.outputs if n not in outputs]:
            # The version stays, so that an output which comes back never repeats one.
            self.store.outputs[name] = {"version": self.store.outputs[name].get("version", 0)}


def now() -> float:
    """Seconds on a clock that only goes forward."""
    return time.monotonic()
