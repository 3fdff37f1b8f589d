"""Staying alive: a systemd unit, a per-boot script, the first process of a guest."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from tests.support.guest import eventually

from moorage.agent import install, main

INIT = """
import os, subprocess, sys, time
from moorage.agent.install import as_init
def agent():
    # An orphan that ends: only the first process of a guest can reap it.
    subprocess.run(["sh", "-c", "sleep 0.01 & exit 0"])
    open(sys.argv[1], "w").write("up")
    import signal
    signal.signal(signal.SIGTERM, lambda *_: os._exit(7))
    while True:
        time.sleep(60)
sys.exit(as_init(agent))
"""


def test_the_first_process_passes_signals_on_and_ends_with_the_agent(tmp_path: Path) -> None:
    mark = tmp_path / "mark"
    init = subprocess.Popen([sys.executable, "-c", INIT, str(mark)])
    eventually(lambda: (mark.exists() and mark.read_text()) or None)
    init.send_signal(signal.SIGTERM)
    assert init.wait(20) == 7


def test_below_a_root_of_its_own_it_stays_in_the_foreground(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MOORAGE_ROOT", "/somewhere")
    monkeypatch.setenv("MOORAGE_BOOT", "/var/lib/cloud/instance/scripts/part-001")
    assert not install.settle("/var/lib/moorage")


def test_with_systemd_it_becomes_a_service(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tools = tmp_path / "bin"
    tools.mkdir()
    (tools / "systemctl").write_text(f'#!/bin/sh\necho "$@" >> "{tmp_path}/calls"\n')
    (tools / "systemctl").chmod(0o755)
    monkeypatch.setenv("PATH", f"{tools}:{os.environ['PATH']}")
    monkeypatch.setattr(install, "_UNIT_PATH", str(tmp_path / "unit"))
    assert install._as_service("/var/lib/moorage")
    unit = (tmp_path / "unit").read_text()
    assert f"ExecStart={sys.executable} /var/lib/moorage/agent.pyz run" in unit
    assert "KillMode=process" in unit
    assert (tmp_path / "calls").read_text().splitlines() == [
        "daemon-reload",
        "enable moorage-agent.service",
        "restart --no-block moorage-agent.service",
    ]
    (tools / "systemctl").write_text("#!/bin/sh\nexit 1\n")
    assert not install._as_service("/var/lib/moorage")


def test_with_cloud_init_alone_each_boot_starts_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "scripts").mkdir()
    monkeypatch.setattr(install, "_PER_BOOT", str(tmp_path / "scripts" / "per-boot"))
    install._each_boot("/var/lib/moorage")
    script = tmp_path / "scripts" / "per-boot" / "moorage-agent"
    assert os.access(script, os.X_OK)
    subprocess.run(["sh", "-n", str(script)], check=True)
    assert "agent.pyz' boot" in script.read_text()


def test_wrong_arguments_and_missing_settings_are_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main.main(["dance"]) == 2
    monkeypatch.setenv("MOORAGE_STATE", str(tmp_path))
    before = os.umask(0o022)
    try:
        assert main.main([]) == 2
    finally:
        os.umask(before)
    assert "boot.json" in capsys.readouterr().err
