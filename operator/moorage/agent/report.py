"""The thread that reports: the whole state, only when it changed, several changes in one post."""

from __future__ import annotations

import json
from typing import Any, Dict, List, Optional

from .client import Answer, Backoff, Channel, UnreachableError
from .log import log
from .work import Work, now

COALESCE = 0.01
"""Seconds that a change which others wait for waits for company."""
LAZY = 0.5
"""Seconds that any other change waits."""
MAX_VALUES = 200 * 1024
"""The most bytes of all values together; configd refuses a state of more than 256 KiB."""
FIRST_PROBE = 3.0


def snapshot(work: Work) -> Dict[str, Any]:
    """The state as it is reported, without its sequence. Call it under the lock of the work."""
    store = work.store
    state: Dict[str, Any] = {
        "deliveredRevision": store.delivered,
        "acknowledgedRevision": store.acknowledged,
        "ready": work.ready,
        "outputs": _outputs(work),
        "steps": [_step(work, step) for step in work.steps()],
    }
    if work.message:
        state["message"] = work.message
    return state


def _step(work: Work, step: Dict[str, Any]) -> Dict[str, Any]:
    row: Dict[str, Any] = {"name": step["name"], "state": "Waiting", "attempts": 0}
    result = work.current(step)
    if step.get("pending"):
        row["message"] = ("waits for " + ", ".join(step["pending"]))[:500]
    elif result is not None:
        row.update({k: result[k] for k in ("state", "exitCode", "message", "attempts") if result.get(k) is not None})
    return row


def _outputs(work: Work) -> List[Dict[str, Any]]:
    rows = []
    for output in work.document.get("outputs") or []:
        kept = work.store.outputs.get(output["name"]) or {}
        row = {k: kept[k] for k in ("value", "version", "error", "message") if kept.get(k) is not None}
        if "value" in row or "error" in row:
            rows.append(dict(row, name=output["name"]))
    left = MAX_VALUES - sum(_size(row) for row in rows)
    for row in sorted(rows, key=_size, reverse=True):
        if left >= 0:
            break
        left += _size(row)
        row.pop("value", None)
        row.update(error="TooLarge", message="all outputs together have more than %d bytes" % MAX_VALUES)
    return rows


def _size(row: Dict[str, Any]) -> int:
    return len(json.dumps(row.get("value", "")))


def is_urgent(before: Optional[Dict[str, Any]], after: Dict[str, Any]) -> bool:
    """Whether somebody may wait for this change: an output, an acknowledgement, the readiness, a failure."""
    if before is None:
        return bool(after["outputs"]) or after["acknowledgedRevision"] > 0
    if any(before.get(k) != after.get(k) for k in ("acknowledgedRevision", "ready", "outputs", "message")):
        return True
    failed = [{s["name"] for s in state["steps"] if s["state"] == "Failed"} for state in (before, after)]
    return failed[0] != failed[1]


class ReportThread:
    """Posts the state until the work stops."""

    def __init__(self, work: Work, channel: Channel) -> None:
        self._work = work
        self._channel = channel
        self._accepted: Optional[Dict[str, Any]] = None
        self._refused: Optional[Dict[str, Any]] = None
        self._backoff = Backoff()

    def run(self) -> None:
        """The thread's body."""
        self._await_first_probe()
        while not self._work.stopping.is_set():
            state = self._next()
            if state is not None:
                self._post(state)

    def _await_first_probe(self) -> None:
        """An agent that starts again knows no readiness yet: to report that would make a ready server unready."""
        end = now() + FIRST_PROBE
        while self._work.store.delivered and not self._work.probed and not self._work.stopping.is_set():
            left = end - now()
            if left <= 0:
                return
            self._work.wait(left)

    def _next(self) -> Optional[Dict[str, Any]]:
        """The state to post, once it differs from what configd has and has waited for company."""
        urgent_at = lazy_at = None
        while not self._work.stopping.is_set():
            with self._work.changed:
                state = snapshot(self._work)
                if self._work.revision == 0 or state == self._accepted or state == self._refused:
                    self._work.wait(None)
                    urgent_at = lazy_at = None
                    continue
                lazy_at = lazy_at or now() + LAZY
                if urgent_at is None and is_urgent(self._accepted, state):
                    urgent_at = now() + COALESCE
                left = min(lazy_at, urgent_at or lazy_at) - now()
                if left <= 0:
                    return state
                self._work.wait(left)
        return None

    def _post(self, state: Dict[str, Any]) -> None:
        store = self._work.store
        with self._work.changed:
            store.sequence += 1
            sequence = store.sequence
        try:
            store.save()
            answer = self._channel.request("POST", "/v1/state", json.dumps(dict(state, sequence=sequence)).encode())
        except (UnreachableError, OSError) as error:
            if not self._work.stopping.is_set():
                log("state not posted: %s" % error)
            self._backoff.wait(self._work.stopping)
            return
        self._take(state, answer)

    def _take(self, state: Dict[str, Any], answer: Answer) -> None:
        if answer.status == 200:
            self._accepted, self._refused = state, None
            self._backoff.reset()
            for problem in answer.json().get("problems") or []:
                if isinstance(problem, dict):
                    log("%s: not taken: %s" % (problem.get("output") or problem.get("step"), problem.get("reason")))
            return
        if answer.status == 409:
            known = answer.json().get("sequence")
            with self._work.changed:
                if isinstance(known, int) and known >= self._work.store.sequence:
                    self._work.store.sequence = known
                    return  # posted again at once, with a higher number
        elif answer.status in (413, 422):
            self._refused = state  # the same again would be refused again
        log("state refused: HTTP %d %s" % (answer.status, answer.json().get("reason", "")))
        self._backoff.wait(self._work.stopping, answer.retry_after())
