"""The cache: its place, its keys, its locks, publishing in one step."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from moorage.controlplane.cache import cache_root, digest, go_platform, locked, publish, try_lock


@pytest.mark.parametrize(
    ("environment", "place"),
    [
        ({"MOORAGE_CACHE": "/m", "XDG_CACHE_HOME": "/x", "HOME": "/h"}, "/m"),
        ({"XDG_CACHE_HOME": "/x", "HOME": "/h"}, "/x/moorage"),
        ({"XDG_CACHE_HOME": "relative", "HOME": "/h"}, "/h/.cache/moorage"),
        ({"XDG_CACHE_HOME": "", "MOORAGE_CACHE": "", "HOME": "/h"}, "/h/.cache/moorage"),
    ],
)
def test_where_the_cache_is(environment: dict[str, str], place: str) -> None:
    assert cache_root(environment) == Path(place)


@pytest.mark.parametrize(
    ("system", "machine", "name"),
    [
        ("Linux", "x86_64", "linux-amd64"),
        ("Linux", "aarch64", "linux-arm64"),
        ("Darwin", "arm64", "darwin-arm64"),
        ("Linux", "riscv64", "linux-riscv64"),
    ],
)
def test_platforms_have_gos_names(system: str, machine: str, name: str) -> None:
    assert go_platform(system, machine) == name


def test_a_digest_tells_lists_of_parts_apart() -> None:
    assert digest([b"ab", b"c"]) != digest([b"a", b"bc"])
    assert digest([b"ab"]) == digest([b"ab"])


def test_a_lock_excludes_and_is_free_again(tmp_path: Path) -> None:
    first = try_lock(tmp_path / "lock")
    assert first is not None
    assert try_lock(tmp_path / "lock") is None
    assert try_lock(tmp_path / "lock", exclusive=False) is None
    os.close(first)
    again = try_lock(tmp_path / "lock")
    assert again is not None
    os.close(again)


def test_shared_locks_go_together_and_keep_an_exclusive_one_out(tmp_path: Path) -> None:
    users = [try_lock(tmp_path / "lock", exclusive=False) for _ in range(2)]
    assert None not in users
    assert try_lock(tmp_path / "lock") is None
    for user in users:
        assert user is not None
        os.close(user)


def test_a_killed_holder_leaves_no_lock_behind(tmp_path: Path) -> None:
    program = (
        "import sys; from pathlib import Path; from moorage.controlplane.cache import try_lock\n"
        "assert try_lock(Path(sys.argv[1])) is not None; print('held', flush=True); sys.stdin.read()"
    )
    argv = [sys.executable, "-c", program, f"{tmp_path / 'lock'}"]
    with subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "held\n"
        assert try_lock(tmp_path / "lock") is None
        holder.kill()
    free = try_lock(tmp_path / "lock")
    assert free is not None
    os.close(free)


def test_who_waits_for_a_lock_is_told_once_and_gets_it(tmp_path: Path) -> None:
    told: list[str] = []
    entered = threading.Event()
    waiting = threading.Event()

    def tell() -> None:
        told.append("waiting")
        waiting.set()

    def wait() -> None:
        with locked(tmp_path / "lock", tell):
            entered.set()

    with locked(tmp_path / "lock"):
        thread = threading.Thread(target=wait)
        thread.start()
        assert waiting.wait(10)
        assert not entered.is_set()
    thread.join(10)
    assert entered.is_set()
    assert told == ["waiting"]


def test_publishing_makes_once_however_many_ask(tmp_path: Path) -> None:
    made: list[Path] = []

    def make(fresh: Path) -> None:
        made.append(fresh)
        (fresh / "binary").write_text("whole")

    target = tmp_path / "deep" / "target"
    threads = [threading.Thread(target=publish, args=(target, make)) for _ in range(5)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(10)
    assert (target / "binary").read_text() == "whole"
    assert len(made) == 1
    assert publish(target, make) == target
    assert len(made) == 1


def test_a_failed_publication_leaves_nothing(tmp_path: Path) -> None:
    def fail(fresh: Path) -> None:
        (fresh / "half").touch()
        raise OSError("no space")

    with pytest.raises(OSError, match="no space"):
        publish(tmp_path / "target", fail)
    assert [path.name for path in tmp_path.iterdir()] == [".target.lock"]


def test_what_an_interrupted_publication_left_is_removed_by_the_next(tmp_path: Path) -> None:
    stale = tmp_path / ".target.new-left"
    stale.mkdir()
    publish(tmp_path / "target", lambda fresh: (fresh / "x").touch())
    assert not stale.exists()
    assert (tmp_path / "target" / "x").exists()
