"""What a test bed is, and how one is installed, started and stopped by whoever comes first."""

from __future__ import annotations

import fcntl
import json
import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from moorage.controlplane.cache import cache_root
from moorage.testbed.daemons import Daemons

Say = Callable[[str], None]


class Lacking(Exception):
    """The machine cannot run the bed; the message says what is missing and what would bring it."""


@dataclass(frozen=True)
class Running:
    """A bed that runs: where its API is, and the credentials, as a HostingService of `type` would have them.

    `settings` are such a service's `spec.settings`. `guests` is the address at which its servers reach this machine.
    `credentials` are the contents of the Secret; `extra` is what only tests of this bed need.
    """

    type: str
    endpoint: str
    guests: str
    region: str = ""
    project: str | None = None
    credentials: dict[str, str] = field(default_factory=dict, repr=False)
    settings: dict[str, Any] = field(default_factory=dict)
    image: str = ""
    offering: str = ""
    extra: dict[str, Any] = field(default_factory=dict)


class Bed(Protocol):
    """One bed. Folders are given, made and empty at first; `daemons` starts what lives on, and knows it again."""

    name: str
    summary: str

    def lacks(self) -> list[str]:
        """What keeps this machine from ever running it (no root, no /dev/net/tun, not Debian ...); never a package."""
        ...

    def install(self, cache: Path, say: Say) -> None:
        """Bring everything that `up` needs. Quick where nothing is missing. Raises Lacking."""
        ...

    def up(self, cache: Path, state: Path, daemons: Daemons, say: Say) -> Running:
        """Start it from an empty state folder, and return once it answers. Raises Lacking."""
        ...

    def down(self, state: Path, daemons: Daemons, say: Say) -> None:
        """Remove its servers and whatever would outlive its daemons (interfaces, mounts); they are ended afterwards.
        Called also after an `up` that failed or was killed half-way."""
        ...


def _cache(bed: Bed) -> Path:
    folder = cache_root() / "testbed" / bed.name
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def _state(bed: Bed) -> Path:
    """On the machine's own disk and short, since paths of sockets are limited to about 100 characters."""
    root = Path(os.environ.get("MOORAGE_TESTBED") or f"/var/tmp/moorage-testbed-{os.getuid()}")  # noqa: S108 - 0700
    root.mkdir(mode=0o700, exist_ok=True)
    if root.stat().st_uid != os.getuid():
        raise Lacking(f"{root} belongs to another user")
    return root / bed.name


@contextmanager
def _locked(bed: Bed) -> Iterator[None]:
    with (_cache(bed) / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def install(bed: Bed, say: Say) -> None:
    """Install what the bed needs; waits for another process that is at it. Raises Lacking."""
    if lacks := bed.lacks():
        raise Lacking(f"{bed.name} cannot run here: " + "; ".join(lacks))
    with _locked(bed):
        bed.install(_cache(bed), say)


def up(bed: Bed, say: Say) -> Running:
    """Install and start the bed, or find it running. Raises Lacking."""
    install(bed, say)
    with _locked(bed):
        state, found = _state(bed), _read(bed)
        daemons = Daemons(state / "daemons")
        if found is not None and daemons.all_alive():
            return found
        _end(bed, state, say)
        state.mkdir(mode=0o700, parents=True)
        try:
            running = bed.up(_cache(bed), state, daemons, say)
        except BaseException:
            _end(bed, state, say, keep_logs=True)
            raise
        partial = state / "running.json~"
        partial.touch(mode=0o600)
        partial.write_text(json.dumps(running.__dict__))
        partial.rename(state / "running.json")
        return running


def down(bed: Bed, say: Say) -> None:
    """Stop the bed, and remove all that ran on it. Repetition: harmless."""
    with _locked(bed):
        _end(bed, _state(bed), say)


def status(bed: Bed) -> Running | None:
    """The bed if it runs, else None."""
    found = _read(bed)
    return found if found is not None and Daemons(_state(bed) / "daemons").all_alive() else None


def mutex(bed: Bed) -> Path:
    """The file that whoever wants the bed for itself locks (flock): beside its folder, which comes and goes. Nothing
    here takes it. Raises Lacking."""
    return _state(bed).with_suffix(".lock")


def _read(bed: Bed) -> Running | None:
    try:
        return Running(**json.loads((_state(bed) / "running.json").read_text()))
    except (OSError, ValueError, TypeError):
        return None


def _end(bed: Bed, state: Path, say: Say, *, keep_logs: bool = False) -> None:
    if not state.exists():
        return
    (state / "running.json").unlink(missing_ok=True)
    daemons = Daemons(state / "daemons")
    try:
        bed.down(state, daemons, say)
    finally:
        daemons.end()
        if keep_logs:
            kept = state.with_name(state.name + ".failed")
            shutil.rmtree(kept, ignore_errors=True)
            state.rename(kept)
            say(f"the logs of the failed start are in {kept}")
        else:
            shutil.rmtree(state, ignore_errors=True)
