"""What a test needs and may not find: locally it is skipped and says what to install, with CI=true it fails."""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import NoReturn

import pytest


def in_ci() -> bool:
    """Whether this is a CI run, in which nothing may be missing."""
    return os.environ.get("CI", "").lower() in {"1", "true", "yes"}


def missing(problem: str) -> NoReturn:
    """Skip the test for `problem`, which says what to install; fail it in CI."""
    if in_ci():
        pytest.fail(problem, pytrace=False)
    pytest.skip(problem)


def program(name: str, *, package: str | None = None) -> Path:
    """The program's path. `package` is the Debian package that has it, where its name differs."""
    found = shutil.which(name)
    if found is None:
        missing(f"{name} is not installed: sudo apt-get install {package or name} (or: make system-packages)")
    return Path(found)
