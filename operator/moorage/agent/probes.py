"""The thread that sees whether the server is ready."""

from __future__ import annotations

import http.client
import os
import re
import socket
import ssl
from typing import Any, Dict
from urllib.parse import urlsplit

from .process import Runner
from .work import Work, now

_FIRST = 0.1


class ProbeThread:
    """Probes until the work stops: often until the first success, then every period."""

    def __init__(self, work: Work, runner: Runner) -> None:
        self._work = work
        self._runner = runner
        self._failures = 0
        self._interval = _FIRST
        self._due = 0.0
        self._runs = -1

    def run(self) -> None:
        """The thread's body."""
        while not self._work.stopping.is_set():
            with self._work.changed:
                probe = self._work.document.get("readiness")
                if not probe or probe.get("pending"):
                    self._without(bool(probe))
                    self._work.wait(None)
                    continue
                if self._runs != self._work.step_runs:
                    self._runs, self._due, self._interval = self._work.step_runs, 0.0, _FIRST
                left = self._due - now()
                if left > 0:
                    self._work.wait(left)
                    continue
                env = self._work.environment(probe)
            self._probe(probe, env)

    def _without(self, pending: bool) -> None:
        """Without a probe, a server is ready when every step whose items are known has succeeded: whether it may be
        ready without the items that are pending is not known here."""
        if not self._work.document:
            return
        steps = [step for step in self._work.steps() if not step.get("pending")]
        ready = not pending and all(self._work.succeeded(step["name"]) for step in steps)
        self._work.set_ready(ready and not self._work.message)

    def _probe(self, probe: Dict[str, Any], env: Dict[str, str]) -> None:
        period = max(_FIRST, float(probe.get("periodSeconds", 5)))
        if succeeds(probe, env, self._runner):
            self._failures = 0
            self._due = now() + period
            self._work.set_ready(True)
            return
        self._failures += 1
        if not self._work.ready or self._failures >= int(probe.get("failureThreshold", 3)):
            self._work.set_ready(False)
        self._interval = min(period, self._interval * 1.6)
        self._due = now() + (period if self._work.ready else self._interval)


def succeeds(probe: Dict[str, Any], env: Dict[str, str], runner: Runner) -> bool:
    """One try of an exec, tcp or http probe."""
    timeout = float(probe.get("timeoutSeconds", 2))
    if probe.get("exec"):
        return runner.script(["/bin/sh", "-c", probe["exec"]["command"]], env, timeout, os.devnull).ok
    try:
        if probe.get("tcp"):
            host = expand(str(probe["tcp"].get("host") or "127.0.0.1"), env)
            socket.create_connection((host, int(expand(str(probe["tcp"]["port"]), env))), timeout).close()
            return True
        return _get(expand(str(probe["http"]["url"]), env), timeout)
    except (OSError, ValueError, OverflowError, http.client.HTTPException):
        return False


def expand(text: str, env: Dict[str, str]) -> str:
    """Replace `${item}` by its value; `$${x}` is a literal `${x}`."""

    def value(match: "re.Match[str]") -> str:
        if match.group(1):
            return match.group(0)[1:]
        return env.get(match.group(2), match.group(0))

    return re.sub(r"(\$)?\$\{([A-Za-z_][A-Za-z0-9_]*)\}", value, text)


def _get(url: str, timeout: float) -> bool:
    parts = urlsplit(url)
    if parts.scheme == "https":
        tls = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)  # a probe asks whether it answers, not who does
        tls.check_hostname = False
        tls.verify_mode = ssl.CERT_NONE
        connection: http.client.HTTPConnection = http.client.HTTPSConnection(
            parts.hostname or "", parts.port, timeout=timeout, context=tls
        )
    else:
        connection = http.client.HTTPConnection(parts.hostname or "", parts.port, timeout=timeout)
    try:
        target = (parts.path or "/") + ("?" + parts.query if parts.query else "")
        connection.request("GET", target, headers={"User-Agent": "moorage-agent"})
        return 200 <= connection.getresponse().status < 400
    finally:
        connection.close()
