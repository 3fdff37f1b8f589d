"""Files as kubectl reads them, and what is said of those that cannot be read."""

from __future__ import annotations

import io
from pathlib import Path

import pytest

from moorage.cli.errors import CliError, Exit
from moorage.cli.manifests import read_objects, title
from moorage.cli.plan.gather import namespace_of
from moorage.cli.plan.rehearsal import client_patch, merge_patch

ONE = "apiVersion: moorage.dev/v1alpha1\nkind: ServerGroup\nmetadata: {name: a}\n"
TWO = (
    '{"apiVersion": "v1", "kind": "List", "items": [{"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "b"}}]}'
)


def test_documents_lists_and_folders_are_read_in_order(tmp_path: Path) -> None:
    (tmp_path / "1.yaml").write_text(f"---\n{ONE}---\n")
    (tmp_path / "2.json").write_text(TWO)
    (tmp_path / "notes.txt").write_text("nothing of ours")
    assert [title(obj) for obj in read_objects([str(tmp_path)])] == ["ServerGroup a", "Secret b"]


def test_standard_input_is_read(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.stdin", io.StringIO(ONE))
    assert [title(obj) for obj in read_objects(["-"])] == ["ServerGroup a"]


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("a: [1", "is not YAML: line 1, column 6"),
        ("- 1", "holds a document that is no object"),
        ("kind: ServerGroup\nmetadata: {name: a}", "holds an object without apiVersion"),
        ("apiVersion: v1\nkind: Pod\nmetadata: {}", "holds a Pod without metadata.name"),
        ("", "the files hold no object"),
        ("a: \udcff", "is not text in UTF-8"),
    ],
)
def test_what_is_no_object_is_said_with_its_place(tmp_path: Path, content: str, said: str) -> None:
    file = tmp_path / "x.yaml"
    file.write_bytes(content.encode(errors="surrogateescape"))
    with pytest.raises(CliError) as raised:
        read_objects([str(file)])
    assert said in raised.value.message
    assert raised.value.code is Exit.USAGE


def test_files_that_are_not_there_and_empty_folders_are_named(tmp_path: Path) -> None:
    with pytest.raises(CliError, match="there is no file"):
        read_objects([str(tmp_path / "x.yaml")])
    with pytest.raises(CliError, match="has no file that ends with"):
        read_objects([str(tmp_path)])


def test_a_plan_is_about_one_namespace() -> None:
    a = {"apiVersion": "moorage.dev/v1alpha1", "kind": "ServerGroup", "metadata": {"name": "a", "namespace": "x"}}
    assert namespace_of([a], "") == "x"
    assert namespace_of([], "y") == "y"
    with pytest.raises(CliError, match="the files and -n name x, y"):
        namespace_of([a], "y")


def test_the_merge_patch_removes_what_was_applied_and_is_not_wanted_any_more() -> None:
    last = {"spec": {"members": [1, 2], "suspend": True, "scale": {"member": "m", "replicas": 2}}, "metadata": {}}
    wanted = {"spec": {"members": [1], "scale": {"member": "m"}}, "metadata": {"labels": {"a": "b"}}}
    assert merge_patch(last, wanted) == {
        "spec": {"members": [1], "suspend": None, "scale": {"member": "m", "replicas": None}},
        "metadata": {"labels": {"a": "b"}},
    }


def test_a_file_without_annotations_takes_none_away_that_others_made() -> None:
    last = {"metadata": {"name": "g", "annotations": {}}, "spec": {}}
    assert client_patch(last, {"metadata": {"name": "g"}, "spec": {}})["metadata"]["annotations"] == {}
    noted = {"metadata": {"name": "g", "annotations": {"note": "x"}}, "spec": {}}
    patch = client_patch(noted, {"metadata": {"name": "g"}, "spec": {}})
    assert patch["metadata"]["annotations"] == {"note": None}, "what the file had is taken away"
