"""What a guest's init does, and how its root is packed; that it boots is seen on the beds."""

from __future__ import annotations

import subprocess
import tarfile
from pathlib import Path

import pytest

from moorage.testbed import Lacking, guestroot


def small_root(folder: Path) -> Path:
    root = folder / "root"
    (root / "etc").mkdir(parents=True)
    (root / "sbin").mkdir()
    (root / "sbin/init").write_text("another init")
    return root


def test_a_copy_with_an_init_leaves_the_shared_root_as_it_was(tmp_path: Path) -> None:
    root = small_root(tmp_path)
    guestroot.copy_root(root, tmp_path / "mine")
    guestroot.write_boot(tmp_path / "mine", before="modprobe virtio_net", after="fetch-it", interface="enp1s0")
    assert (root / "sbin/init").read_text() == "another init"
    assert not (root / "etc/guest").exists()
    assert (tmp_path / "mine/sbin/init").readlink() == Path("/bin/busybox")
    assert (tmp_path / "mine/init").readlink() == Path("/bin/busybox")


def test_the_start_is_a_shell_program_that_runs_what_was_given_around_the_network(tmp_path: Path) -> None:
    root = small_root(tmp_path)
    guestroot.write_boot(root, before="modprobe virtio_net", after="fetch-it", interface="enp1s0")
    start = (root / "etc/guest/start").read_text()
    lines = start.splitlines()
    network = next(n for n, line in enumerate(lines) if "udhcpc -i" in line)
    assert "enp1s0" in lines[network]
    assert lines.index("modprobe virtio_net") < network < lines.index("fetch-it")
    for script in (root / "etc/guest").iterdir():
        assert subprocess.run(["sh", "-n", script], check=False).returncode == 0, script.name
        assert script.stat().st_mode & 0o111


def test_boot_can_be_written_again(tmp_path: Path) -> None:
    root = small_root(tmp_path)
    guestroot.write_boot(root, interface="eth0")
    guestroot.write_boot(root, interface="eth1")
    assert "eth1" in (root / "etc/guest/start").read_text()
    assert "::once:/etc/guest/run" in (root / "etc/inittab").read_text()


def test_user_data_is_where_the_agent_stays_in_the_foreground() -> None:
    assert not guestroot.USER_DATA.startswith("/var/lib/cloud/")


def test_a_packed_root_has_its_content_at_the_top_and_belongs_to_root(tmp_path: Path) -> None:
    root = small_root(tmp_path)
    guestroot.pack(root, tmp_path / "root.tar.gz")
    with tarfile.open(tmp_path / "root.tar.gz") as tar:
        assert "./sbin/init" in tar.getnames()
        assert {(member.uid, member.gid) for member in tar.getmembers()} == {(0, 0)}
    assert not (tmp_path / "root.tar.gz~").exists()


def test_a_failed_program_says_what_it_said(tmp_path: Path) -> None:
    with pytest.raises(Lacking, match=r"tar failed: .*nowhere"):
        guestroot.pack(tmp_path / "nowhere", tmp_path / "x.tar.gz")


def test_a_root_that_is_there_is_not_built_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    built: list[Path] = []

    def build(root: Path, packages: Path) -> None:
        packages.mkdir()
        built.append(root)
        small_root(packages)
        root.mkdir()

    monkeypatch.setattr(guestroot, "_build", build)
    (tmp_path / "incus").mkdir()
    (tmp_path / "libvirt").mkdir()
    said: list[str] = []
    first = guestroot.guest_root(tmp_path / "incus", said.append)
    assert guestroot.guest_root(tmp_path / "libvirt", said.append) == first
    assert built == [first]
    assert guestroot.packed(first).exists()
    assert len(said) == 1
