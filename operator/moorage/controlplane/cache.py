"""The cache outside the work tree: where it is, its keys, its locks, and publishing into it in one step."""

from __future__ import annotations

import fcntl
import hashlib
import os
import platform
import shutil
import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path


def cache_root(environment: Mapping[str, str] | None = None) -> Path:
    """The cache's folder: `MOORAGE_CACHE`, else `moorage` in `XDG_CACHE_HOME`, else `~/.cache/moorage`."""
    env = os.environ if environment is None else environment
    if own := env.get("MOORAGE_CACHE"):
        return Path(own).expanduser().absolute()
    # The XDG rule: a relative path in the variable is invalid and counts as absent.
    base = env.get("XDG_CACHE_HOME", "")
    root = Path(base) if base and Path(base).is_absolute() else Path(env.get("HOME") or Path.home()) / ".cache"
    return root / "moorage"


def go_platform(system: str | None = None, machine: str | None = None) -> str:
    """This machine as Go names it, for example `linux-amd64`."""
    arch = (machine or platform.machine()).lower()
    names = {"x86_64": "amd64", "aarch64": "arm64", "i686": "386", "armv7l": "arm"}
    return f"{(system or platform.system()).lower()}-{names.get(arch, arch)}"


def digest(parts: Iterable[bytes]) -> str:
    """The first 12 hex digits of a SHA-256 over `parts`, each with its length, so that no two lists of parts agree."""
    hasher = hashlib.sha256()
    for part in parts:
        hasher.update(len(part).to_bytes(8, "big"))
        hasher.update(part)
    return hasher.hexdigest()[:12]


def try_lock(path: Path, *, exclusive: bool = True) -> int | None:
    """Lock `path` (made if absent) without waiting; the open descriptor, or None where someone else holds it.

    The kernel drops the lock with the last copy of the descriptor, so a killed holder never leaves one behind.
    """
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(descriptor, (fcntl.LOCK_EX if exclusive else fcntl.LOCK_SH) | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(descriptor)
        return None
    except BaseException:
        os.close(descriptor)
        raise
    return descriptor


@contextmanager
def locked(path: Path, waiting: Callable[[], None] | None = None) -> Iterator[None]:
    """Hold the lock at `path`, waiting for it where needed; `waiting` is called once before a wait."""
    path.parent.mkdir(parents=True, exist_ok=True)
    descriptor = try_lock(path)
    if descriptor is None:
        if waiting is not None:
            waiting()
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX)
        except BaseException:
            os.close(descriptor)
            raise
    try:
        yield
    finally:
        os.close(descriptor)


def publish(target: Path, make: Callable[[Path], None], waiting: Callable[[], None] | None = None) -> Path:
    """Return the folder `target`, filled by `make` first if it is absent. Safe among any number of processes.

    `make` fills a temporary folder beside it, which becomes `target` in one rename: no reader ever sees half of it, and
    an interrupted run leaves only a temporary folder, which the next run removes.
    """
    if target.is_dir():
        return target
    with locked(target.parent / f".{target.name}.lock", waiting):
        if target.is_dir():
            return target
        prefix = f".{target.name}.new-"
        for stale in target.parent.glob(f"{prefix}*"):
            shutil.rmtree(stale)
        fresh = Path(tempfile.mkdtemp(prefix=prefix, dir=target.parent))
        try:
            make(fresh)
            fresh.chmod(0o755)
            fresh.rename(target)
        except BaseException:
            shutil.rmtree(fresh, ignore_errors=True)
            raise
    return target
