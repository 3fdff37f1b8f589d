"""Steps: in order, each as soon as its items are there, again when its own inputs change, retried, bounded in time."""

from __future__ import annotations

import os
import stat
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from tests.unit.agent.conftest import Bench

from moorage.agent import steps as steps_module
from moorage.agent.process import trim
from moorage.agent.steps import StepThread


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(steps_module, "_FIRST_RETRY", 0.01)
    monkeypatch.setattr(steps_module, "_FILE_RETRY", 0.02)


def step(name: str, script: str, *env: str, **more: Any) -> dict[str, Any]:
    return {"name": name, "script": script, "env": list(env), **more}


def log(bench: Bench) -> list[str]:
    path = bench.root / "log"
    return path.read_text().split() if path.exists() else []


def say(text: str) -> str:
    return f'echo {text} >> "$MOORAGE_ROOT/log"'


def test_steps_run_in_order_and_pending_ones_do_not_hold_up_others(bench: Bench) -> None:
    with bench.running(StepThread(bench.work, bench.runner).run):
        steps = [step("a", say("a")), step("b", say("b"), "x", pending=["x"]), step("c", say("c"))]
        bench.deliver(1, steps=steps)
        bench.eventually(lambda: bench.store.acknowledged == 1)
        assert log(bench) == ["a", "c"]
        del steps[1]["pending"]
        bench.deliver(2, steps=steps, items={"x": "1"})
        bench.eventually(lambda: bench.store.acknowledged == 2)
        assert log(bench) == ["a", "c", "b"]


def test_an_item_is_an_environment_variable_and_never_part_of_the_script(bench: Bench) -> None:
    evil = '"; touch /tmp/never; echo "$(id)'
    with bench.running(StepThread(bench.work, bench.runner).run):
        bench.deliver(1, items={"x": evil}, steps=[step("a", 'printf %s "${x}" > "$MOORAGE_ROOT/log"', "x")])
        bench.eventually(lambda: bench.store.acknowledged == 1)
    assert (bench.root / "log").read_text() == evil


def test_only_a_change_of_its_own_inputs_runs_a_step_again(bench: Bench) -> None:
    with bench.running(StepThread(bench.work, bench.runner).run):
        steps = [
            step("a", say("a$x"), "x"),
            step("b", say("b$y"), "y"),
            step("once", say("once$y"), "y", onChange="Ignore"),
        ]
        for revision, (x, y) in enumerate([("1", "1"), ("1", "2"), ("2", "2"), ("2", "2")], start=1):
            bench.deliver(revision, items={"x": x, "y": y}, steps=steps)
            bench.eventually(partial(_acknowledged, bench, revision))
        assert log(bench) == ["a1", "b1", "once1", "b2", "a2"]
        bench.deliver(9, items={"x": "2", "y": "2"}, steps=[step("a", say("other"), "x"), *steps[1:]])
        bench.eventually(lambda: bench.store.acknowledged == 9)
        assert log(bench)[-1] == "other"


def test_a_failing_step_is_retried_then_failed_for_good_and_others_go_on(bench: Bench) -> None:
    with bench.running(StepThread(bench.work, bench.runner).run):
        bench.deliver(1, steps=[step("bad", say("bad") + "; exit 3", retries=2), step("good", say("good"))])
        bench.eventually(lambda: bench.store.acknowledged == 1)
    result = bench.store.steps["bad"]
    assert (result["state"], result["exitCode"], result["attempts"]) == ("Failed", 3, 3)
    assert result["message"] == "exit code 3"
    assert log(bench).count("bad") == 3
    assert log(bench).count("good") == 1


def test_a_step_that_succeeds_at_the_second_try(bench: Bench) -> None:
    with bench.running(StepThread(bench.work, bench.runner).run):
        bench.deliver(1, steps=[step("a", 'mkdir "$MOORAGE_ROOT/d" && exit 1; exit 0')])
        bench.eventually(lambda: bench.store.acknowledged == 1)
    assert (bench.store.steps["a"]["state"], bench.store.steps["a"]["attempts"]) == ("Succeeded", 2)


def test_a_step_out_of_time_is_ended_with_its_group(bench: Bench) -> None:
    script = 'sleep 300 & echo $! > "$MOORAGE_ROOT/log"; wait'
    with bench.running(StepThread(bench.work, bench.runner).run):
        bench.deliver(1, steps=[step("slow", script, retries=0, timeoutSeconds=0.3)])
        bench.eventually(lambda: bench.store.acknowledged == 1)
    assert bench.store.steps["slow"]["message"] == "timed out after 0.3 s"
    assert is_gone(int(log(bench)[0]))


def test_a_background_process_outlives_its_step_and_the_agent(bench: Bench) -> None:
    with bench.running(StepThread(bench.work, bench.runner).run):
        bench.deliver(1, steps=[step("start", 'sleep 300 & echo $! > "$MOORAGE_ROOT/log"')])
        bench.eventually(lambda: bench.store.acknowledged == 1)
    child = int(log(bench)[0])
    assert not is_gone(child)
    os.kill(child, 9)


def test_a_reboot_runs_what_was_interrupted_or_failed_and_nothing_else(bench: Bench, tmp_path: Path) -> None:
    steps = [step("good", say("good")), step("bad", say("bad") + "; exit 1", retries=0)]
    with bench.running(StepThread(bench.work, bench.runner).run):
        bench.deliver(1, steps=steps)
        bench.eventually(lambda: bench.store.acknowledged == 1)
    again = Bench(tmp_path)
    assert again.work.revision == 1
    with again.running(StepThread(again.work, again.runner).run):
        again.eventually(lambda: again.store.steps["bad"]["state"] == "Failed" and again.work.step_runs)
        assert log(again) == ["good", "bad", "bad"]


def test_what_a_step_prints_stays_in_a_bounded_private_log(bench: Bench) -> None:
    with bench.running(StepThread(bench.work, bench.runner).run):
        bench.deliver(1, steps=[step("a", "echo canary; echo more >&2")])
        bench.eventually(lambda: bench.store.acknowledged == 1)
    kept = bench.state / "logs" / "a.log"
    assert kept.read_text() == "canary\nmore\n"
    assert stat.S_IMODE(kept.stat().st_mode) == 0o600
    assert "canary" not in (bench.state / "state.json").read_text()
    kept.write_bytes(b"x" * 3000)
    with kept.open("ab") as writer:
        trim(str(kept), 1000)
        writer.write(b"later")
    assert kept.read_bytes() == b"later"
    assert len((bench.state / "logs" / "a.log.1").read_bytes()) == 500


def test_values_are_in_no_digest_that_could_be_guessed(bench: Bench) -> None:
    one = bench.store.digest("script", {"x": "secret"})
    assert one == bench.store.digest("script", {"x": "secret"})
    other = Bench(bench.root.parent / "other")
    assert other.store.digest("script", {"x": "secret"}) != one


def test_a_script_with_an_interpreter_of_its_own(bench: Bench) -> None:
    script = "#!/usr/bin/env python3\nimport os\nopen(os.environ['MOORAGE_ROOT'] + '/log', 'w').write('python')\n"
    with bench.running(StepThread(bench.work, bench.runner).run):
        bench.deliver(1, steps=[step("py", script)])
        bench.eventually(lambda: bench.store.acknowledged == 1)
    assert log(bench) == ["python"]


def test_a_value_that_no_environment_can_hold_fails_the_step_alone(bench: Bench) -> None:
    with bench.running(StepThread(bench.work, bench.runner).run):
        bench.deliver(1, items={"x": "canary\0"}, steps=[step("a", "true", "x", retries=0), step("b", say("b"))])
        bench.eventually(lambda: bench.store.acknowledged == 1)
    assert bench.store.steps["a"]["state"] == "Failed"
    assert "canary" not in bench.store.steps["a"]["message"]
    assert log(bench) == ["b"]


def test_a_file_that_cannot_be_written_holds_up_the_acknowledgement_alone(bench: Bench) -> None:
    (bench.root / "blocked").write_text("")
    with bench.running(StepThread(bench.work, bench.runner).run):
        files = [{"path": "/blocked/x", "content": "x"}, {"path": "/fine", "content": "x"}]
        bench.deliver(1, files=files, steps=[step("a", say("a"))])
        bench.eventually(lambda: bench.store.steps.get("a", {}).get("state") == "Succeeded")
        assert bench.store.acknowledged == 0
        assert "/blocked/x" in bench.work.message
        assert (bench.root / "fine").exists()
        (bench.root / "blocked").unlink()
        bench.eventually(lambda: bench.store.acknowledged == 1)
        assert bench.work.message == ""


def _acknowledged(bench: Bench, revision: int) -> bool:
    return bench.store.acknowledged == revision


def is_gone(pid: int) -> bool:
    """Whether a process has ended (a zombie that waits for its parent has)."""
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return True
    return state == "Z"
