"""What is reported, when, and what becomes of refusals."""

from __future__ import annotations

import json
from typing import Any

import pytest
from tests.unit.agent.conftest import Bench

from moorage.agent import report as report_module
from moorage.agent.client import Answer, Channel, UnreachableError
from moorage.agent.report import ReportThread, is_urgent, snapshot


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(report_module, "LAZY", 0.02)


class Answers(Channel):
    """A channel that answers what the test lays out, then 200 for ever."""

    def __init__(self, bench: Bench, *answers: Answer | None) -> None:
        self._bench = bench
        self._laid_out = list(answers)
        self.posted: list[dict[str, Any]] = []

    def request(
        self, method: str, path: str, body: bytes | None = None, etag: str = "", timeout: float = 20.0
    ) -> Answer:
        with self._bench.work.changed:
            self.posted.append(json.loads(body or b"{}"))
            self._bench.work.changed.notify_all()
        answer = self._laid_out.pop(0) if self._laid_out else Answer(200, {}, b'{"problems": []}')
        if answer is None:
            raise UnreachableError("nobody there")
        return answer


def base(**changes: Any) -> dict[str, Any]:
    state = {"deliveredRevision": 1, "acknowledgedRevision": 0, "ready": False, "outputs": [], "steps": []}
    return {**state, **changes}


def test_what_others_wait_for_is_urgent() -> None:
    row = {"name": "o", "value": "1", "version": 1}
    failed, ran = ({"name": "s", "state": state} for state in ("Failed", "Succeeded"))
    assert is_urgent(base(), base(outputs=[row]))
    assert is_urgent(base(), base(acknowledgedRevision=1))
    assert is_urgent(base(), base(ready=True))
    assert is_urgent(base(), base(steps=[failed]))
    assert is_urgent(base(), base(message="cannot write"))
    assert not is_urgent(base(), base(steps=[ran]))
    assert not is_urgent(base(), base(deliveredRevision=2))
    assert not is_urgent(None, base())
    assert is_urgent(None, base(outputs=[row]))


def test_a_state_is_posted_once_and_again_only_when_it_changed(bench: Bench) -> None:
    channel = Answers(bench)
    bench.work.probed = True
    with bench.running(ReportThread(bench.work, channel).run):
        bench.deliver(1)
        bench.eventually(lambda: len(channel.posted) == 1)
        bench.work.settle()
        bench.work.settle()
        bench.work.set_ready(True)
        bench.eventually(lambda: len(channel.posted) == 2)
    assert [post["sequence"] for post in channel.posted] == [1, 2]
    assert channel.posted[0]["acknowledgedRevision"] == 1
    assert channel.posted[1]["ready"] is True
    assert bench.store.sequence == 2


def test_nothing_is_posted_before_there_is_a_configuration(bench: Bench) -> None:
    channel = Answers(bench)
    with bench.running(ReportThread(bench.work, channel).run):
        bench.work.settle()
        bench.deliver(1)
        bench.eventually(lambda: channel.posted)
    assert channel.posted[0]["deliveredRevision"] == 1


@pytest.mark.parametrize("lost", [None, Answer(503, {}, b"{}"), Answer(429, {"retry-after": "0"}, b"")])
def test_a_state_that_was_not_taken_is_posted_again(bench: Bench, lost: Answer | None) -> None:
    channel = Answers(bench, lost)
    bench.work.probed = True
    with bench.running(ReportThread(bench.work, channel).run):
        bench.deliver(1)
        bench.eventually(lambda: len(channel.posted) == 2)
    first, second = channel.posted
    assert second["sequence"] > first["sequence"]
    assert {**first, "sequence": 0} == {**second, "sequence": 0}


def test_an_older_sequence_jumps_ahead(bench: Bench) -> None:
    channel = Answers(bench, Answer(409, {}, b'{"sequence": 41}'))
    bench.work.probed = True
    with bench.running(ReportThread(bench.work, channel).run):
        bench.deliver(1)
        bench.eventually(lambda: len(channel.posted) == 2)
    assert channel.posted[1]["sequence"] == 42


def test_what_is_refused_for_what_it_says_is_not_posted_again_unchanged(bench: Bench) -> None:
    channel = Answers(bench, Answer(422, {}, b'{"reason": "Invalid"}'))
    bench.work.probed = True
    with bench.running(ReportThread(bench.work, channel).run):
        bench.deliver(1)
        bench.eventually(lambda: len(channel.posted) == 1)
        bench.work.settle()
        bench.work.set_ready(True)
        bench.eventually(lambda: len(channel.posted) == 2)
    assert channel.posted[1]["ready"] is True


def test_all_outputs_together_are_bounded(bench: Bench) -> None:
    names = [f"o{n}" for n in range(5)]
    bench.deliver(1, outputs=[{"name": name, "command": "true"} for name in names])
    for number, name in enumerate(names):
        bench.store.outputs[name] = {"value": "x" * (60_000 + number), "version": 1}
    rows = {row["name"]: row for row in snapshot(bench.work)["outputs"]}
    assert [name for name in names if "error" in rows[name]] == ["o3", "o4"]
    assert len(json.dumps(list(rows.values()))) < 256 * 1024


def test_a_step_says_what_it_waits_for(bench: Bench) -> None:
    bench.deliver(1, steps=[{"name": "s", "script": "true", "pending": ["db", "key"]}])
    (row,) = snapshot(bench.work)["steps"]
    assert row == {"name": "s", "state": "Waiting", "attempts": 0, "message": "waits for db, key"}
