"""envtest's published binaries: which there are, fetching and checking them."""

from __future__ import annotations

import hashlib
import re
import tarfile
import tempfile
import urllib.error
import urllib.request
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import yaml

from moorage.controlplane import pins
from moorage.controlplane.errors import Unavailable
from moorage.controlplane.progress import Progress

INDEX: Final = "https://raw.githubusercontent.com/kubernetes-sigs/controller-tools/HEAD/envtest-releases.yaml"
RELEASES: Final = "https://dl.k8s.io/release"
OLDEST: Final = (1, 34)
"""The oldest minor version that is taken where the pinned one is not published."""


@dataclass(frozen=True, slots=True)
class Archive:
    """One published archive of etcd, kube-apiserver and kubectl."""

    version: str
    url: str
    sha512: str


def offered(platform: str, index: str = INDEX, timeout: float = 4.0) -> Archive:
    """The archive to take for `platform` (`linux-amd64`). Raises Unavailable where there is no index, or none in it."""
    try:
        content = yaml.safe_load(_get(index, timeout, limit=8 << 20))
    except yaml.YAMLError as error:
        raise Unavailable("envtest's index of releases is not YAML") from error
    return pick(content, platform)


def pick(index: Any, platform: str) -> Archive:
    """The pinned version or a later patch of it, else the newest older one. Raises Unavailable where there is none."""
    releases = index.get("releases") if isinstance(index, Mapping) else None
    if not isinstance(releases, Mapping):
        raise Unavailable("envtest's index of releases has no releases")
    ceiling = _numbers(pins.KUBERNETES)
    found: list[tuple[tuple[int, ...], Archive]] = []
    for version, archives in releases.items():
        numbers = _numbers(f"{version}")
        if (
            numbers is None
            or ceiling is None
            or not OLDEST <= numbers[:2] <= ceiling[:2]
            or not isinstance(archives, Mapping)
        ):
            continue
        entry = archives.get(f"envtest-{version}-{platform}.tar.gz")
        if isinstance(entry, Mapping) and entry.get("selfLink") and entry.get("hash"):
            found.append((numbers, Archive(f"{version}", f"{entry['selfLink']}", f"{entry['hash']}")))
    if not found:
        raise Unavailable(f"envtest publishes no binaries of 1.{OLDEST[1]} to {pins.KUBERNETES} for {platform}")
    return max(found, key=lambda pair: pair[0])[1]


def fetch(archive: Archive, platform: str, destination: Path, progress: Progress) -> None:
    """Download and check the archive, and the controller manager of its version, into `destination`."""
    progress.line(f"downloading envtest's binaries {archive.version}")
    content = _get(archive.url, 300, limit=1 << 30)
    if hashlib.sha512(content).hexdigest() != archive.sha512:
        raise Unavailable(f"the download of {archive.url} does not have the published checksum")
    with tempfile.TemporaryFile() as file:
        file.write(content)
        file.seek(0)
        _unpack(file, destination)
    _fetch_controller_manager(archive.version, platform, destination, progress)


def _unpack(file: Any, destination: Path) -> None:
    wanted = {*pins.SERVERS, pins.KUBECTL}
    try:
        with tarfile.open(fileobj=file, mode="r:gz") as tar:
            for member in tar:
                name = Path(member.name).name
                source = tar.extractfile(member) if member.isfile() and name in wanted else None
                if source is not None:
                    (destination / name).write_bytes(source.read())
                    (destination / name).chmod(0o755)
    except (tarfile.TarError, EOFError) as error:
        raise Unavailable("the downloaded archive is damaged") from error
    missing = [name for name in pins.SERVERS if not (destination / name).is_file()]
    if missing:
        raise Unavailable(f"the downloaded archive has no {' and no '.join(missing)}")


def _fetch_controller_manager(version: str, platform: str, destination: Path, progress: Progress) -> None:
    # envtest leaves it out, but namespaces and owned objects are deleted by it alone.
    base = f"{RELEASES}/{version}/bin/{platform.replace('-', '/')}/{pins.CONTROLLER_MANAGER}"
    try:
        content = _get(base, 300, limit=1 << 30)
        checksum = _get(f"{base}.sha256", 30, limit=1024).decode("ascii", errors="replace").split()
    except Unavailable as error:
        progress.line(f"no kube-controller-manager {version}: {error}; namespaces and owned objects will stay")
        return
    if checksum[:1] != [hashlib.sha256(content).hexdigest()]:
        raise Unavailable(f"the download of {base} does not have the published checksum")
    (destination / pins.CONTROLLER_MANAGER).write_bytes(content)
    (destination / pins.CONTROLLER_MANAGER).chmod(0o755)


def _get(url: str, timeout: float, limit: int) -> bytes:
    try:
        with urllib.request.urlopen(url, timeout=timeout) as answer:  # noqa: S310 - the index names https URLs only
            content: bytes = answer.read(limit + 1)
    except (OSError, urllib.error.URLError, ValueError) as error:
        raise Unavailable(f"{url} cannot be reached: {getattr(error, 'reason', error)}") from error
    if len(content) > limit:
        raise Unavailable(f"{url} is larger than {limit} bytes")
    return content


def _numbers(version: str) -> tuple[int, ...] | None:
    match = re.fullmatch(r"v(\d+)\.(\d+)\.(\d+)", version)
    return tuple(int(part) for part in match.groups()) if match else None
