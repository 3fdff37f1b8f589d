"""The bed `openstack`: Keystone, Glance, Placement and Nova as they are released, with servers that are processes.

Nova's virt driver is the project's own, Neutron is a stand-in without networks, and one administrator's password is in
all configuration files; everything else is OpenStack's own code, on MariaDB and RabbitMQ.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path

from moorage.controlplane.cache import cache_root, digest
from moorage.testbed import debian
from moorage.testbed.bed import Lacking, Running, Say
from moorage.testbed.daemons import Daemons
from moorage.testbed.guestroot import copy_root, guest_root
from moorage.testbed.openstack import prepared, services
from moorage.testbed.openstack.calls import Session
from moorage.testbed.openstack.inside import guests
from moorage.testbed.openstack.settings import REGION, Layout

PACKAGES = ("mariadb-server", "rabbitmq-server", "bubblewrap")
_HERE = Path(__file__).parent
_REQUIREMENTS = _HERE / "requirements.txt"


class OpenStack:
    """See `moorage.testbed.bed.Bed`."""

    name = "openstack"
    summary = "Nova, Keystone, Glance and Placement; servers are process trees under bubblewrap"

    def lacks(self) -> list[str]:
        """See `Bed.lacks`."""
        return debian.lacks()

    def install(self, cache: Path, say: Say) -> None:
        """See `Bed.install`."""
        debian.install(PACKAGES, say)
        venv = _venv(cache)
        if not venv.exists():
            _make_venv(venv, say)
        root = guest_root(cache, say)
        made = _prepared(cache)
        if not made.exists():
            prepared.prepare(made, venv, root, say)
        _remove_others(cache, {venv, made})

    def up(self, cache: Path, state: Path, daemons: Daemons, say: Say) -> Running:
        """See `Bed.up`."""
        made = _prepared(cache)
        facts = prepared.read(made)
        layout = Layout(state, _venv(cache), facts.password)
        for name in ("db", "keystone"):
            shutil.copytree(made / name, state / name)
        layout.write()
        copy_root(guest_root(cache, say), state / "nova" / "guestroot")
        services.start_queue(layout, daemons)
        services.start_database(layout, daemons)
        prepared.adjust(layout)
        services.start_web(layout, daemons, "keystone", "placement", "glance", "neutron", "nova-api")
        services.wait_for_port("rabbitmq", layout.ports.rabbit, daemons)
        services.start_nova(layout, daemons)
        services.wait_for_compute(layout, daemons)
        return Running(
            type="openstack",
            endpoint=layout.auth_url,
            guests="127.0.0.1",
            region=REGION,
            credentials={
                "applicationCredentialId": facts.credential_id,
                "applicationCredentialSecret": facts.credential_secret,
            },
            settings={"networks": "none"},
            image=prepared.IMAGE,
            offering="small",
            extra={
                "endpoints": layout.endpoints,
                "facts": facts.__dict__,
                "databaseSocket": str(layout.database_socket),
                "layout": layout.as_data(),
            },
        )

    def down(self, state: Path, daemons: Daemons, say: Say) -> None:
        """See `Bed.down`."""
        # Nova first: it would boot what it finds gone. None has anything to save, and Nova's take ten seconds to end.
        for name in sorted(daemons.names(), reverse=True):
            pid = daemons.pid(name)
            if pid is not None:
                os.killpg(pid, signal.SIGKILL)
        guests.end_all(state / "guests")


def restart(running: Running) -> None:
    """Kill Nova's API of a bed that runs, start it again, and wait until it answers."""
    layout = Layout.of(running)
    daemons = Daemons(layout.state / "daemons")
    daemons.kill("nova-api")
    # Its threads end one after the other, and until the last one the port is open.
    services.wait_until_closed("nova-api", layout.ports.nova)
    services.start_web(layout, daemons, "nova-api")
    services.wait_for_port("nova-api", layout.ports.nova, daemons)


def kill_compute(running: Running) -> None:
    """Kill the service that makes servers, as the death of its host would; guests live on. Nova notices in 20 s."""
    Daemons(Layout.of(running).state / "daemons").kill("nova-compute")


def start_compute(running: Running) -> None:
    """Start it again, and wait until it has reported: before that, Nova would give it no servers."""
    layout = Layout.of(running)
    daemons = Daemons(layout.state / "daemons")
    admin = Session(layout.endpoints, "admin", layout.password, "admin")

    def reported() -> object:
        (found,) = admin("GET", "compute", "/os-services?binary=nova-compute")["services"]
        return found["updated_at"] if found["state"] == "up" else None

    before = reported()
    services.start_nova(layout, daemons, "nova-compute")
    services.until("nova-compute", daemons, lambda: reported() not in {None, before})


def _make_venv(venv: Path, say: Say) -> None:
    say("installing OpenStack's services from PyPI (300 MB)")
    partial = venv.with_name(venv.name + "~")
    shutil.rmtree(partial, ignore_errors=True)
    tools = [str(path) for path in sorted((cache_root() / "tools").glob("uv-*/bin/uv"))]
    found = shutil.which("uv") or (tools[0] if tools else None)
    # Its folder is in the first lines of its programs: it is made where it will be, and marked when it is whole.
    if found is not None:
        _run([found, "venv", "--quiet", "--relocatable", "--python", sys.executable, partial])
        _run([found, "pip", "install", "--quiet", "--python", partial / "bin/python", *_wanted()])
    else:
        _run([sys.executable, "-m", "venv", partial])
        _run([partial / "bin/python", "-m", "pip", "install", "--quiet", "--no-compile", *_wanted()])
    partial.rename(venv)


def _wanted() -> list[str | Path]:
    return ["--require-hashes", "-r", _REQUIREMENTS]


def _run(argv: Iterable[str | Path]) -> None:
    words = [str(word) for word in argv]
    done = subprocess.run(words, capture_output=True, text=True, check=False, stdin=subprocess.DEVNULL)
    if done.returncode != 0:
        raise Lacking(f"{' '.join(words[:3])} failed: {(done.stderr or done.stdout).strip()[-800:]}")


def _venv(cache: Path) -> Path:
    return cache / f"venv-{digest([_REQUIREMENTS.read_bytes(), sys.version.encode()])}"


def _prepared(cache: Path) -> Path:
    sources = [_REQUIREMENTS, _HERE / "prepared.py", _HERE / "settings.py"]
    return cache / f"prepared-{digest([path.read_bytes() for path in sources])}"


def _remove_others(cache: Path, kept: set[Path]) -> None:
    for path in cache.iterdir():
        if path.is_dir() and path not in kept and path.name.startswith(("venv-", "prepared-")):
            shutil.rmtree(path, ignore_errors=True)


BED = OpenStack()
