"""Outputs: read after their steps, when due and when something ran; bounded; text; versions that only grow."""

from __future__ import annotations

import os
import time
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from tests.unit.agent.conftest import Bench

from moorage.agent import outputs as outputs_module
from moorage.agent.outputs import OutputThread, read
from moorage.agent.steps import StepThread


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(outputs_module, "_GRACE", 0.05)
    monkeypatch.setattr(outputs_module, "_LAST_RETRY", 0.05)


def threads(bench: Bench) -> Any:
    return bench.running(StepThread(bench.work, bench.runner).run, OutputThread(bench.work, bench.runner).run)


@pytest.mark.parametrize(
    ("output", "expected"),
    [
        ({"command": "echo hello; echo"}, ("hello", "", "")),
        ({"command": "printf 'a\\nb\\n'"}, ("a\nb", "", "")),
        ({"command": 'echo "$x"'}, ("value of x", "", "")),
        ({"command": "echo canary; exit 4"}, (None, "CommandFailed", "exit code 4")),
        ({"command": "true"}, (None, "Empty", "nothing was printed or written yet")),
        ({"command": "printf '\\377'"}, (None, "NotText", "not UTF-8")),
        ({"command": "printf 'a\\000b'"}, (None, "NotText", "a NUL byte")),
        ({"command": "yes", "maxBytes": 10}, (None, "TooLarge", "more than 10 bytes")),
        ({"command": "printf 1234567890", "maxBytes": 10}, ("1234567890", "", "")),
        ({"file": "/kept"}, ("from a file", "", "")),
        ({"file": "/kept", "maxBytes": 3}, (None, "TooLarge", "more than 3 bytes")),
        ({"file": "/absent"}, (None, "Missing", "/absent is not there")),
        ({"file": "/"}, (None, "Unreadable", "/: not a plain path of a file")),
        ({"file": "/dir"}, (None, "Unreadable", "/dir is not a regular file")),
        ({"file": "/fifo"}, (None, "Unreadable", "/fifo is not a regular file")),
        ({"field": "name"}, ("me", "", "")),
        ({"field": "address"}, (None, "Unknown", "the field is not known in the guest")),
    ],
)
def test_reading(bench: Bench, output: dict[str, Any], expected: tuple[str | None, str, str]) -> None:
    (bench.root / "kept").write_text("from a file\n")
    (bench.root / "dir").mkdir()
    os.mkfifo(bench.root / "fifo")
    env = {"x": "value of x"}
    assert read({"name": "o", **output}, env, {"name": "me"}, bench.runner, str(bench.root)) == expected


def test_a_command_whose_background_process_holds_the_pipe_does_not_wait_for_it(bench: Bench) -> None:
    output = {"name": "o", "command": 'sleep 300 & echo $! > "$MOORAGE_ROOT/pid"; echo done'}
    began = time.monotonic()
    assert read(output, {}, {}, bench.runner, str(bench.root))[0] == "done"
    assert time.monotonic() - began < 60
    os.kill(int((bench.root / "pid").read_text()), 9)


def test_a_command_out_of_time_is_ended(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(outputs_module, "COMMAND_TIMEOUT", 0.2)
    found = read({"name": "o", "command": "sleep 300"}, {}, {}, bench.runner, str(bench.root))
    assert found == (None, "CommandFailed", "timed out after 0.2 s")


def test_an_output_waits_for_its_steps(bench: Bench) -> None:
    gate = 'test -e "$MOORAGE_ROOT/gate"'
    with threads(bench):
        output = {"name": "o", "command": "echo early", "after": ["start"]}
        bench.deliver(1, steps=[{"name": "start", "script": gate, "retries": 0}], outputs=[output])
        bench.eventually(lambda: bench.store.acknowledged == 1)
        assert bench.store.outputs == {}
        (bench.root / "gate").touch()
        bench.deliver(2, steps=[{"name": "start", "script": gate + " # again", "retries": 0}], outputs=[output])
        bench.eventually(lambda: bench.store.outputs.get("o", {}).get("value") == "early")


def test_a_value_that_comes_late_is_found_without_a_refresh(bench: Bench) -> None:
    with threads(bench):
        bench.deliver(1, outputs=[{"name": "o", "file": "/late"}])
        bench.eventually(lambda: bench.store.outputs.get("o", {}).get("error") == "Missing")
        (bench.root / "late").write_text("here")
        row = bench.eventually(lambda: bench.store.outputs["o"] if "value" in bench.store.outputs["o"] else None)
        assert row == {"value": "here", "version": 1}


def test_a_refresh_sees_changes_and_versions_grow(bench: Bench) -> None:
    path = bench.root / "o"
    path.write_text("1")
    with threads(bench):
        bench.deliver(1, outputs=[{"name": "o", "file": "/o", "refreshSeconds": 0.1}])
        for version, text in enumerate(["1", "2", "1"], start=1):
            path.write_text(text)
            bench.eventually(partial(_is, bench, {"value": text, "version": version}))


def _is(bench: Bench, row: dict[str, Any]) -> bool:
    return bench.store.outputs.get("o") == row


def test_outputs_are_read_again_after_every_step(bench: Bench) -> None:
    with threads(bench):
        outputs = [{"name": "o", "file": "/o"}]
        first = {"name": "a", "script": 'echo 1 > "$MOORAGE_ROOT/o"'}
        bench.deliver(1, steps=[first], outputs=outputs)
        bench.eventually(lambda: bench.store.outputs.get("o", {}).get("value") == "1")
        bench.deliver(2, steps=[first, {"name": "b", "script": 'echo 2 > "$MOORAGE_ROOT/o"'}], outputs=outputs)
        bench.eventually(lambda: bench.store.outputs.get("o") == {"value": "2", "version": 2})


def test_the_last_value_stays_when_a_refresh_fails(bench: Bench) -> None:
    path = bench.root / "o"
    path.write_text("1")
    with threads(bench):
        bench.deliver(1, outputs=[{"name": "o", "file": "/o", "refreshSeconds": 0.1}])
        bench.eventually(lambda: bench.store.outputs.get("o", {}).get("value") == "1")
        path.unlink()
        row = bench.eventually(lambda: bench.store.outputs["o"] if "error" in bench.store.outputs["o"] else None)
        assert (row["value"], row["version"], row["error"]) == ("1", 1, "Missing")
        path.write_text("1")
        bench.eventually(lambda: bench.store.outputs["o"] == {"value": "1", "version": 1})


def test_versions_grow_over_a_reboot_and_over_an_absence(bench: Bench, tmp_path: Path) -> None:
    with threads(bench):
        bench.deliver(1, outputs=[{"name": "o", "command": "echo 1"}])
        bench.eventually(lambda: bench.store.outputs.get("o", {}).get("version") == 1)
        bench.deliver(2, outputs=[])
        assert bench.store.outputs == {"o": {"version": 1}}
    again = Bench(tmp_path)
    with threads(again):
        again.deliver(3, outputs=[{"name": "o", "command": "echo 1"}])
        again.eventually(lambda: again.store.outputs["o"] == {"value": "1", "version": 2})
