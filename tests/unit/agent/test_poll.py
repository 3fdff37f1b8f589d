"""Joining and polling: what is done with each answer."""

from __future__ import annotations

import json
import ssl
import threading
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.unit.agent.conftest import Bench

from moorage.agent import trust
from moorage.agent.client import Answer, Backoff, Channel, Roots, UnreachableError, describe
from moorage.agent.poll import PollThread, is_document
from moorage.agent.settings import Settings
from moorage.configd.pki import new_authority, rotated, utc_now

SETTINGS = Settings(["https://c:1"], "ab", "ns/uid", "canary-token", "/nowhere", "")


class Waits(Backoff):
    """Back-offs that are counted instead of waited."""

    def __init__(self) -> None:
        super().__init__()
        self.waits: list[float] = []
        self.resets = 0

    def reset(self) -> None:
        self.resets += 1

    def wait(self, stop: threading.Event, at_least: float = 0.0) -> None:
        self.waits.append(at_least)


class Script(Channel):
    """A channel that answers in turn, and stops the work with its last answer."""

    def __init__(self, bench: Bench, *answers: Answer | None) -> None:
        self._bench, self._answers = bench, list(answers)
        self.asked: list[tuple[str, str, str]] = []

    def request(
        self, method: str, path: str, body: bytes | None = None, etag: str = "", timeout: float = 20.0
    ) -> Answer:
        self.asked.append((method, path.partition("?")[0], etag))
        answer = self._answers.pop(0)
        if not self._answers:
            self._bench.work.stop()
        if answer is None:
            raise UnreachableError("nobody there")
        return answer


def document(revision: int, **parts: Any) -> Answer:
    return Answer(200, {}, json.dumps({"revision": revision, **parts}).encode())


def polled(bench: Bench, *answers: Answer | None) -> tuple[Script, Waits, Waits]:
    script = Script(bench, *answers)
    thread = PollThread(bench.work, script, SETTINGS)
    away, refused = Waits(), Waits()
    thread._away, thread._refused = away, refused
    thread.run()
    return script, away, refused


UNCHANGED = Answer(304, {}, b"")
JOINED = Answer(200, {}, b'{"server": "ns/uid"}')
REFUSED = b'{"reason": "Unauthorized", "message": "no"}'


def test_it_joins_once_and_then_asks_for_what_it_has_not(bench: Bench) -> None:
    script, _, _ = polled(bench, JOINED, document(1), UNCHANGED, document(4), UNCHANGED)
    assert script.asked == [
        ("POST", "/v1/join", ""),
        ("GET", "/v1/configuration", ""),
        ("GET", "/v1/configuration", "1"),
        ("GET", "/v1/configuration", "1"),
        ("GET", "/v1/configuration", "4"),
    ]
    assert (bench.store.joined, bench.store.delivered) == (True, 4)


def test_after_a_reboot_it_asks_with_the_revision_that_it_kept(bench: Bench, tmp_path: Path) -> None:
    polled(bench, JOINED, document(3))
    again = Bench(tmp_path)
    script, _, _ = polled(again, UNCHANGED)
    assert script.asked == [("GET", "/v1/configuration", "3")]


@pytest.mark.parametrize("status", [401, 409, 410])
def test_a_refusal_is_waited_out_for_long(bench: Bench, status: int, capsys: pytest.CaptureFixture[str]) -> None:
    _, away, refused = polled(bench, Answer(status, {}, REFUSED))
    assert (away.waits, refused.waits) == ([], [0.0])
    assert f"HTTP {status}" in capsys.readouterr().err


def test_an_unknown_key_joins_again_with_the_same_one(bench: Bench) -> None:
    key = bench.store.key()
    script, _, _ = polled(bench, JOINED, Answer(401, {}, REFUSED), JOINED)
    assert [path for _, path, _ in script.asked].count("/v1/join") == 2
    assert bench.store.key() == key


def test_configd_that_is_away_is_waited_for(bench: Bench, capsys: pytest.CaptureFixture[str]) -> None:
    _, away, refused = polled(bench, None, Answer(503, {"retry-after": "7"}, b""), JOINED, None, UNCHANGED)
    assert (away.waits, refused.waits) == ([0.0, 7.0, 0.0], [])
    assert away.resets == 2
    assert "canary" not in capsys.readouterr().err


@pytest.mark.parametrize(
    "body", [b"", b"[]", b"{}", b'{"revision": 0}', b'{"revision": "1"}', b'{"revision":1,"steps":3}']
)
def test_what_is_no_configuration_is_not_taken(bench: Bench, body: bytes) -> None:
    polled(bench, JOINED, Answer(200, {}, body))
    assert bench.work.revision == 0


@given(st.recursive(st.none() | st.integers() | st.text(), lambda x: st.lists(x) | st.dictionaries(st.text(), x)))
def test_no_part_of_a_document_of_another_shape_is_taken_for_one(value: Any) -> None:
    for part in ("files", "steps", "outputs", "pending"):
        taken = is_document({"revision": 1, part: value})
        assert not taken or not value or all(isinstance(entry, dict) for entry in value)


def test_back_offs_grow_with_jitter_up_to_the_cap() -> None:
    class Stop(threading.Event):
        waits: list[float] = []  # noqa: RUF012 - of this one test

        def wait(self, timeout: float | None = None) -> bool:
            self.waits.append(timeout or 0.0)
            return True

    stop = Stop()
    backoff = Backoff(first=1.0, cap=30.0)
    for _ in range(8):
        backoff.wait(stop)
    assert all(15.0 <= wait <= 30.0 for wait in stop.waits[5:])
    assert 0.5 <= stop.waits[0] <= 1.0
    backoff.reset()
    backoff.wait(stop, at_least=5.0)
    assert stop.waits[-1] == 5.0


# Trust


def test_only_the_pinned_root_is_learnt_from_strangers(tmp_path: Path) -> None:
    ours, theirs = new_authority(utc_now()), new_authority(utc_now())
    roots = Roots(SETTINGS._replace(pin=ours.pin, state=str(tmp_path)))
    with pytest.raises(ValueError, match="pin"):
        roots.learn(theirs.bundle.decode())
    roots.learn((theirs.bundle + ours.bundle).decode())
    assert roots.bundle == ours.bundle.decode()
    again = Roots(SETTINGS._replace(pin=ours.pin, state=str(tmp_path)))
    assert again.bundle == ours.bundle.decode()


def test_announced_roots_are_kept(tmp_path: Path) -> None:
    old = new_authority(utc_now())
    new = rotated(old, utc_now())
    roots = Roots(SETTINGS._replace(pin=old.pin, state=str(tmp_path)))
    roots.learn(old.bundle.decode())
    assert roots.differs("0" * 64)
    assert not roots.differs("")
    roots.announced(new.bundle.decode())
    assert len(trust.certificates(roots.bundle)) == 2
    for bad in ("", "rubbish", "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"):
        with pytest.raises((ValueError, ssl.SSLError)):
            roots.announced(bad)
    assert len(trust.certificates(roots.bundle)) == 2


def test_errors_are_described_without_what_was_sent() -> None:
    assert describe(ConnectionRefusedError(111, "Connection refused")) == "Connection refused"
    assert describe(UnicodeDecodeError("utf-8", b"canary", 0, 1, "bad")) == "UnicodeDecodeError"
    assert describe(KeyError("canary")) == "KeyError"
