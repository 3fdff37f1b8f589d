"""Ports that the quickstart needs and somebody else has are told before anything is started."""

from __future__ import annotations

import re
import socket
from pathlib import Path

import pytest
from tools.ports import PORTS, main

README = (Path(__file__).parents[3] / "README.md").read_text(encoding="utf-8")


def test_a_port_that_is_taken_is_named_with_what_to_do(capsys: pytest.CaptureFixture[str]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        assert main({port: "take another"}) == 1
    assert capsys.readouterr().out == f"port {port} is taken: take another\n"
    assert main({port: "take another"}) == 0
    assert "free" in capsys.readouterr().out


def test_they_are_the_ports_of_the_readme() -> None:
    used = {int(port) for port in re.findall(r"--port (\d+)", README)}
    assert set(PORTS) == used | {7443, 8080}
    assert "python3 tools/ports.py" in README
