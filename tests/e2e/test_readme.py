"""The commands of the README work as they stand, one after the other."""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.support.needs import missing, program

from moorage.controlplane import ControlPlaneError, cache_root, find

ROOT = Path(__file__).parents[2]
LINKS = re.compile(r"\]\((?!https?:|#)([^)#]+)")
OWN = {"kept", "instances"}
"""What the cache has of control planes that run, beside the binaries."""


def block(mark: str) -> str:
    """The shell commands that follow a mark."""
    found = re.search(rf"<!-- {mark} -->\n```sh\n(.*?)```", (ROOT / "README.md").read_text(), re.DOTALL)
    assert found, mark
    return found.group(1)


@pytest.fixture
def cache(tmp_path: Path) -> Path:
    """A cache with the control plane's binaries, in which no control plane is kept running."""
    try:
        find()
    except ControlPlaneError as error:
        missing(str(error))
    there = tmp_path / "cache" / "controlplane"
    there.mkdir(parents=True)
    for entry in (cache_root() / "controlplane").iterdir():
        if entry.name not in OWN and not entry.name.startswith("."):
            (there / entry.name).symlink_to(entry)
    return there.parent


@pytest.fixture
def environment(cache: Path) -> Iterator[dict[str, str]]:
    """The environment of a person with moorage on the PATH."""
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    variables = {**os.environ, "PATH": path, "MOORAGE_CACHE": str(cache)}
    yield variables
    subprocess.run([sys.executable, "-m", "moorage.controlplane", "down"], env=variables, check=False, timeout=60)


@pytest.mark.timeout(300)
def test_the_quickstart_works_as_it_is_written(environment: dict[str, str], tmp_path: Path) -> None:
    program("kubectl")
    program("curl")
    # The tests run in an environment that is made already, and others may use the machine's well-known ports.
    lines = block("quickstart").replace("python3 tools/bootstrap.py .venv && . .venv/bin/activate\n", "")
    lines = lines.replace("moorage run", "moorage run --health-port 0")
    (tmp_path / "data").mkdir()
    assert "work=$(mktemp -d)" in lines
    lines = lines.replace("mktemp -d", f"mktemp -d -p {tmp_path / 'data'}")
    output = tmp_path / "output"
    with output.open("wb") as out:
        shell = subprocess.Popen(
            [shutil.which("bash") or "sh", "-eu", "-c", f"{lines}\n{block('cleanup')}\nwait"],
            cwd=ROOT,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=out,
            start_new_session=True,
        )
    try:
        code = shell.wait(240)
    except subprocess.TimeoutExpired:
        code = None
    finally:
        with contextlib.suppress(ProcessLookupError):  # nothing of it is left, as it should be
            os.killpg(shell.pid, signal.SIGKILL)
    logs = "\n".join(path.read_text(errors="replace") for path in sorted((tmp_path / "data").glob("*/*.log")))
    said = output.read_text(errors="replace")
    assert code == 0, f"{said}\n{logs}"
    assert "placed on bollard" in said
    assert "Albatross" in said


@pytest.mark.parametrize("page", ["README.md", "docs/concepts.md", "docs/operations.md"])
def test_links_lead_to_files(page: str) -> None:
    path = ROOT / page
    assert [link for link in LINKS.findall(path.read_text()) if not (path.parent / link).exists()] == []
