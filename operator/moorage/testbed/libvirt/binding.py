"""The Python binding of the very libvirt that is installed: built once for each Python, put on the path of this one.

PyPI has its source alone, which needs libvirt's headers; so the lock of the project's development tools leaves it out,
and bringing an environment to that lock would remove it from there: it stays in the cache, which a .pth file names.
"""

from __future__ import annotations

import importlib
import shutil
import subprocess
import sys
import sysconfig
import zipfile
from pathlib import Path

from moorage.testbed.bed import Lacking, Say

NAME = "libvirt-python"


def binding(cache: Path, say: Say) -> None:
    """Bring it into this process's environment. Raises Lacking."""
    version = _run("pkg-config", "--modversion", "libvirt").strip()
    folder = cache / f"binding-{version}-cp{sys.version_info.major}{sys.version_info.minor}"
    if not folder.exists():
        say(f"building {NAME} {version}")
        _build(cache, version, folder)
    path = Path(sysconfig.get_path("platlib")) / "moorage-testbed-libvirt.pth"
    if not path.exists() or path.read_text() != f"{folder}\n":
        path.write_text(f"{folder}\n")
    if str(folder) not in sys.path:
        sys.path.append(str(folder))
        importlib.invalidate_caches()


def _build(cache: Path, version: str, folder: Path) -> None:
    """Build the wheel, in an environment of its own since this one may have no pip, and unpack it."""
    work = cache / "building"
    shutil.rmtree(work, ignore_errors=True)
    _run(sys.executable, "-m", "venv", work / "venv")
    options = ["--quiet", "--disable-pip-version-check", "--no-deps", "--wheel-dir", str(work)]
    _run(work / "venv/bin/python", "-m", "pip", "wheel", *options, f"{NAME}=={version}")
    (wheel,) = work.glob("*.whl")
    with zipfile.ZipFile(wheel) as packed:
        packed.extractall(work / "unpacked")
    (work / "unpacked").rename(folder)
    shutil.rmtree(work)


def _run(*argv: str | Path) -> str:
    done = subprocess.run([str(word) for word in argv], capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise Lacking(f"{Path(str(argv[0])).name} failed: {(done.stderr or done.stdout).strip()[-600:]}")
    return done.stdout
