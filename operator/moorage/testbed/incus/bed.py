"""An Incus without systemd, in folders of its own, with one project that a restricted client certificate may use."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import subprocess
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from moorage.testbed import debian, procs
from moorage.testbed.bed import Lacking, Running, Say
from moorage.testbed.daemons import Daemons
from moorage.testbed.incus.image import broken_image, image
from moorage.testbed.incus.rest import Refused, Rest

PROJECT = "moorage"
OTHER = "elsewhere"
"""A second project of the same kind."""
IMAGE = "guest"
BROKEN = "broken"
"""An image whose containers cannot start."""
BRIDGE = "moorage-incus"
ADDRESS = "10.98.77.1"
SIZES = [
    {"name": "tiny", "cpu": "1", "memory": "128Mi", "pricePerHour": "0.005"},
    {"name": "small", "cpu": "1", "memory": "256Mi", "pricePerHour": "0.01"},
    {"name": "medium", "cpu": "2", "memory": "512Mi", "pricePerHour": "0.02"},
]
LIBEXEC = Path("/usr/libexec/incus")
START_SECONDS = 60.0


class IncusBed:
    """See `moorage.testbed.bed.Bed`."""

    name = "incus"
    summary = "Incus of Debian's backports: containers, over TLS"

    def lacks(self) -> list[str]:
        """See `Bed.lacks`."""
        found = debian.lacks()
        if not Path("/sys/fs/cgroup").is_dir() or not any(Path("/sys/fs/cgroup").iterdir()):
            found.append("it needs cgroups (mounted at /sys/fs/cgroup)")
        return found

    def install(self, cache: Path, say: Say) -> None:
        """See `Bed.install`."""
        debian.install(["incus-base", "dnsmasq-base"], say, release="bookworm-backports")
        image(cache, say)

    def up(self, cache: Path, state: Path, daemons: Daemons, say: Say) -> Running:
        """See `Bed.up`."""
        try:
            return self._up(cache, state, daemons, say)
        except (Refused, OSError) as error:
            raise Lacking(f"Incus refuses what the bed asks for: {error}") from error

    def _up(self, cache: Path, state: Path, daemons: Daemons, say: Say) -> Running:
        _start(state, daemons)
        root = Rest(_socket(state))
        certificate, key = client_certificate()
        port = _free_port()
        (state / "pool").mkdir()
        pool = {"name": "pool", "driver": "dir", "config": {"source": str(state / "pool")}}
        root.post("/storage-pools", pool)
        # Nothing is routed out of the bridge: guests reach this machine and each other.
        network = {"ipv4.address": f"{ADDRESS}/24", "ipv4.nat": "false", "ipv6.address": "none", "dns.mode": "none"}
        root.post("/networks", {"name": BRIDGE, "type": "bridge", "config": {**network, "ipv4.firewall": "false"}})
        root.patch("", {"config": {"core.https_address": f"{ADDRESS}:{port}", "images.auto_update_interval": "0"}})
        tarball = image(cache, say)
        for project in (PROJECT, OTHER):
            _fill_project(root, Rest(_socket(state), project), project, tarball)
        trusted = {"name": "tests", "type": "client", "certificate": _body(certificate)}
        root.post("/certificates", {**trusted, "restricted": True, "projects": [PROJECT, OTHER]})
        server = root.get("")["environment"]["certificate"]
        return Running(
            type="incus",
            endpoint=f"https://{ADDRESS}:{port}",
            guests=ADDRESS,
            project=PROJECT,
            credentials={"tls.crt": certificate, "tls.key": key, "server.crt": server},
            settings={"sizes": SIZES},
            image=IMAGE,
            offering="tiny",
            extra={"socket": str(_socket(state)), "bridge": BRIDGE, "other": OTHER, "broken": BROKEN},
        )

    def down(self, state: Path, daemons: Daemons, say: Say) -> None:
        """See `Bed.down`."""
        with contextlib.suppress(OSError, Refused, Lacking):
            if daemons.pid("incusd") is None and (state / "var/database").exists():
                _start(state, daemons)
            _empty(Rest(_socket(state)))
        # What the daemon knows nothing of (it was killed at a bad moment), and what it never removes.
        daemons.stop("incusd")
        _end_stragglers(state)
        for link in (BRIDGE, *_stranded_cards()):
            subprocess.run(["ip", "link", "delete", link], stderr=subprocess.DEVNULL, check=False)
        for mount in reversed(_mounts(state)):
            subprocess.run(["umount", "--lazy", mount], check=False)
        for folder in Path("/sys/fs/cgroup").rglob("lxc.*"):
            with contextlib.suppress(OSError):  # another's, if it is in use
                folder.rmdir()


def restart(running: Running) -> None:
    """SIGKILL the daemon of the bed, and start it again; containers live on. Raises Lacking."""
    state = Path(running.extra["socket"]).parent.parent
    daemons = Daemons(state / "daemons")
    daemons.kill("incusd")
    _start(state, daemons)


def _socket(state: Path) -> Path:
    return state / "var/unix.socket"


def _start(state: Path, daemons: Daemons) -> None:
    (state / "var").mkdir(exist_ok=True, mode=0o711)
    for folder in (state, state.parent):
        folder.chmod(0o711)  # the containers' root is another user, who passes through to its files
    env = {"INCUS_DIR": str(state / "var"), "PATH": f"{os.environ['PATH']}:{LIBEXEC}:/usr/sbin:/sbin"}
    daemons.start("incusd", [LIBEXEC / "incusd", "--group", "root"], env=env, umask=0o022)
    end = time.monotonic() + START_SECONDS
    while True:
        with contextlib.suppress(OSError, Refused):
            Rest(_socket(state)).get("")
            return
        if daemons.pid("incusd") is None or time.monotonic() > end:
            raise Lacking(f"Incus did not start:\n{daemons.tail('incusd')}")
        time.sleep(0.05)


def _fill_project(root: Rest, project: Rest, name: str, tarball: Path) -> None:
    own = ("images", "profiles", "storage.volumes", "storage.buckets")
    config = {f"features.{name}": "true" for name in own}
    allowed = {"restricted": "true", "restricted.devices.nic": "managed", "restricted.devices.disk": "managed"}
    root.post(
        "/projects",
        {
            "name": name,
            "config": {**config, **allowed, "features.networks": "false", "features.networks.zones": "false"},
        },
    )
    devices = {
        "root": {"type": "disk", "path": "/", "pool": "pool"},
        "eth0": {"type": "nic", "network": BRIDGE, "name": "eth0"},
    }
    project.put("/profiles/default", {"description": "", "config": {}, "devices": devices})
    made = project.post("/images", tarball.read_bytes(), "application/octet-stream")
    project.post("/images/aliases", {"name": IMAGE, "target": made["fingerprint"]})
    made = project.post("/images", broken_image(), "application/octet-stream")
    project.post("/images/aliases", {"name": BROKEN, "target": made["fingerprint"]})


def _empty(root: Rest) -> None:
    """Remove all instances, whoever made them, and the network with its bridge and daemon."""
    for instance in root.get("/instances?recursion=1&all-projects=true"):
        remove(Rest(root.socket, instance["project"]), instance["name"])
    for project in (PROJECT, OTHER):
        with contextlib.suppress(Refused):
            Rest(root.socket, project).put("/profiles/default", {"config": {}, "devices": {}})
    root.delete(f"/networks/{BRIDGE}")


def remove(project: Rest, name: str) -> None:
    """Remove one instance, whatever state it is in. Raises nothing where it is gone."""
    path = f"/instances/{name}"
    with contextlib.suppress(Refused):
        project.put(f"{path}/state", {"action": "stop", "force": True, "timeout": 0})
    with contextlib.suppress(Refused):
        project.patch(path, {"config": {"security.protection.delete": "false"}})
    with contextlib.suppress(Refused):
        project.delete(path)


def _end_stragglers(state: Path) -> None:
    """Kill monitors of containers, their guests, and the bridge's dnsmasq; each names the bed's folder."""
    mark = str(state / "var").encode()
    found = [(pid, procs.started(pid)) for pid in _processes() if mark in _command(pid)]
    for pid, start in found:
        for child in _children(pid):
            with contextlib.suppress(ProcessLookupError):
                os.kill(child, signal.SIGKILL)
        if procs.alive(pid, start):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
    end = time.monotonic() + 10
    while any(procs.alive(pid, start) for pid, start in found) and time.monotonic() < end:
        time.sleep(0.02)


def _stranded_cards() -> list[str]:
    """Containers' ends of their cables that are in this machine's own namespace: a container that was never started, or
    that died with its monitor, left them there. Their addresses begin with what belongs to Incus."""
    shown = subprocess.run(["ip", "-json", "link", "show", "type", "veth"], capture_output=True, check=False).stdout
    return [link["ifname"] for link in json.loads(shown or b"[]") if link["address"].startswith("10:66:6a:")]


def _processes() -> Iterator[int]:
    return (int(path.name) for path in Path("/proc").iterdir() if path.name.isdigit())


def _command(pid: int) -> bytes:
    with contextlib.suppress(OSError):
        return Path(f"/proc/{pid}/cmdline").read_bytes()
    return b""


def _children(pid: int) -> list[int]:
    with contextlib.suppress(OSError):
        return [int(word) for word in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
    return []


def _mounts(state: Path) -> list[str]:
    lines = Path("/proc/self/mounts").read_text().splitlines()
    return [mount for mount in (line.split()[1] for line in lines) if mount.startswith(f"{state}/")]


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def client_certificate(lifetime: timedelta = timedelta(days=3650)) -> tuple[str, str]:
    """A certificate that nobody trusts yet, and its key, as PEM. A negative lifetime: it has expired."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "tests")])
    now = datetime.now(UTC)
    builder = x509.CertificateBuilder().subject_name(name).issuer_name(name).public_key(key.public_key())
    builder = builder.serial_number(x509.random_serial_number())
    builder = builder.not_valid_before(now - timedelta(days=30)).not_valid_after(now + lifetime)
    certificate = builder.sign(key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM)
    private = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    return certificate.decode(), private.decode()


def _body(pem: str) -> str:
    """The certificate as Incus wants it: base64 without the lines around it."""
    return "".join(line for line in pem.splitlines() if not line.startswith("-----"))


BED = IncusBed()
