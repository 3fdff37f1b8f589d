"""Packages of the system, for beds that are programs of Debian."""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path

from moorage.testbed.bed import Lacking, Say

_USUAL = """\
URIs: http://deb.debian.org/debian
Suites: bookworm
Signed-By: /usr/share/keyrings/debian-archive-keyring.gpg
"""
"""Where a machine names its sources in another form."""


def lacks() -> list[str]:
    """What keeps packages from being installed."""
    found = []
    if os.geteuid() != 0:
        found.append("it needs root")
    if shutil.which("apt-get") is None or _codename() != "bookworm":
        found.append("it needs Debian 12")
    return found


def installed(package: str) -> bool:
    """Whether the package is installed."""
    asked = ["dpkg-query", "--show", "--showformat=${db:Status-Status}", package]
    done = subprocess.run(asked, capture_output=True, text=True, check=False)
    return done.returncode == 0 and done.stdout == "installed"


def install(packages: Sequence[str], say: Say, *, release: str | None = None) -> None:
    """Install those that are missing, without starting any service. `release` is for packages of another release than
    the system's (bookworm-backports), whose source is added if need be. Raises Lacking with what apt-get said."""
    missing = [package for package in packages if not installed(package)]
    if not missing:
        return
    say(f"installing Debian packages: {' '.join(missing)}")
    if release is not None:
        _add_release(release)
    _apt("update", "-qq")
    chosen = ["-t", release] if release is not None else []
    # Beds start their own daemons: those that packages would start stay down.
    policy = Path("/usr/sbin/policy-rc.d")
    made = not policy.exists()
    if made:
        policy.write_text("#!/bin/sh\nexit 101\n")
        policy.chmod(0o755)
    try:
        _apt("install", "-y", "-qq", "--no-install-recommends", *chosen, *missing)
    finally:
        if made:
            policy.unlink(missing_ok=True)


def _add_release(release: str) -> None:
    """The same mirror that the system uses, with the other release beside it."""
    source = Path("/etc/apt/sources.list.d") / f"{release}.sources"
    if source.exists():
        return
    sources = Path("/etc/apt/sources.list.d/debian.sources")
    fields = _main_source(sources.read_text() if sources.exists() else _USUAL, release.partition("-")[0])
    source.write_text(
        f"Types: deb\nURIs:{fields['URIs']}\nSuites: {release}\nComponents: main\nSigned-By:{fields['Signed-By']}\n"
    )


def _codename() -> str:
    with contextlib.suppress(OSError):
        for line in Path("/etc/os-release").read_text().splitlines():
            if line.startswith("VERSION_CODENAME="):
                return line.partition("=")[2].strip('"')
    return ""


def _main_source(text: str, suite: str) -> dict[str, str]:
    """The fields of the stanza that has the suite itself: that of security updates has a mirror of its own."""
    for stanza in re.split(r"\n\s*\n", text):
        lines = [line for line in stanza.splitlines() if ":" in line and not line.startswith("#")]
        fields = {name: value for name, _, value in (line.partition(":") for line in lines)}
        if suite in fields.get("Suites", "").split():
            return fields
    raise Lacking(f"apt's sources have no stanza of {suite}")


def _apt(*arguments: str) -> None:
    # Two beds may be installed at a time, and apt-get holds one lock.
    options = ["-o", "DPkg::Lock::Timeout=600", "-o", "Dpkg::Options::=--force-confold"]
    env = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    done = subprocess.run(
        ["apt-get", *options, *arguments],
        env=env,
        capture_output=True,
        text=True,
        check=False,
        stdin=subprocess.DEVNULL,
    )
    if done.returncode != 0:
        raise Lacking(f"apt-get {arguments[0]} failed: {(done.stderr or done.stdout).strip()[-600:]}")
