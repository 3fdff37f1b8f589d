"""Readiness: exec, tcp and http probes; quick to the first success, patient with single failures."""

from __future__ import annotations

import http.server
import socket
import threading
from collections.abc import Iterator
from typing import Any

import pytest
from tests.unit.agent.conftest import Bench

from moorage.agent.probes import ProbeThread, expand, succeeds
from moorage.agent.steps import StepThread


class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        self.send_response(int(self.path.strip("/") or 200))
        self.end_headers()

    def log_message(self, format: str, *args: Any) -> None:
        """Say nothing."""


@pytest.fixture
def port() -> Iterator[int]:
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield server.server_address[1]
        server.shutdown()
        thread.join()


def closed_port() -> int:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        found: int = taken.getsockname()[1]
        return found


def test_probes(bench: Bench, port: int) -> None:
    env = {"port": str(port), "x": "1"}

    def tried(**probe: Any) -> bool:
        return succeeds({"timeoutSeconds": 5, **probe}, env, bench.runner)

    assert tried(tcp={"host": "127.0.0.1", "port": "${port}"})
    assert not tried(tcp={"host": "127.0.0.1", "port": closed_port()})
    assert not tried(tcp={"host": "127.0.0.1", "port": "${unknown}"})
    assert not tried(tcp={"host": "127.0.0.1", "port": "99999999"})
    assert tried(http={"url": "http://127.0.0.1:${port}/"})
    assert tried(http={"url": "http://127.0.0.1:${port}/302"})
    assert not tried(http={"url": "http://127.0.0.1:${port}/404"})
    assert not tried(http={"url": "http://127.0.0.1:${unknown}/"})
    assert not tried(http={"url": f"http://127.0.0.1:{closed_port()}/"})
    assert tried(exec={"command": 'test "$x" = 1'})
    assert tried(exec={"command": "yes | head -c 200000"})
    assert not tried(exec={"command": "exit 1"})
    assert not succeeds({"exec": {"command": "sleep 300"}, "timeoutSeconds": 0.1}, env, bench.runner)


def test_items_in_hosts_ports_and_urls() -> None:
    assert expand("http://${a}:${b}/$${a}/${c}$d", {"a": "h", "b": "1"}) == "http://h:1/${a}/${c}$d"


def test_ready_by_probe_and_unready_after_the_threshold(bench: Bench) -> None:
    gate = bench.root / "gate"
    probe = {
        "exec": {"command": 'echo >> "$MOORAGE_ROOT/tries"; test -e "$MOORAGE_ROOT/gate"'},
        "periodSeconds": 0.1,
        "failureThreshold": 3,
    }
    with bench.running(ProbeThread(bench.work, bench.runner).run):
        bench.deliver(1, readiness=probe)
        bench.eventually(lambda: bench.work.probed)
        assert not bench.work.ready
        gate.touch()
        bench.eventually(lambda: bench.work.ready)
        gate.unlink()
        (bench.root / "tries").write_text("")
        bench.eventually(lambda: not bench.work.ready)
        assert len((bench.root / "tries").read_text()) >= 3


def test_without_a_probe_ready_means_that_what_can_run_has_succeeded(bench: Bench) -> None:
    bodies = (StepThread(bench.work, bench.runner).run, ProbeThread(bench.work, bench.runner).run)
    with bench.running(*bodies):
        late = {"name": "late", "script": "true", "pending": ["x"]}
        bench.deliver(1, steps=[{"name": "a", "script": "true"}, late])
        bench.eventually(lambda: bench.work.ready)
        bench.deliver(2, steps=[{"name": "a", "script": "exit 1", "retries": 0}, late])
        bench.eventually(lambda: not bench.work.ready)


def test_a_probe_that_waits_for_items_is_not_ready(bench: Bench) -> None:
    with bench.running(ProbeThread(bench.work, bench.runner).run):
        bench.deliver(1, readiness={"exec": {"command": "true"}, "pending": ["x"]})
        bench.eventually(lambda: bench.work.probed)
        assert not bench.work.ready
        bench.deliver(2, readiness={"exec": {"command": "true"}})
        bench.eventually(lambda: bench.work.ready)
