"""The thread that joins and then waits for configurations."""

from __future__ import annotations

from typing import Any, Dict

from .client import Answer, Backoff, Channel, UnreachableError, join_body
from .log import log
from .settings import Settings
from .work import Work

WAIT = 55
_MARGIN = 20.0
_REFUSED_CAP = 300.0


class PollThread:
    """Joins with the token, then takes each revision that is not the one at hand, until the work stops."""

    def __init__(self, work: Work, channel: Channel, settings: Settings) -> None:
        self._work = work
        self._channel = channel
        self._settings = settings
        self._away = Backoff()
        self._refused = Backoff(first=1.0, cap=_REFUSED_CAP)

    def run(self) -> None:
        """The thread's body."""
        while not self._work.stopping.is_set():
            try:
                if self._work.store.joined:
                    self._poll()
                else:
                    self._join()
            except UnreachableError as error:
                if not self._work.stopping.is_set():
                    log("configd does not answer: %s" % error)
                self._away.wait(self._work.stopping)
            except OSError as error:
                log("cannot keep the configuration: %s" % error.strerror)
                self._away.wait(self._work.stopping)

    def _join(self) -> None:
        answer = self._channel.request("POST", "/v1/join", join_body(self._settings, self._work.store.key()))
        if answer.status == 200:
            self._reset()
            self._work.store.joined = True
            self._work.store.save()
            log("joined as %s" % self._settings.server)
            return
        self._was_refused("join", answer)

    def _poll(self) -> None:
        revision = self._work.revision
        answer = self._channel.request(
            "GET", "/v1/configuration?wait=%d" % WAIT, etag=str(revision) if revision else "", timeout=WAIT + _MARGIN
        )
        if answer.status == 304:
            self._reset()
            return
        if answer.status == 200:
            document = answer.json()
            if not is_document(document):
                log("configuration ignored: it is not one")
                self._away.wait(self._work.stopping)
                return
            self._reset()
            self._work.deliver(document, answer.body)
            return
        if answer.status == 401:
            self._work.store.joined = False  # with the same key, joining again is harmless
        self._was_refused("configuration", answer)

    def _was_refused(self, what: str, answer: Answer) -> None:
        log("%s refused: HTTP %d %s" % (what, answer.status, answer.json().get("message", "")))
        wait = self._refused if answer.status in (401, 409, 410) else self._away
        wait.wait(self._work.stopping, answer.retry_after())

    def _reset(self) -> None:
        self._away.reset()
        self._refused.reset()


def is_document(value: Dict[str, Any]) -> bool:
    """Whether an answer has the shape that the other threads rely on."""
    revision = value.get("revision")
    if not isinstance(revision, int) or revision < 1 or not isinstance(value.get("items") or {}, dict):
        return False
    rows = {"files": ("path",), "steps": ("name", "script"), "outputs": ("name",), "pending": ("item",)}
    for part, keys in rows.items():
        entries = value.get(part) or []
        if not isinstance(entries, list):
            return False
        if not all(isinstance(e, dict) and all(isinstance(e.get(k), str) for k in keys) for e in entries):
            return False
    return isinstance(value.get("readiness") or {}, dict)
