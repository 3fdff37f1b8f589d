from __future__ import annotations

import io

import pytest
from rich.console import Console

from moorage.cli.errors import CliError
from moorage.cli.main import _say
from moorage.cli.manifests import title
from moorage.cli.views import paint
from moorage.cli.views.node import Node, State
from moorage.cli.views.safe import cell, safe


def test_what_a_guest_publishes_cannot_steer_a_terminal() -> None:
    node = Node("Output", "url", State.READY, "ok\x1b]0;title\x07\x9b2J\r\u202eevil\nnext", "\x1b[31m")
    line = paint.line(node).plain
    assert not any(char in line for char in "\x1b\x07\x9b\r\n\u202e")
    assert "\\x1b]0;title\\x07" in line


def test_a_message_is_no_markup() -> None:
    console = Console(file=io.StringIO(), width=200, color_system=None)
    console.print(cell("[/red] [link=http://evil]here[/link]"))
    assert isinstance(console.file, io.StringIO)
    assert console.file.getvalue().strip() == "[/red] [link=http://evil]here[/link]"


def test_ordinary_texts_stay() -> None:
    assert safe("Zürich: 3 servers, fine ✓") == "Zürich: 3 servers, fine ✓"


def test_an_error_steers_no_terminal_and_keeps_its_lines(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("NO_COLOR", "1")
    _say(CliError("web-0: \x1b]0;title\x07 failed\nas told", hint="\x9b2J look"))
    told = capsys.readouterr().err
    assert not any(char in told for char in "\x1b\x07\x9b")
    assert "failed\nas told" in told
    assert "\\x9b2J look" in told


def test_a_name_in_a_file_steers_no_terminal() -> None:
    assert title({"kind": "ServerGroup", "metadata": {"name": "a\x1b[2J"}}) == "ServerGroup a\\x1b[2J"
