"""Reading one context out of a user's kubeconfig."""

from __future__ import annotations

import stat
from pathlib import Path

import pytest

from moorage.controlplane import ControlPlaneError
from moorage.controlplane.kubeconfig import context_names, default_path, document, load, only, write


def users_file(folder: Path) -> Path:
    content = {
        "clusters": [
            {"name": "c1", "cluster": {"server": "https://one", "certificate-authority": "ca.crt"}},
            {"name": "c2", "cluster": {"server": "https://two"}},
        ],
        "users": [{"name": "u1", "user": {"token": "secret-of-one"}}, {"name": "u2", "user": {"token": "x"}}],
        "contexts": [
            {"name": "one", "context": {"cluster": "c1", "user": "u1", "namespace": "n"}},
            {"name": "broken", "context": {"cluster": "gone", "user": "u1"}},
        ],
        "current-context": "broken",
    }
    return write(folder / "config", content)


def test_only_the_named_context_is_taken_and_made_current(tmp_path: Path) -> None:
    content = only(users_file(tmp_path), "one")
    assert content["current-context"] == "one"
    assert content["contexts"] == [{"name": "one", "context": {"cluster": "one", "user": "one", "namespace": "n"}}]
    assert [cluster["cluster"]["server"] for cluster in content["clusters"]] == ["https://one"]
    assert content["clusters"][0]["cluster"]["certificate-authority"] == f"{tmp_path / 'ca.crt'}"
    assert [user["user"] for user in content["users"]] == [{"token": "secret-of-one"}]


@pytest.mark.parametrize(("context", "message"), [("none", "no context 'none'"), ("broken", "a cluster or a user")])
def test_what_is_not_there_is_named(tmp_path: Path, context: str, message: str) -> None:
    with pytest.raises(ControlPlaneError, match=message):
        only(users_file(tmp_path), context)


def test_the_names_of_the_contexts(tmp_path: Path) -> None:
    assert context_names(users_file(tmp_path)) == ("one", "broken")
    assert context_names(tmp_path / "absent") == ()


@pytest.mark.parametrize("text", ["- a list", "a: [unclosed", "token: \x00"])
def test_a_malformed_file_is_refused_without_quoting_it(tmp_path: Path, text: str) -> None:
    path = tmp_path / "config"
    path.write_text(f"{text} very-secret")
    with pytest.raises(ControlPlaneError, match=f"{path}") as caught:
        load(path)
    assert "very-secret" not in f"{caught.value}"


def test_the_default_is_kubectls(tmp_path: Path) -> None:
    existing = users_file(tmp_path)
    assert default_path({"KUBECONFIG": f"/absent:{existing}", "HOME": "/h"}) == existing
    assert default_path({"KUBECONFIG": "/absent", "HOME": "/h"}) == Path("/absent")
    assert default_path({"HOME": "/h"}) == Path("/h/.kube/config")


def test_a_written_file_is_for_its_user_alone(tmp_path: Path) -> None:
    path = write(tmp_path / "k", document("a", {"server": "https://x"}, {"token": "t"}))
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert load(path)["users"] == [{"name": "a", "user": {"token": "t"}}]
