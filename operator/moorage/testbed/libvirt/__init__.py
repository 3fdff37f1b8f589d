"""A real libvirtd with QEMU: virtual machines that boot a kernel, emulated, so that no machine has to have KVM.

The daemons live in mount namespaces of their own, in which libvirt's system folders are folders of the bed: the
machine's own libvirt, if it has one, is not touched, and nothing is left in it.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import socket
import subprocess
import time
import uuid
from pathlib import Path

from moorage.testbed import debian
from moorage.testbed.bed import Lacking, Running, Say
from moorage.testbed.daemons import Daemons
from moorage.testbed.libvirt import files
from moorage.testbed.libvirt import image as boot_image
from moorage.testbed.libvirt.binding import binding

RELEASE = "bookworm-backports"
PACKAGES = (
    *("libvirt-daemon-system", "libvirt-clients", "libvirt-daemon-driver-qemu", "libvirt-dev", "qemu-system-x86"),
    *("dnsmasq-base", "iptables", "iproute2"),
)
TOOLS = ("gcc", "pkg-config", "python3-venv", "genisoimage", *boot_image.PACKAGES, *boot_image.BOOT_PACKAGES)
START = 60.0
"""Seconds within which libvirtd has to answer on a busy machine."""
MOUNTS = {
    "etc": "/etc/libvirt",
    "lib": "/var/lib/libvirt",
    "run": "/run/libvirt",
    "cache": "/var/cache/libvirt",
    "log": "/var/log/libvirt",
}
"""Folders of the bed, and where libvirt has them."""
POOLS = ("images", "servers")
IMAGE = "debian-tiny.qcow2"
CLIENT = "moorage"
"""The name of the certificate that libvirtd lets in."""
NETWORK = "lab"
NETWORK_XML = f"""\
<network>
  <name>{NETWORK}</name>
  <bridge name='mlv0' stp='off' delay='0'/>
  <ip address='10.213.0.1' netmask='255.255.255.0'>
    <dhcp><range start='10.213.0.10' end='10.213.0.99'/></dhcp>
  </ip>
</network>
"""
SETTINGS = {
    "virtualization": "qemu",
    "machine": "pc",
    "cpu": "qemu64",
    "imagePool": "images",
    "pool": "servers",
    "nic": {"type": "user"},
    "stopTimeout": "10s",
    "sizes": [
        {"name": "tiny", "cpu": 1, "memory": "128Mi"},
        {"name": "small", "cpu": 1, "memory": "160Mi"},
        {"name": "huge", "cpu": 1, "memory": "8Ti"},
    ],
}


class Libvirt:
    """See the module."""

    name = "libvirt"
    summary = "libvirtd with QEMU (Debian): real virtual machines, emulated"

    def lacks(self) -> list[str]:
        """Root and Debian; namespaces of mounts."""
        found = debian.lacks()
        if not found and subprocess.run(["unshare", "--mount", "true"], capture_output=True, check=False).returncode:
            found.append("it needs mount namespaces (a privileged container, or a machine)")
        return found

    def install(self, cache: Path, say: Say) -> None:
        """libvirt and QEMU, the binding, and the image that guests boot."""
        debian.install(PACKAGES, say, release=RELEASE)
        debian.install(TOOLS, say)
        binding(cache, say)
        boot_image.image(cache, say)

    def up(self, cache: Path, state: Path, daemons: Daemons, say: Say) -> Running:
        """virtlogd and libvirtd with two pools, the base image in one of them, and a network."""
        for folder in (*MOUNTS, *(f"pools/{name}" for name in POOLS), "sock", "tls"):
            (state / folder).mkdir(parents=True)
        shutil.copytree("/etc/libvirt", state / "etc", dirs_exist_ok=True)
        (state / "etc/qemu.conf").write_text(files.QEMU)
        shutil.rmtree(state / "etc/qemu/networks", ignore_errors=True)
        shutil.copyfile(boot_image.image(cache, say), state / "pools/images" / IMAGE)
        authority, port = files.Authority(), _free_port()
        self._write_tls(state, authority)
        config = files.DAEMON.format(state=state, port=port, uuid=uuid.uuid4(), client=CLIENT)
        (state / "libvirtd.conf").write_text(config)
        start(state, daemons)
        for name in POOLS:
            virsh(state, "pool-define-as", name, "dir", "--target", f"{state}/pools/{name}")
            virsh(state, "pool-start", name)
            virsh(state, "pool-autostart", name)
        # The first question takes seconds, in which every emulator is asked what it can do.
        virsh(state, "capabilities")
        client = authority.issue(CLIENT, server=False)
        return Running(
            type="libvirt",
            endpoint=f"qemu+tls://127.0.0.1:{port}/system",
            guests="10.0.2.2",
            credentials={"ca.crt": authority.pem, "tls.crt": client.certificate, "tls.key": client.key},
            settings=SETTINGS,
            image=IMAGE,
            offering="tiny",
            extra={
                "state": str(state),
                "socket": f"qemu+unix:///system?socket={state}/sock/libvirt-sock",
                "network": NETWORK,
                **self._bad_credentials(authority),
            },
        )

    def down(self, state: Path, daemons: Daemons, say: Say) -> None:
        """End the guests, whether or not the daemon still answers, and remove the network."""
        with contextlib.suppress(Lacking):
            virsh(state, "net-destroy", NETWORK)
        for file in (state / "run").rglob("*.pid"):
            with contextlib.suppress(OSError, ValueError):
                _end(int(file.read_text()), str(state))
        subprocess.run(["ip", "link", "delete", "mlv0"], capture_output=True, check=False)

    @staticmethod
    def _write_tls(state: Path, authority: files.Authority) -> None:
        server = authority.issue("127.0.0.1", server=True)
        files.write_private(state / "tls/ca.pem", authority.pem)
        files.write_private(state / "tls/server.pem", server.certificate)
        files.write_private(state / "tls/server.key", server.key)

    @staticmethod
    def _bad_credentials(authority: files.Authority) -> dict[str, str]:
        """Secrets, as JSON, that must be refused: of another authority, and expired."""
        stranger = files.Authority().issue("moorage", server=False)
        expired = authority.issue("moorage", server=False, days=-1)
        return {
            name: json.dumps({"ca.crt": authority.pem, "tls.crt": made.certificate, "tls.key": made.key})
            for name, made in (("stranger", stranger), ("expired", expired))
        }


def start(state: Path, daemons: Daemons) -> None:
    """Start those of the two daemons that do not run, and wait until libvirtd answers. Raises Lacking."""
    for name, argv in {
        "virtlogd": ["/usr/sbin/virtlogd"],
        "libvirtd": ["/usr/sbin/libvirtd", "--config", f"{state}/libvirtd.conf", "--listen"],
    }.items():
        if daemons.pid(name) is None:
            # Their own is in /run, where one of the machine's may have it.
            own = ["--pid-file", f"{state}/{name}.pid"]
            daemons.start(name, [*_in_namespace(state), *argv, *own], umask=0o022)
    end = time.monotonic() + START
    while True:
        try:
            virsh(state, "list", "--all")
            return
        except Lacking:
            if daemons.pid("libvirtd") is None or time.monotonic() > end:
                raise Lacking(f"libvirtd did not start: {daemons.tail('libvirtd')}") from None
        time.sleep(0.05)


def define_network(state: Path) -> None:
    """Start the network, for tests that want guests with addresses of their own. Repetition: harmless."""
    file = state / "network.xml"
    if not file.exists():
        file.write_text(NETWORK_XML)
        virsh(state, "net-create", str(file))


def virsh(state: Path, *words: str) -> str:
    """The daemon's own client. Raises Lacking with what it said."""
    argv = ["virsh", "--quiet", "--connect", f"qemu+unix:///system?socket={state}/sock/libvirt-sock", *words]
    done = subprocess.run(argv, capture_output=True, text=True, check=False, timeout=START)
    if done.returncode != 0:
        raise Lacking(f"virsh {words[0]} failed: {done.stderr.strip()[-600:]}")
    return done.stdout


def _in_namespace(state: Path) -> list[str]:
    binds = " && ".join(f"mkdir -p {target} && mount --bind {state}/{name} {target}" for name, target in MOUNTS.items())
    # /run/libvirt is made anew, if at all: it is the machine's, and empty where no libvirt runs.
    return ["unshare", "--mount", "--propagation", "private", "sh", "-c", f'{binds} && exec "$0" "$@"']


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _end(pid: int, mark: str) -> None:
    """Kill a guest or helper, if it is still the process that the bed's file means."""
    command = Path(f"/proc/{pid}/cmdline").read_bytes()
    if mark.encode() in command or b"qemu-system" in command or b"dnsmasq" in command:
        os.kill(pid, signal.SIGKILL)


BED = Libvirt()
