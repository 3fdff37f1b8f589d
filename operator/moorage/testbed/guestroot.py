"""A small root filesystem for guests of every bed: busybox, and Debian's python3 with ssl, as Moorage's agent needs.

It is made of Debian packages, unpacked and thinned out; no guest needs a package manager. About 25 MB, 10 MB packed.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import shutil
import subprocess
from pathlib import Path

from moorage.testbed.bed import Lacking, Say

PYTHON = "python3.11"
PACKAGES = (
    "busybox-static",
    f"{PYTHON}-minimal",
    f"lib{PYTHON}-minimal",
    f"lib{PYTHON}-stdlib",
    "libc6",
    "libssl3",
    "libexpat1",
    "zlib1g",
)
USER_DATA = "/var/lib/guest/user-data"
"""Where a guest finds its user-data: a program, run at every boot. Not below /var/lib/cloud, which would tell the agent
that cloud-init waits for it."""

_LIBRARIES = ("lib/*-linux-gnu/*", "usr/lib/*-linux-gnu/*")
_NEEDED_LIBRARIES = (
    *("ld-linux", "libc.", "libm.", "libdl.", "libpthread.", "librt.", "libutil.", "libresolv.", "libnss_"),
    *("libssl.", "libcrypto.", "libexpat.", "libz."),
)
_UNNEEDED = (
    *("test", "unittest", "idlelib", "lib2to3", "ensurepip", "tkinter", "turtle*", "turtledemo", "pydoc*", "venv"),
    *("distutils", "ctypes", "sqlite3", "dbm", "curses", "config-*", "__pycache__", "__phello__*", "doctest*", "this*"),
    *("lib-dynload/_test*", "lib-dynload/*test.*", "lib-dynload/xx*", "lib-dynload/_codecs_*", "lib-dynload/_ctypes*"),
    *("lib-dynload/_sqlite3*", "lib-dynload/_dbm*", "lib-dynload/_curses*", "lib-dynload/_bz2*", "lib-dynload/_lzma*"),
    *("lib-dynload/nis*", "lib-dynload/ossaudiodev*", "lib-dynload/audioop*", "lib-dynload/readline*"),
    *("lib-dynload/_crypt*", "lib-dynload/_uuid*"),
)
_FILES = {
    "etc/passwd": "root:x:0:0:root:/root:/bin/sh\nnobody:x:65534:65534:nobody:/:/bin/false\n",
    "etc/group": "root:x:0:\nnogroup:x:65534:\n",
    "etc/hosts": "127.0.0.1 localhost\n::1 localhost\n",
    "etc/nsswitch.conf": "passwd: files\ngroup: files\nhosts: files dns\n",
    "etc/resolv.conf": "",
    "etc/hostname": "guest\n",
}
_FOLDERS = ("dev", "proc", "sys", "run", "tmp", "root", "etc", "var/lib/guest", "var/log", "bin", "sbin", "usr/bin")

_DHCP = """\
#!/bin/sh
case "$1" in
bound|renew)
 ip addr replace "$ip/${mask:-24}" dev "$interface"
 for gateway in $router; do ip route replace default via "$gateway" dev "$interface"; break; done
 : >/etc/resolv.conf
 for server in $dns; do echo "nameserver $server" >>/etc/resolv.conf; done;;
deconfig) ip addr flush dev "$interface"; ip link set "$interface" up;;
esac
exit 0
"""

_START = """\
#!/bin/sh
export PATH=/usr/sbin:/usr/bin:/sbin:/bin
test -e /proc/self || mount -t proc proc /proc
test -d /sys/class || mount -t sysfs sysfs /sys 2>/dev/null
test -c /dev/null || mount -t devtmpfs devtmpfs /dev
hostname -F /etc/hostname 2>/dev/null
ip link set lo up
%(before)s
test ! -d "/sys/class/net/%(interface)s" || udhcpc -i "%(interface)s" -s /etc/guest/dhcp -b -t 20 -T 1 -S
%(after)s
echo "guest: started"
"""

_RUN = f"""\
#!/bin/sh
export PATH=/usr/sbin:/usr/bin:/sbin:/bin HOME=/root
cd /
test -s {USER_DATA} || exit 0
chmod 0700 {USER_DATA}
exec {USER_DATA}
"""

_INITTAB = "::sysinit:/etc/guest/start\n::once:/etc/guest/run\n"


def guest_root(cache: Path, say: Say) -> Path:
    """The root filesystem as a folder, built where it is not there yet; it has no init, see `write_boot`.

    `cache` is a bed's; the folder is shared by all beds and must not be changed: `copy_root` it. The same packed is
    `packed(root)`. Raises Lacking.
    """
    shared = cache.parent / "guestroot"
    shared.mkdir(parents=True, exist_ok=True)
    with (shared / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        # What this file says decides what is built: another version of it builds anew.
        root = shared / hashlib.sha256(Path(__file__).read_bytes()).hexdigest()[:12]
        if not packed(root).exists():
            say("building the root filesystem of guests")
            for path in shared.iterdir():
                if path.name != "lock":
                    shutil.rmtree(path) if path.is_dir() else path.unlink()
            _build(root, shared / "packages")
            shutil.rmtree(shared / "packages")
            pack(root, packed(root))
    return root


def packed(root: Path) -> Path:
    """The tarball that belongs to `guest_root`, with its content at the top."""
    return root.with_name(root.name + ".tar.gz")


def pack(root: Path, tarball: Path) -> None:
    """Make a gzip tarball of a root, whole at once."""
    partial = tarball.with_name(tarball.name + "~")
    _run("tar", "-C", root, "--numeric-owner", "--owner=0", "--group=0", "-czf", partial, ".")
    partial.rename(tarball)


def copy_root(root: Path, target: Path) -> None:
    """A copy of one's own, to add an init, modules or files."""
    _run("cp", "-a", f"{root}/.", target.resolve()) if target.exists() else _run("cp", "-a", root, target)


def write_boot(root: Path, *, before: str = "", after: str = "", interface: str = "eth0") -> None:
    """Give a copied root an init (/sbin/init and /init: busybox): it mounts what is missing, runs `before`, asks for an
    address of `interface` by DHCP where there is one, runs `after`, and then runs `USER_DATA` in the background of
    itself, its output on the console. `before` and `after` are lines for /bin/sh (load modules, fetch user-data)."""
    folder = root / "etc/guest"
    folder.mkdir(parents=True, exist_ok=True)
    words = {"before": before, "after": after, "interface": interface}
    for name, text in {"start": _START % words, "run": _RUN, "dhcp": _DHCP}.items():
        (folder / name).write_text(text)
        (folder / name).chmod(0o755)
    (root / "etc/inittab").write_text(_INITTAB)
    for init in (root / "sbin/init", root / "init"):
        init.unlink(missing_ok=True)
        init.symlink_to("/bin/busybox")


def _build(root: Path, packages: Path) -> None:
    packages.mkdir()
    _run("apt-get", "update", "-qq", "-o", "DPkg::Lock::Timeout=600")
    _run("apt-get", "download", "-qq", "-o", "APT::Sandbox::User=root", *PACKAGES, cwd=packages)
    root.mkdir(mode=0o755)
    for package in sorted(packages.glob("*.deb")):
        _run("dpkg-deb", "-x", package, root)
    _thin_out(root)
    for folder in _FOLDERS:
        (root / folder).mkdir(parents=True, exist_ok=True)
    (root / "tmp").chmod(0o1777)
    for name, text in _FILES.items():
        (root / name).write_text(text)
    (root / f"usr/bin/{PYTHON}").rename(root / "usr/bin/python3")
    _compile(root)
    _applets(root)


def _thin_out(root: Path) -> None:
    for pattern in _LIBRARIES:
        for path in root.glob(pattern):
            if not path.name.startswith(_NEEDED_LIBRARIES):
                _remove(path)
    for pattern in _UNNEEDED:
        for path in (root / "usr/lib" / PYTHON).glob(pattern):
            _remove(path)
    _remove(root / "usr/share")


def _compile(root: Path) -> None:
    """Compiled modules in place of their sources: smaller, and a guest on an emulated processor starts in half the
    time. The guest's own interpreter does it, through its own loader, which needs no root."""
    (loader,) = root.glob("lib/*-linux-gnu/ld-linux*")
    libraries = ":".join(str(path) for pattern in _LIBRARIES for path in {p.parent for p in root.glob(pattern)})
    modules = root / "usr/lib" / PYTHON
    python: list[str | Path] = [
        loader,
        "--library-path",
        libraries,
        root / "usr/bin/python3",
        "-s",
        "-m",
        "compileall",
        "-q",
        "-b",
    ]
    shown: list[str | Path] = ["-s", modules, "-p", f"/usr/lib/{PYTHON}"]
    home = {"PYTHONHOME": str(root / "usr"), "PYTHONPATH": ""}
    _run(*python, "--invalidation-mode=unchecked-hash", *shown, modules, env=home)
    for source in modules.rglob("*.py"):
        source.unlink()
    for folder in modules.rglob("__pycache__"):
        shutil.rmtree(folder)


def _applets(root: Path) -> None:
    for name in _run(root / "bin/busybox", "--list").split():
        link = root / "bin" / name
        if not link.exists():
            link.symlink_to("busybox")
    (root / "usr/bin/env").symlink_to("/bin/busybox")


def _remove(path: Path) -> None:
    shutil.rmtree(path) if path.is_dir() and not path.is_symlink() else path.unlink(missing_ok=True)


def _run(*argv: str | Path, cwd: Path | None = None, env: dict[str, str] | None = None) -> str:
    done = subprocess.run(
        [str(word) for word in argv],
        cwd=cwd,
        env={**os.environ, "LC_ALL": "C", **(env or {})},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode != 0:
        raise Lacking(f"{Path(str(argv[0])).name} failed: {(done.stderr or done.stdout).strip()[-600:]}")
    return done.stdout
