"""Tests of one bed run in one process, whatever the versions of pytest and xdist make of groups."""

from __future__ import annotations

import os
import subprocess
import sys
from collections import defaultdict
from pathlib import Path

from tests.support.bed_scheduling import groups

ROOT = Path(__file__).resolve().parents[3]

CONFTEST = """
import os
import pytest
from tests.support.bed_scheduling import BedScheduler, write_down

def pytest_configure(config):
    config.addinivalue_line("markers", "bed(name): a bed")
    if "PYTEST_XDIST_WORKER" not in os.environ:
        config.pluginmanager.register(BedScheduler())

@pytest.hookimpl(tryfirst=True)
def pytest_collection_finish(session):
    needs = {i.nodeid: [name for m in i.iter_markers("bed") for name in m.args] for i in session.items}
    write_down(session.config, needs)
"""

TESTS = """
import os
import pytest

def said(name):
    with open("said", "a") as file:
        file.write(f"{name} {os.environ['PYTEST_XDIST_WORKER']}\\n")

@pytest.mark.parametrize("number", range(8))
@pytest.mark.parametrize("name", [
    pytest.param("a", marks=pytest.mark.bed("a")),
    pytest.param("b", marks=[pytest.mark.bed("b"), pytest.mark.bed("c")]),
    pytest.param("c", marks=pytest.mark.bed("c")),
    "free",
])
def test_one(name, number):
    said(name)
"""


def test_what_shares_a_bed_is_one_group() -> None:
    needs = {"1": ["a"], "2": ["b", "c"], "3": ["c"], "4": [], "5": ["d"], "6": ["d", "a"]}
    assert groups(needs) == {"1": "a+d", "2": "b+c", "3": "b+c", "5": "a+d", "6": "a+d"}


def test_each_group_runs_in_one_process(tmp_path: Path) -> None:
    (tmp_path / "conftest.py").write_text(CONFTEST)
    (tmp_path / "test_beds.py").write_text(TESTS)
    words = ["-p", "no:cacheprovider", "--rootdir=.", "-n", "3", "--dist=loadgroup", "."]
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PYTEST_")}
    done = subprocess.run(
        [sys.executable, "-m", "pytest", *words],
        cwd=tmp_path,
        env={**environment, "PYTHONPATH": f"{ROOT}"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    workers = defaultdict(set)
    lines = (tmp_path / "said").read_text().split("\n")[:-1]
    for name, worker in (line.split() for line in lines):
        workers[name].add(worker)
    assert len(lines) == 32
    assert len(workers["a"]) == 1
    assert len(workers["b"] | workers["c"]) == 1
