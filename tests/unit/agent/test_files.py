"""Files: whole or not at all, with mode and owner, and never outside of the root."""

from __future__ import annotations

import os
import stat
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from moorage.agent.files import FileError, locate, owner_ids, write_file

ME = str(os.getuid())


def spec(path: str = "/etc/app/app.conf", content: str = "x", **more: Any) -> dict[str, Any]:
    return {"path": path, "content": content, "owner": ME, **more}


def test_a_file_is_written_with_its_directories_and_mode(tmp_path: Path) -> None:
    assert write_file(str(tmp_path), spec(mode="0640"))
    written = tmp_path / "etc/app/app.conf"
    assert written.read_text() == "x"
    assert stat.S_IMODE(written.stat().st_mode) == 0o640


def test_an_equal_file_is_left_alone(tmp_path: Path) -> None:
    write_file(str(tmp_path), spec())
    before = (tmp_path / "etc/app/app.conf").stat()
    assert not write_file(str(tmp_path), spec())
    after = (tmp_path / "etc/app/app.conf").stat()
    assert (before.st_ino, before.st_mtime_ns) == (after.st_ino, after.st_mtime_ns)
    assert write_file(str(tmp_path), spec(mode="0600"))
    assert write_file(str(tmp_path), spec(content="y", mode="0600"))


def test_a_file_takes_the_place_of_a_link_and_not_of_its_target(tmp_path: Path) -> None:
    target = tmp_path / "target"
    target.write_text("precious")
    (tmp_path / "link").symlink_to(target)
    write_file(str(tmp_path), spec("/link"))
    assert target.read_text() == "precious"
    assert not (tmp_path / "link").is_symlink()


@pytest.mark.parametrize("path", ["etc/x", "/../x", "/etc/../../x", "/etc/", "/a\0b", ""])
def test_a_path_that_is_none_is_refused(tmp_path: Path, path: str) -> None:
    with pytest.raises(FileError):
        write_file(str(tmp_path), spec(path))


def test_a_link_that_leads_outside_is_not_followed(tmp_path: Path) -> None:
    root, outside = tmp_path / "root", tmp_path / "outside"
    root.mkdir()
    outside.mkdir()
    (root / "etc").symlink_to(outside)
    (root / "inner").symlink_to(root / "real")
    with pytest.raises(FileError, match="link"):
        write_file(str(root), spec("/etc/x"))
    assert list(outside.iterdir()) == []
    assert write_file(str(root), spec("/inner/x"))
    assert (root / "real/x").read_text() == "x"


@given(st.lists(st.sampled_from(["..", ".", "a", "b", "", "...", "~"]), max_size=6))
def test_no_path_leads_outside(tmp_path_factory: pytest.TempPathFactory, parts: list[str]) -> None:
    root = tmp_path_factory.getbasetemp() / "rooted"
    try:
        found = locate(str(root), "/" + "/".join(parts))
    except FileError:
        return
    assert os.path.realpath(found).startswith(os.path.realpath(root))


def test_a_directory_in_the_place_of_a_file_is_named(tmp_path: Path) -> None:
    (tmp_path / "etc/app/app.conf").mkdir(parents=True)
    with pytest.raises(FileError, match=r"/etc/app/app\.conf"):
        write_file(str(tmp_path), spec())
    assert not [name for name in os.listdir(tmp_path / "etc/app") if name.startswith(".moorage")]


def test_owners_by_name_and_number() -> None:
    assert owner_ids("root") == (0, 0)
    assert owner_ids("root:0") == (0, 0)
    assert owner_ids("12:34") == (12, 34)
    with pytest.raises(FileError, match="unknown owner"):
        owner_ids("nobody-of-that-name")


@pytest.mark.skipif(os.getuid() != 0, reason="only root gives files away")
def test_root_sets_the_owner(tmp_path: Path) -> None:
    write_file(str(tmp_path), spec(owner="12:34", mode="0600"))
    found = (tmp_path / "etc/app/app.conf").stat()
    assert (found.st_uid, found.st_gid, stat.S_IMODE(found.st_mode)) == (12, 34, 0o600)
    assert not write_file(str(tmp_path), spec(owner="12:34", mode="0600"))
    with pytest.raises(FileError, match=r"/etc/app/app\.conf: unknown owner"):
        write_file(str(tmp_path), spec(owner="nobody-of-that-name"))
