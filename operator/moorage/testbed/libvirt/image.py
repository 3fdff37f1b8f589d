"""A bootable disk image as a cloud would have it: boot loader, Debian's cloud kernel, the guests' root filesystem.

Guests find their user-data on a disk with the label `cidata` (cloud-init's NoCloud), and write to the serial console.
"""

from __future__ import annotations

import hashlib
import re
import shutil
import subprocess
from pathlib import Path

from moorage.testbed import guestroot
from moorage.testbed.bed import Lacking, Say

KERNEL = "linux-image-cloud-amd64"
PACKAGES = ("busybox-static", "cpio", "dosfstools", "e2fsprogs", "fdisk", "kmod", "mtools", "qemu-utils")
BOOT_PACKAGES = ("syslinux", "syslinux-common")
MODULES = ("virtio_pci", "virtio_blk", "virtio_net", "ext4", "isofs", "button", "evdev")
"""What the guest needs, whatever these need comes with them; one that is built in is no module."""
BOOT_MIB = 24
"""Size of the partition with kernel and initramfs."""
DISK_MIB = 192
SECTORS = 2048
"""Sectors of 512 bytes in one MiB, which is where the first partition begins."""

_INIT = """\
#!/bin/busybox sh
/bin/busybox --install -s /bin
export PATH=/bin
mount -t devtmpfs devtmpfs /dev
while read module; do insmod "/modules/$module"; done </modules/order
for try in 1 2 3 4 5 6 7 8 9 10; do test -b /dev/vda2 && break; sleep 0.2; done
mount -t ext4 /dev/vda2 /root
exec switch_root /root /sbin/init
"""

_SEED = """\
seed=$(findfs LABEL=cidata 2>/dev/null || echo /dev/vdb)
mkdir -p /run/seed
if mount -t iso9660 -o ro "$seed" /run/seed; then
 cp /run/seed/user-data %(user_data)s
 sed -n 's/^local-hostname: *"\\{0,1\\}\\([^"]*\\).*/\\1/p' /run/seed/meta-data >/etc/hostname
 hostname -F /etc/hostname
 umount /run/seed
fi
mkdir -p /etc/acpi/PWRF
printf '#!/bin/sh\\npoweroff\\n' >/etc/acpi/PWRF/00000080
chmod 755 /etc/acpi/PWRF/00000080
acpid -c /etc/acpi -l /dev/null -p /run/acpid.pid
"""

_LOADER = """\
DEFAULT linux
PROMPT 0
TIMEOUT 1
LABEL linux
 KERNEL vmlinuz
 INITRD initrd.gz
 APPEND console=ttyS0 quiet panic=1 random.trust_cpu=on
"""


def image(cache: Path, say: Say) -> Path:
    """The image (qcow2), built where it is not there yet. Raises Lacking."""
    root = guestroot.guest_root(cache, say)
    version = hashlib.sha256(Path(__file__).read_bytes() + root.name.encode()).hexdigest()[:12]
    finished = cache / f"disk-{version}.qcow2"
    if not finished.exists():
        say("building a bootable disk image")
        for old in cache.glob("disk-*.qcow2"):
            old.unlink()
        work = cache / "image"
        shutil.rmtree(work, ignore_errors=True)
        work.mkdir()
        kernel, modules = _kernel(work)
        _initramfs(work, modules)
        _boot_partition(work, kernel)
        _root_partition(work, root)
        _disk(work)
        _run("qemu-img", "convert", "-c", "-f", "raw", "-O", "qcow2", work / "disk.raw", work / "disk.qcow2")
        (work / "disk.qcow2").rename(finished)
        shutil.rmtree(work)
    return finished


def _kernel(work: Path) -> tuple[Path, Path]:
    """Debian's kernel and its modules, unpacked."""
    depends = _run("apt-cache", "depends", KERNEL)
    found = re.search(r"Depends: (linux-image-\S+)", depends)
    if found is None:
        raise Lacking(f"apt knows no package {KERNEL}")
    _run("apt-get", "download", "-qq", "-o", "APT::Sandbox::User=root", found[1], cwd=work)
    (package,) = work.glob("linux-image-*.deb")
    _run("dpkg-deb", "-x", package, work / "kernel")
    (kernel,) = (work / "kernel/boot").glob("vmlinuz-*")
    (modules,) = (work / "kernel/lib/modules").iterdir()
    _run("depmod", "-b", work / "kernel", modules.name)
    return kernel, modules


def _in_order(modules: Path) -> list[Path]:
    """The files of `MODULES` and of all they need, each after what it needs."""
    needs: dict[str, list[str]] = {}
    for line in (modules / "modules.dep").read_text().splitlines():
        name, _, rest = line.partition(":")
        needs[name] = rest.split()
    by_name = {Path(name).name.partition(".")[0].replace("-", "_"): name for name in needs}
    # ext4 asks for these by name when it mounts, which depmod tells in a file of its own.
    order: list[str] = []
    for module in (*(n for n in ("crc32c_generic",) if n in by_name), *MODULES):
        if module not in by_name:
            continue
        for name in (*reversed(needs[by_name[module]]), by_name[module]):
            if name not in order:
                order.append(name)
    return [modules / name for name in order]


def _initramfs(work: Path, modules: Path) -> None:
    root = work / "initramfs"
    for folder in ("bin", "dev", "modules", "root"):
        (root / folder).mkdir(parents=True)
    shutil.copy("/bin/busybox", root / "bin/busybox")
    names = []
    for module in _in_order(modules):
        target = root / "modules" / module.name
        shutil.copy(module, target)
        if target.suffix == ".xz":
            _run("xz", "-d", target)
            target = target.with_suffix("")
        names.append(target.name)
    (root / "modules/order").write_text("".join(f"{name}\n" for name in names))
    (root / "init").write_text(_INIT)
    (root / "init").chmod(0o755)
    _run("sh", "-c", "find . | cpio --quiet -o -H newc -R 0:0 | gzip -9 >../initrd.gz", cwd=root)


def _boot_partition(work: Path, kernel: Path) -> None:
    partition = work / "boot.fat"
    (work / "syslinux.cfg").write_text(_LOADER)
    _run("truncate", "-s", f"{BOOT_MIB}M", partition)
    _run("mkfs.vfat", "-n", "BOOT", "-h", str(SECTORS), partition)
    _run("syslinux", "--install", partition)
    for source, name in ((kernel, "vmlinuz"), (work / "initrd.gz", "initrd.gz"), (work / "syslinux.cfg", "")):
        _run("mcopy", "-i", partition, source, f"::/{name}")


def _root_partition(work: Path, source: Path) -> None:
    root = work / "root"
    guestroot.copy_root(source, root)
    guestroot.write_boot(root, after=_SEED % {"user_data": guestroot.USER_DATA})
    size = f"{DISK_MIB - BOOT_MIB - 2}M"
    _run("mke2fs", "-q", "-t", "ext4", "-m", "0", "-E", "root_owner=0:0", "-d", root, work / "root.ext4", size)


def _disk(work: Path) -> None:
    disk = work / "disk.raw"
    _run("truncate", "-s", f"{DISK_MIB}M", disk)
    table = f"label: dos\nstart=1MiB, size={BOOT_MIB}MiB, type=e, bootable\nstart={BOOT_MIB + 1}MiB, type=83\n"
    _run("sfdisk", "--quiet", disk, text=table)
    for source, at in ((work / "boot.fat", 1), (work / "root.ext4", BOOT_MIB + 1)):
        _run("dd", f"if={source}", f"of={disk}", "bs=1M", f"seek={at}", "conv=notrunc,sparse", "status=none")
    loader = Path("/usr/lib/syslinux/mbr/mbr.bin")
    _run("dd", f"if={loader}", f"of={disk}", "bs=440", "count=1", "conv=notrunc", "status=none")


def _run(*argv: str | Path, cwd: Path | None = None, text: str | None = None) -> str:
    done = subprocess.run(
        [str(word) for word in argv],
        cwd=cwd,
        input=text or "",
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode != 0:
        raise Lacking(f"{argv[0]} failed: {(done.stderr or done.stdout).strip()[-600:]}")
    return done.stdout
