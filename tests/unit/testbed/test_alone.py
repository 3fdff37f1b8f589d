"""Two processes that test on one bed take turns; who waits says for whom, and a killed one is not waited for."""

from __future__ import annotations

import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from tests.support import beds

HOLD = """
import sys
from tests.support import beds
with beds.alone(sys.argv[1:], "a::test", print):
    print("held", flush=True)
    sys.stdin.read()
"""


@pytest.fixture(autouse=True)
def _own_beds(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MOORAGE_TESTBED", str(tmp_path / "beds"))


@contextmanager
def held_by_another(*names: str) -> Iterator[subprocess.Popen[str]]:
    argv = [sys.executable, "-c", HOLD, *names]
    with subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as other:
        assert other.stdout is not None
        assert other.stdout.readline() == "held\n"
        try:
            yield other
        finally:
            other.kill()


def test_a_bed_that_another_process_has_is_waited_for_by_name() -> None:
    with held_by_another("ec2") as other:
        told: list[str] = []

        def say(text: str) -> None:
            told.append(text)
            if len(told) == 2:
                other.kill()

        with beds.alone(["ec2"], "b::test", say, tell_after=0.01):
            assert len(told) >= 2
    assert told[0] == f"waiting for the test bed ec2: process {other.pid}, a::test uses it"


def test_other_beds_are_not_waited_for() -> None:
    with held_by_another("ec2"), beds.alone(["incus", "hetzner"], "b::test", pytest.fail):
        pass


def test_one_after_the_other_in_one_process_waits_for_nobody() -> None:
    for _ in range(2):
        with beds.alone(["ec2", "ec2"], "b::test", pytest.fail):
            pass


def test_whatever_order_the_beds_are_named_in_nobody_waits_for_ever() -> None:
    def take(*names: str) -> None:
        for _ in range(25):
            with beds.alone(names, "a thread", lambda _: None):
                pass

    orders = [("ec2", "incus", "libvirt"), ("libvirt", "incus", "ec2"), ("incus", "ec2", "libvirt")]
    threads = [threading.Thread(target=take, args=order, daemon=True) for order in orders]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert not any(thread.is_alive() for thread in threads)


def test_waiting_is_not_the_tests_time(pytestconfig: pytest.Config) -> None:
    """The hook that is called first is the last in the list."""
    impls = [impl.plugin_name for impl in pytestconfig.hook.pytest_runtest_protocol.get_hookimpls()]
    ours = next(n for n, name in enumerate(impls) if name.endswith("tests/conftest.py"))
    assert ours > impls.index("timeout")
