"""The checks that `make lint` makes itself, and how it sums up."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from tools.check import Outcome, agent_problems, count, failures, is_final, lock_problems, summary

PROJECT = """
[project]
dependencies = ["aiohttp>=3", "Google.Re2>=1.1"]
[project.optional-dependencies]
other = ["boto>=2"]
[dependency-groups]
dev = ["pytest>=9"]
"""


def project(root: Path, runtime: str, dev: str) -> Path:
    (root / "requirements").mkdir()
    (root / "pyproject.toml").write_text(PROJECT)
    (root / "requirements" / "runtime.txt").write_text(runtime)
    (root / "requirements" / "dev.txt").write_text(dev)
    return root


RUNTIME = "aiohttp==3.9 \\\n    --hash=sha256:x==\ngoogle-re2==1.1.20 ; python_version >= '3.11'\nboto==2.0\n"


def test_locks_that_hold_every_dependency_are_fine(tmp_path: Path) -> None:
    assert lock_problems(project(tmp_path, RUNTIME, f"{RUNTIME}pytest==9.2.0\n")) == []


def test_what_a_lock_lacks_or_has_too_old_is_named(tmp_path: Path) -> None:
    problems = lock_problems(project(tmp_path, "aiohttp==2.0\nboto==2.0\n", RUNTIME))
    assert problems == [
        "requirements/runtime.txt has 2.0 aiohttp>=3: run make lock",
        "requirements/runtime.txt has no Google.Re2>=1.1: run make lock",
        "requirements/dev.txt has no pytest>=9: run make lock",
    ]


@pytest.mark.parametrize(
    ("source", "problem"),
    [
        ("match 1:\n  case 1: pass\n", "not Python 3.8"),
        ("import os, aiohttp\n", "aiohttp is not of the standard library"),
        ("from moorage.api import names\n", "moorage.api is not of the standard library"),
        ("with (open('a') as a, open('b') as b): pass\n", "not Python 3.8"),
    ],
)
def test_an_agent_that_needs_more_than_old_python_is_refused(tmp_path: Path, source: str, problem: str) -> None:
    (tmp_path / "agent.py").write_text(source)
    (found,) = agent_problems(tmp_path)
    assert problem in found
    assert "/agent.py:" in found


def test_the_agents_own_modules_and_the_standard_library_are_fine(tmp_path: Path) -> None:
    source = "import http.client\nfrom . import other\nfrom .other import x\nfrom moorage.agent.main import main\n"
    (tmp_path / "agent.py").write_text(source)
    assert agent_problems(tmp_path) == []


def test_the_counts_are_those_of_the_report(tmp_path: Path) -> None:
    report = tmp_path / "report.xml"
    report.write_text('<testsuites><testsuite tests="9" failures="1" errors="2" skipped="3"/></testsuites>')
    assert {word: number for word, number in count(report).items() if number} == {
        "passed": 3,
        "failed": 3,
        "skipped": 3,
    }


def test_what_does_not_apply_is_counted_apart_from_what_cannot_run(tmp_path: Path) -> None:
    report = tmp_path / "report.xml"
    skips = ("not applicable: lag: none", "not applicable: no pages", "left to the full matrix: slow", "no incusd")
    cases = "".join(f'<testcase><skipped message="{reason}"/></testcase>' for reason in skips)
    report.write_text(f'<testsuites><testsuite tests="5" skipped="4">{cases}<testcase/></testsuite></testsuites>')
    counts = {"passed": 1, "failed": 0, "skipped": 1, "not applicable": 2, "left to test-backends": 1}
    assert count(report) == counts
    lines = summary([Outcome("contract", True, counts=counts)]).splitlines()
    assert lines[-2:] == ["beside these: 2 not applicable; 1 left to test-backends", "1 passed, 0 failed, 1 skipped"]


def test_the_last_line_sums_up_in_plain_words() -> None:
    outcomes = [
        Outcome("lint", False, failed=["types"]),
        Outcome("unit", True, counts={"passed": 5, "failed": 0, "skipped": 1}),
        Outcome("api", False, counts={"passed": 2, "failed": 2, "skipped": 0}),
    ]
    lines = summary(outcomes).splitlines()
    assert lines[-1] == "7 passed, 3 failed, 1 skipped"
    assert "types" in lines[1]
    assert "FAILED" in lines[1]
    assert "5 passed, 1 skipped" in lines[2]


PASSES_SOMETIMES = """
import pytest
from moorage.testing.promises import PromiseBroken

def test_twice():
    raise {error}("made: a, b")
"""


@pytest.mark.parametrize(
    ("error", "final"), [("PromiseBroken", True), ("AssertionError", False), ("TimeoutError", False)]
)
def test_a_broken_promise_is_told_from_an_accident_by_its_error(tmp_path: Path, error: str, final: bool) -> None:
    (tmp_path / "test_it.py").write_text(PASSES_SOMETIMES.format(error=error))
    report = tmp_path / "report.xml"
    pytest_argv = [
        sys.executable,
        "-m",
        "pytest",
        "-p",
        "no:cacheprovider",
        f"--rootdir={tmp_path}",
        f"--junitxml={report}",
    ]
    subprocess.run([*pytest_argv, f"{tmp_path}"], capture_output=True, check=False)
    assert [is_final(message) for message in failures(report)] == [final]
