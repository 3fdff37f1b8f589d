"""Which of apt's sources another release is taken from."""

from __future__ import annotations

import pytest

from moorage.testbed import Lacking
from moorage.testbed.debian import _USUAL, _main_source

SOURCES = """\
Types: deb
# http://snapshot.example.org/archive
URIs: http://mirror.example.org/debian
Suites: bookworm bookworm-updates
Components: main
Signed-By: /usr/share/keyrings/one.gpg

Types: deb
URIs: http://mirror.example.org/debian-security
Suites: bookworm-security
Components: main
Signed-By: /usr/share/keyrings/two.gpg
"""


def test_the_mirror_of_the_release_itself_is_taken_not_that_of_security() -> None:
    fields = _main_source(SOURCES, "bookworm")
    assert fields["URIs"].strip() == "http://mirror.example.org/debian"
    assert fields["Signed-By"].strip() == "/usr/share/keyrings/one.gpg"


def test_sources_without_the_release_are_told() -> None:
    with pytest.raises(Lacking, match="trixie"):
        _main_source(SOURCES, "trixie")


def test_a_machine_with_another_form_of_sources_takes_the_usual_mirror() -> None:
    assert set(_main_source(_USUAL, "bookworm")) == {"URIs", "Suites", "Signed-By"}
