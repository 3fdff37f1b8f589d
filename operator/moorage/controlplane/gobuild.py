"""Building binaries from a pinned Go module, with progress, into the cache."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import tempfile
import time
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from moorage.controlplane.cache import digest, go_platform, publish
from moorage.controlplane.errors import Unavailable
from moorage.controlplane.progress import Progress


@dataclass(frozen=True, slots=True)
class GoModule:
    """A folder with a committed go.mod and go.sum, and the binaries (name to package) that it builds."""

    directory: Path
    binaries: Mapping[str, str]
    ldflags: str = ""

    def sources(self) -> list[Path]:
        """The module's own files, in a fixed order."""
        return sorted(path for path in self.directory.iterdir() if path.suffix in {".mod", ".sum", ".go"})

    def key(self) -> str:
        """What the binaries depend on, as a short digest: the module's files, the binaries, the flags, the platform."""
        named = [part for path in self.sources() for part in (path.name.encode(), path.read_bytes())]
        wanted = [f"{name}={package}".encode() for name, package in sorted(self.binaries.items())]
        return digest([*named, *wanted, self.ldflags.encode(), go_platform().encode()])


def go_version(text: str) -> tuple[int, int] | None:
    """The version in the output of `go version`, for example `(1, 26)`; None where there is none."""
    match = re.search(r"\bgo(\d+)\.(\d+)", text)
    return (int(match[1]), int(match[2])) if match else None


def build(module: GoModule, destination: Path, progress: Progress, go: str = "go") -> None:
    """Build the module's binaries into `destination`.

    The module's files are copied first, so nothing is written into the package or the work tree.
    Raises Unavailable, with the end of the compiler's output, where the build fails (no network for the modules, an old
    Go, no space).
    """
    names = ", ".join(module.binaries)
    started = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="moorage-go-") as scratch:
        for source in module.sources():
            shutil.copy(source, scratch)
        total = _count_packages(module, scratch, go, progress)
        for name, package in _groups(module):
            out = destination if name is None else destination / name
            _run_build(go, scratch, out, package, module.ldflags, f"building {names}", total, progress, started)
    missing = [name for name in module.binaries if not (destination / name).is_file()]
    if missing:
        raise Unavailable(f"go build succeeded but made no {', '.join(missing)} in {destination}")
    progress.line(f"built {names} in {time.monotonic() - started:.0f} s")


def built(module: GoModule, target: Path, progress: Progress, go: str = "go") -> Path:
    """The folder `target` with the module's binaries, built first if absent; waits where another process builds it."""
    waiting = f"waiting for another process that builds {', '.join(module.binaries)}"
    return publish(target, lambda fresh: build(module, fresh, progress, go), lambda: progress.line(waiting))


def _groups(module: GoModule) -> list[tuple[str | None, list[str]]]:
    """The builds to run: one for all packages whose binary has the package's name, one each for the others."""
    plain = [package for name, package in module.binaries.items() if package.rsplit("/", 1)[-1] == name]
    named: list[tuple[str | None, list[str]]] = [
        (name, [package]) for name, package in module.binaries.items() if package not in plain
    ]
    return [(None, plain), *named] if plain else named


def _environment() -> dict[str, str]:
    # Static binaries need no C compiler; a workspace or flags of the user's own must not change what is built.
    return {**os.environ, "CGO_ENABLED": "0", "GOFLAGS": "-mod=readonly -buildvcs=false", "GOWORK": "off"}


def _count_packages(module: GoModule, scratch: str, go: str, progress: Progress) -> int:
    """How many packages there are at most to compile. Downloads the modules where they are not there yet."""
    progress.status(f"looking for the Go modules of {', '.join(module.binaries)}")
    argv = [go, "list", "-deps", *module.binaries.values()]
    try:
        run = subprocess.run(argv, cwd=scratch, env=_environment(), capture_output=True, text=True, check=False)
    except OSError as error:
        raise Unavailable(f"{go} could not be run: {error}") from error
    if run.returncode != 0:
        raise Unavailable(f"the Go modules could not be loaded: {_tail(run.stderr.splitlines())}")
    return len(run.stdout.split())


def _run_build(
    go: str,
    scratch: str,
    out: Path,
    packages: list[str],
    ldflags: str,
    what: str,
    total: int,
    progress: Progress,
    started: float,
) -> None:
    argv = [go, "build", "-v", "-trimpath", f"-ldflags=-s -w {ldflags}".rstrip(), "-o", f"{out}", *packages]
    if out.is_dir():
        argv[argv.index("-o") + 1] = f"{out}{os.sep}"
    done = 0
    last: deque[str] = deque(maxlen=15)
    with subprocess.Popen(
        argv, cwd=scratch, env=_environment(), stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    ) as process:
        try:
            assert process.stdout is not None  # noqa: S101 - a pipe was asked for
            for line in process.stdout:
                last.append(line.rstrip())
                done += 1
                seconds = time.monotonic() - started
                progress.status(f"{what}: {done} packages compiled of at most {total}, {seconds:.0f} s")
        except BaseException:
            process.kill()
            raise
    if process.returncode != 0:
        raise Unavailable(f"go build failed: {_tail(list(last))}")


def _tail(lines: list[str]) -> str:
    kept = [line.strip() for line in lines if line.strip()][-5:]
    return " / ".join(kept)[:1500] or "it said nothing"
