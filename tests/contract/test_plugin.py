"""The template of a backend's package: built, installed beside Moorage's own wheel, and put to the suite."""

from __future__ import annotations

import importlib.util
import json
import os
import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).resolve().parents[2]
TEMPLATE = ROOT / "examples" / "backend-plugin"
pytestmark = [pytest.mark.timeout(900), pytest.mark.xdist_group("plugin")]


def _bootstrap() -> ModuleType:
    spec = importlib.util.spec_from_file_location("bootstrap", ROOT / "tools" / "bootstrap.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def _run(*argv: str | Path, cwd: Path, **environment: str) -> str:
    # What a person's own shell has set must not lead back into this checkout.
    clean = {name: value for name, value in os.environ.items() if not name.startswith(("PYTHON", "PYTEST", "COV"))}
    done = subprocess.run(
        [str(part) for part in argv], cwd=cwd, capture_output=True, text=True, env={**clean, **environment}, check=False
    )
    assert done.returncode == 0, f"{done.stdout[-20000:]}\n{done.stderr[-5000:]}"
    return done.stdout


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The Python of an environment with the wheels of Moorage and of the template, and the locked dependencies."""
    folder = tmp_path_factory.mktemp("plugin")
    source = shutil.copytree(TEMPLATE, folder / "source", ignore=shutil.ignore_patterns("__pycache__", "dist"))
    for project in (ROOT, source):
        _run(sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", folder / "dist", cwd=project)
    uv = _bootstrap().uv(sys.executable)
    python = folder / "venv" / "bin" / "python"
    _run(uv, "venv", "--quiet", "--python", sys.executable, folder / "venv", cwd=folder)
    wheels = sorted((folder / "dist").glob("*.whl"))
    assert len(wheels) == 2
    _run(uv, "pip", "install", "--quiet", "--offline", "--no-deps", "--python", python, *wheels, cwd=folder)
    # The dependencies are those of this environment. They come last, and the checkout that is installed here for
    # editing does not come with them.
    site = Path(_run(python, "-c", "import sysconfig; print(sysconfig.get_path('purelib'))", cwd=folder).strip())
    (site / "dependencies.pth").write_text(sysconfig.get_path("purelib") + "\n")
    return python


def test_the_template_is_listed_with_what_it_brings(installed: Path, tmp_path: Path) -> None:
    listed = json.loads(_run(installed, "-m", "moorage.cli", "backends", "-o", "json", cwd=tmp_path))
    (toycloud,) = [entry for entry in listed if entry["type"] == "toycloud"]
    assert (toycloud["package"], toycloud["version"]) == ("moorage-toycloud", "1.0.0")
    assert toycloud["abilities"] == ["Retag"]
    assert {"local", "toycloud"} <= {entry["type"] for entry in listed}


def test_what_is_installed_is_the_wheel(installed: Path, tmp_path: Path) -> None:
    place = _run(installed, "-c", "import moorage, moorage.testing; print(moorage.testing.__file__)", cwd=tmp_path)
    assert Path(place.strip()).is_relative_to(installed.parents[1])


def test_the_template_passes_the_suite(installed: Path, tmp_path: Path) -> None:
    # Only its tests, beside which there is no source that could be imported instead of the wheel.
    shutil.copytree(TEMPLATE / "tests", tmp_path / "tests", ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(TEMPLATE / "pyproject.toml", tmp_path)
    told = _run(installed, "-m", "pytest", "-q", "-p", "no:cacheprovider", "--timeout=120", cwd=tmp_path)
    assert " passed" in told.splitlines()[-1]
