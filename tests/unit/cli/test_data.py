"""The files that the command needs are where it looks."""

from __future__ import annotations

import pytest

from moorage.cli.data import data


@pytest.mark.parametrize(
    ("name", "file"),
    [
        ("crds", "moorage.dev_servergroups.yaml"),
        ("deploy/base", "rbac-controller.yaml"),
        ("examples/quickstart", "group.yaml"),
    ],
)
def test_the_files_are_there(name: str, file: str) -> None:
    assert (data(name) / file).is_file()


def test_anything_else_is_an_error() -> None:
    with pytest.raises(FileNotFoundError, match="lacks nothing-such"):
        data("nothing-such")
