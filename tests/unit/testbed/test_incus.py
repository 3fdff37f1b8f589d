"""What the bed `incus` keeps and removes; that its containers boot is seen by the tests that use it."""

from __future__ import annotations

import base64
import tarfile
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import serialization

from moorage.testbed.guestroot import USER_DATA
from moorage.testbed.incus import bed, image


def test_theclient_certificate_belongs_to_its_key_and_is_sent_without_its_frame() -> None:
    certificate, key = bed.client_certificate()
    parsed = x509.load_pem_x509_certificate(certificate.encode())
    private = serialization.load_pem_private_key(key.encode(), password=None)
    assert parsed.public_key() == private.public_key()
    assert base64.b64decode(bed._body(certificate)) == parsed.public_bytes(serialization.Encoding.DER)


def test_the_image_is_built_once_and_has_what_incus_reads(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def root(cache: Path, say: object) -> Path:
        folder = cache / "root"
        for name in ("etc", "sbin"):
            (folder / name).mkdir(parents=True, exist_ok=True)
        return folder

    monkeypatch.setattr(image, "guest_root", root)
    said: list[str] = []
    (tmp_path / "image-of-yesterday.tar").touch()
    tarball = image.image(tmp_path, said.append)
    assert image.image(tmp_path, said.append) == tarball
    assert len(said) == 1
    assert [path.name for path in tmp_path.glob("image-*")] == [tarball.name]
    with tarfile.open(tarball) as tar:
        names = set(tar.getnames())
        assert {"./metadata.yaml", "./templates/user-data.tpl", "./rootfs/sbin/init"} <= names
        metadata = tar.extractfile("./metadata.yaml")
        assert metadata is not None
        assert f"{USER_DATA}: " in metadata.read().decode()


def test_processes_and_mounts_of_other_folders_are_not_the_beds(tmp_path: Path) -> None:
    assert bed._mounts(tmp_path) == []
    mark = str(tmp_path / "var").encode()
    assert not any(mark in bed._command(pid) for pid in bed._processes())
