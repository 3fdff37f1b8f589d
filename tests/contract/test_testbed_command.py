"""`moorage testbed`, as a person uses it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest


@pytest.fixture
def elsewhere(tmp_path: Path) -> Iterator[Path]:
    """Test beds apart from those that other tests use."""
    yield tmp_path
    _testbed(tmp_path, "down", "hetzner")


def _testbed(folder: Path, *words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "moorage.cli", "testbed", *words],
        env={**os.environ, "MOORAGE_TESTBED": f"{folder}"},
        capture_output=True,
        text=True,
        check=False,
    )


def _state(folder: Path) -> str:
    listed = json.loads(_testbed(folder, "list", "-o", "json").stdout)
    return str(next(bed["state"] for bed in listed if bed["name"] == "hetzner"))


def test_a_bed_is_installed_started_and_stopped_as_often_as_one_likes(elsewhere: Path) -> None:
    for _ in range(2):
        assert _testbed(elsewhere, "install", "hetzner").returncode == 0
        assert _state(elsewhere) == "Stopped"
    told = [_testbed(elsewhere, "up", "hetzner") for _ in range(2)]
    assert [one.returncode for one in told] == [0, 0]
    first, second = (json.loads(one.stdout) for one in told)
    assert first == second, "it runs already"
    assert _state(elsewhere) == "Running"
    asking = urllib.request.Request(
        f"{first['endpoint']}/servers", headers={"Authorization": f"Bearer {first['credentials']['token']}"}
    )
    with urllib.request.urlopen(asking, timeout=30) as answer:
        assert json.load(answer)["servers"] == []
    for _ in range(2):
        assert _testbed(elsewhere, "down", "hetzner").returncode == 0
        assert _state(elsewhere) == "Stopped"


def test_a_bed_that_there_is_not_is_told_with_those_that_there_are(elsewhere: Path) -> None:
    told = _testbed(elsewhere, "up", "nowhere")
    assert told.returncode != 0
    assert "nowhere" in told.stderr
    assert "hetzner" in told.stderr
