"""The pinned Go modules, their keys, and what a failing build says."""

from __future__ import annotations

import io
import re
from dataclasses import replace
from pathlib import Path

import pytest

from moorage.controlplane import Progress, Unavailable, pins
from moorage.controlplane.gobuild import GoModule, build, built


def module(folder: Path) -> GoModule:
    folder.mkdir()
    (folder / "go.mod").write_text("module m\n")
    (folder / "go.sum").write_text("")
    return GoModule(folder, {"tool": "m/cmd/tool"})


def fake_go(folder: Path, script: str) -> str:
    path = folder / "fake-go"
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(0o755)
    return f"{path}"


WORKING = """
[ "$1" = list ] && { echo one; echo two; exit 0; }
while [ "$1" != -o ]; do shift; done
echo m/internal >&2
case $2 in */) touch "$2/tool";; *) touch "$2";; esac
"""


@pytest.mark.parametrize(("index", "requirement"), [(0, pins.ETCD), (1, pins.KUBERNETES)])
def test_the_committed_modules_are_the_pinned_versions(index: int, requirement: str) -> None:
    text = (pins.MODULES[index].directory / "go.mod").read_text()
    name = ("go.etcd.io/etcd/server/v3", "k8s.io/kubernetes")[index]
    assert f"require {name} {requirement}\n" in text
    go = re.search(r"^go (\d+)\.(\d+)", text, re.MULTILINE)
    assert go is not None
    assert (int(go[1]), int(go[2])) <= pins.GO


def test_the_key_changes_with_the_sums_the_binaries_and_the_flags(tmp_path: Path) -> None:
    one = module(tmp_path / "m")
    keys = {
        one.key(),
        replace(one, ldflags="-X a=b").key(),
        replace(one, binaries={"tool": "m/other"}).key(),
    }
    (one.directory / "go.sum").write_text("changed")
    keys.add(one.key())
    assert len(keys) == 4


def test_a_build_fills_the_folder_and_tells_how_far_it_is(tmp_path: Path) -> None:
    said = io.StringIO()
    target = built(module(tmp_path / "m"), tmp_path / "out", Progress(said, every=0.0), fake_go(tmp_path, WORKING))
    assert (target / "tool").is_file()
    assert "building tool: 1 packages compiled of at most 2" in said.getvalue()
    assert "built tool in" in said.getvalue()


def test_nothing_is_written_beside_the_modules_files(tmp_path: Path) -> None:
    one = module(tmp_path / "m")
    (tmp_path / "out").mkdir()
    build(one, tmp_path / "out", Progress(quiet=True), fake_go(tmp_path, f"touch scribble; {WORKING}"))
    assert sorted(path.name for path in one.directory.iterdir()) == ["go.mod", "go.sum"]


@pytest.mark.parametrize(
    ("script", "message"),
    [
        ("echo 'no such host' >&2; exit 1", "modules could not be loaded: no such host"),
        ('[ "$1" = list ] && exit 0; echo "disk full"; exit 1', "go build failed: disk full"),
        ('[ "$1" = list ] && exit 0; exit 1', "go build failed: it said nothing"),
        ("exit 0", "made no tool"),
    ],
)
def test_a_failed_build_says_why_and_publishes_nothing(tmp_path: Path, script: str, message: str) -> None:
    with pytest.raises(Unavailable, match=message):
        built(module(tmp_path / "m"), tmp_path / "out", Progress(quiet=True), fake_go(tmp_path, script))
    assert not (tmp_path / "out").exists()


def test_without_go_the_message_names_it(tmp_path: Path) -> None:
    with pytest.raises(Unavailable, match="/no/go could not be run"):
        built(module(tmp_path / "m"), tmp_path / "out", Progress(quiet=True), "/no/go")


def test_a_log_gets_a_line_now_and_then_and_a_quiet_one_none() -> None:
    said = io.StringIO()
    progress = Progress(said, every=3600.0)
    for step in range(5):
        progress.status(f"step {step}")
    progress.line("done")
    assert said.getvalue() == "step 0\ndone\n"
    silent = io.StringIO()
    Progress(silent, quiet=True).line("x")
    Progress(silent, quiet=True).status("x")
    assert silent.getvalue() == ""


def test_a_terminal_has_one_line_that_is_rewritten() -> None:
    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    said = Terminal()
    progress = Progress(said)
    progress.status("one")
    progress.status("two")
    progress.line("done")
    assert said.getvalue() == "\r\033[Kone\r\033[Ktwo\r\033[Kdone\n"
