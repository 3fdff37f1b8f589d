"""envtest's published binaries: which are taken, and that nothing unchecked is."""

from __future__ import annotations

import hashlib
import io
import tarfile
from pathlib import Path
from typing import Any

import pytest

from moorage.controlplane import Progress, Unavailable, download
from moorage.controlplane.download import Archive, fetch, offered, pick

PLATFORM = "linux-amd64"


def index(*versions: str) -> dict[str, Any]:
    return {
        "releases": {
            version: {f"envtest-{version}-{PLATFORM}.tar.gz": {"hash": "h", "selfLink": f"https://x/{version}"}}
            for version in versions
        }
    }


@pytest.mark.parametrize(
    ("versions", "taken"),
    [
        (["v1.36.1", "v1.37.0", "v1.37.9"], "v1.37.9"),
        (["v1.36.10", "v1.36.9", "v1.38.0"], "v1.36.10"),
        (["v1.37.0", "v1.37.0-alpha.1"], "v1.37.0"),
    ],
)
def test_the_newest_that_is_not_newer_than_the_pinned_minor_is_taken(versions: list[str], taken: str) -> None:
    assert pick(index(*versions), PLATFORM).version == taken


@pytest.mark.parametrize(
    "content", [None, [], {"releases": []}, index(), index("v1.30.0"), index("v1.38.0"), {"releases": {"v1.37.0": {}}}]
)
def test_an_index_with_nothing_that_fits_is_refused(content: Any) -> None:
    with pytest.raises(Unavailable):
        pick(content, PLATFORM)


def test_an_index_for_other_platforms_alone_is_refused() -> None:
    with pytest.raises(Unavailable, match="darwin-arm64"):
        pick(index("v1.37.0"), "darwin-arm64")


def archive(*names: str) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as tar:
        for name in names:
            member = tarfile.TarInfo(f"controller-tools/envtest/{name}")
            member.size = len(name)
            tar.addfile(member, io.BytesIO(name.encode()))
    return buffer.getvalue()


def serve(monkeypatch: pytest.MonkeyPatch, answers: dict[str, bytes]) -> None:
    def get(url: str, _timeout: float, limit: int) -> bytes:
        assert limit > 0
        if url not in answers:
            raise Unavailable(f"{url} cannot be reached")
        return answers[url]

    monkeypatch.setattr(download, "_get", get)


MANAGER = f"{download.RELEASES}/v1.37.1/bin/linux/amd64/kube-controller-manager"
WHOLE = archive("etcd", "kube-apiserver", "kubectl", "../evil")


def of(content: bytes) -> Archive:
    return Archive("v1.37.1", "https://x/a", hashlib.sha512(content).hexdigest())


def test_a_checked_download_is_unpacked_with_its_controller_manager(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    checksum = hashlib.sha256(b"manager").hexdigest().encode()
    serve(monkeypatch, {"https://x/a": WHOLE, MANAGER: b"manager", f"{MANAGER}.sha256": checksum})
    fetch(of(WHOLE), PLATFORM, tmp_path, Progress(quiet=True))
    names = sorted(path.name for path in tmp_path.iterdir())
    assert names == ["etcd", "kube-apiserver", "kube-controller-manager", "kubectl"]
    assert all(path.stat().st_mode & 0o111 for path in tmp_path.iterdir())


def test_without_a_controller_manager_it_says_what_will_not_happen(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    serve(monkeypatch, {"https://x/a": WHOLE})
    said = io.StringIO()
    fetch(of(WHOLE), PLATFORM, tmp_path, Progress(said))
    assert "owned objects will stay" in said.getvalue()


@pytest.mark.parametrize(
    ("content", "checksum_of", "message"),
    [
        (WHOLE, b"other", "published checksum"),
        (b"no archive", b"no archive", "damaged"),
        (archive("kubectl"), archive("kubectl"), "no etcd and no kube-apiserver"),
    ],
)
def test_a_wrong_download_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, content: bytes, checksum_of: bytes, message: str
) -> None:
    serve(monkeypatch, {"https://x/a": content})
    with pytest.raises(Unavailable, match=message):
        fetch(of(checksum_of), PLATFORM, tmp_path, Progress(quiet=True))


def test_a_wrong_controller_manager_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    serve(monkeypatch, {"https://x/a": WHOLE, MANAGER: b"manager", f"{MANAGER}.sha256": b"0" * 64})
    with pytest.raises(Unavailable, match="kube-controller-manager does not have the published checksum"):
        fetch(of(WHOLE), PLATFORM, tmp_path, Progress(quiet=True))


def test_an_index_that_cannot_be_read_closes_this_way(tmp_path: Path) -> None:
    with pytest.raises(Unavailable, match="cannot be reached"):
        offered(PLATFORM, f"file://{tmp_path}/absent.yaml")
    (tmp_path / "index.yaml").write_text("a: [")
    with pytest.raises(Unavailable, match="not YAML"):
        offered(PLATFORM, f"file://{tmp_path}/index.yaml")
