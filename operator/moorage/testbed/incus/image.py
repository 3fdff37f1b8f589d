"""The image that the bed's containers boot: the guests' small root, with an init that runs their user-data."""

from __future__ import annotations

import hashlib
import io
import shutil
import subprocess
import tarfile
from pathlib import Path

from moorage.testbed.bed import Say
from moorage.testbed.guestroot import USER_DATA, copy_root, guest_root, write_boot

_METADATA = f"""\
architecture: x86_64
creation_date: 1700000000
properties: {{os: busybox, release: "1", description: A small guest with Python}}
templates:
  {USER_DATA}: {{when: [create, copy], template: user-data.tpl}}
  /etc/hostname: {{when: [create, copy], template: hostname.tpl}}
"""
_TEMPLATES = {
    "user-data.tpl": '{{ config_get("cloud-init.user-data", "")|safe }}',
    "hostname.tpl": '{{ config_get("user.moorage-name", container.name) }}\n',
}


def image(cache: Path, say: Say) -> Path:
    """The image as one tarball, built where it is not there yet. Not compressed: Incus unpacks it for every container
    of a storage pool that is a plain folder."""
    root = guest_root(cache, say)
    version = hashlib.sha256(Path(__file__).read_bytes() + root.name.encode()).hexdigest()[:12]
    tarball = cache / f"image-{version}.tar"
    if not tarball.exists():
        say("building the image of containers")
        for old in cache.glob("image-*"):
            shutil.rmtree(old) if old.is_dir() else old.unlink()
        folder = cache / f"image-{version}"
        _write(root, folder)
        partial = cache / f"image-{version}.tar~"
        packing: list[str | Path] = [
            "tar",
            "-C",
            folder,
            "--numeric-owner",
            "--owner=0",
            "--group=0",
            "-cf",
            partial,
            ".",
        ]
        subprocess.run(packing, check=True)
        partial.rename(tarball)
        shutil.rmtree(folder)
    return tarball


def broken_image() -> bytes:
    """An image with nothing in it, whose containers have no program to start."""
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w") as tar:
        metadata = b"architecture: x86_64\ncreation_date: 1700000000\n"
        file = tarfile.TarInfo("metadata.yaml")
        file.size = len(metadata)
        tar.addfile(file, io.BytesIO(metadata))
        folder = tarfile.TarInfo("rootfs")
        folder.type, folder.mode = tarfile.DIRTYPE, 0o755
        tar.addfile(folder)
    return packed.getvalue()


def _write(root: Path, folder: Path) -> None:
    (folder / "templates").mkdir(parents=True)
    (folder / "metadata.yaml").write_text(_METADATA)
    for name, text in _TEMPLATES.items():
        (folder / "templates" / name).write_text(text)
    copy_root(root, folder / "rootfs")
    write_boot(folder / "rootfs")
