"""What is asked of one libvirtd, in blocking calls that end in libvirt's own errors or ours."""

from __future__ import annotations

from typing import Any

import libvirt

from moorage.hosting.contract import MAX_CONSOLE
from moorage.hosting.errors import CapacityError, Invalid, Unavailable
from moorage.hosting.libvirt import definition
from moorage.hosting.libvirt.codes import Code, has_code
from moorage.hosting.libvirt.connection import Deadline
from moorage.hosting.libvirt.definition import Server, Task

INACTIVE = libvirt.VIR_DOMAIN_XML_INACTIVE
SPARE = 32 * 1024 * 1024
"""Bytes that a pool must have to spare for a new server's disk to begin with."""
CHUNK = 64 * 1024


class ignoring:  # noqa: N801 - used as contextlib.suppress is
    """Let these errors of the daemon pass."""

    def __init__(self, *codes: Code) -> None:
        self._codes = codes

    def __enter__(self) -> None:
        return None

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: object) -> bool:
        return isinstance(error, libvirt.libvirtError) and has_code(error, *self._codes)


def pool_of(conn: Any, name: str, field: str) -> Any:
    """A storage pool that is active. Raises Invalid naming the field where there is none of the name."""
    try:
        return conn.storagePoolLookupByName(name)
    except libvirt.libvirtError as error:
        if has_code(error, Code.NO_STORAGE_POOL):
            raise Invalid(f"the service has no storage pool {name}", field=field) from None
        raise


def volume_of(pool: Any, name: str) -> Any | None:
    """A volume, None where the pool has none of the name. A pool is read anew before that is believed."""
    for fresh in (False, True):
        if fresh:
            refresh(pool)
        with ignoring(Code.NO_STORAGE_VOL):
            return pool.storageVolLookupByName(name)
    return None


def refresh(pool: Any) -> None:
    """Read the pool's folder anew, unless the daemon is writing into it, which it tells as an internal error."""
    with ignoring(Code.INTERNAL_ERROR):
        pool.refresh(0)


def tell(domain: Any, uri: str, prefix: str, xml: str | None) -> None:
    """Set an element of our own, or remove it, in the definition and in the running domain alike."""
    for _ in range(3):
        flags = libvirt.VIR_DOMAIN_AFFECT_CONFIG | (libvirt.VIR_DOMAIN_AFFECT_LIVE if domain.isActive() else 0)
        # Between the two calls it may have been started or stopped.
        with ignoring(Code.OPERATION_INVALID):
            domain.setMetadata(libvirt.VIR_DOMAIN_METADATA_ELEMENT, xml, prefix, uri, flags)
            return
    raise Unavailable("the server is started and stopped all the time")


# Stopping and deleting


def heeds_button(conn: Any, deadline: Deadline, domain: Any, *, press: bool) -> bool:
    """Whether a guest runs and is not paused; its power button is pressed then, where that is wanted."""
    if not domain.isActive() or domain.state(0)[0] == libvirt.VIR_DOMAIN_PAUSED:
        return False
    if press:
        with ignoring(Code.OPERATION_INVALID):
            domain.shutdown()
    return True


def cut_power(conn: Any, deadline: Deadline, domain: Any) -> None:
    """Take the power of a guest that runs."""
    if domain.isActive():
        with ignoring(Code.OPERATION_INVALID):
            domain.destroyFlags(libvirt.VIR_DOMAIN_DESTROY_GRACEFUL)


def remove(conn: Any, deadline: Deadline, domain: Any) -> None:
    """End a domain, then its volumes, then its definition. Repetition goes on where the last one stopped."""
    with ignoring(Code.NO_DOMAIN):
        found = definition.parse(domain.XMLDesc(INACTIVE))
        if found.task is None or found.task.name != "delete":
            tell(domain, definition.TASK, "task", definition.task_xml(Task("delete")))
        deadline.left()
        if domain.isActive():
            with ignoring(Code.OPERATION_INVALID):
                domain.destroy()
        deadline.left()
        if found.server is not None:
            with deadline.alone, ignoring(Code.NO_STORAGE_POOL):
                remove_volumes(conn.storagePoolLookupByName(found.server.pool), found.server)
        deadline.left()
        domain.undefineFlags(
            libvirt.VIR_DOMAIN_UNDEFINE_MANAGED_SAVE
            | libvirt.VIR_DOMAIN_UNDEFINE_SNAPSHOTS_METADATA
            | libvirt.VIR_DOMAIN_UNDEFINE_CHECKPOINTS_METADATA
            | libvirt.VIR_DOMAIN_UNDEFINE_NVRAM
        )
        # It may have been started meanwhile by one who was just making it; without a definition it ends for good.
        with ignoring(Code.OPERATION_INVALID):
            domain.destroy()


def remove_volumes(pool: Any, server: Server) -> None:
    """Remove every volume of a server, the logs that were put aside too."""
    refresh(pool)
    for volume in pool.listAllVolumes(0):
        if volume.name().startswith(server.volume("")):
            with ignoring(Code.NO_STORAGE_VOL):
                volume.delete(0)


# Reading


def room(conn: Any, limit: int | None) -> tuple[int, int]:
    """Bytes of memory that further domains may have, and how many domains there are."""
    domains = conn.listAllDomains(0)
    used = 0
    for domain in domains:
        with ignoring(Code.NO_DOMAIN):
            used += domain.maxMemory() * 1024
    return (conn.getInfo()[1] * 1024 * 1024 if limit is None else limit) - used, len(domains)


def check_room(conn: Any, limit: int | None, memory: int, pool: Any) -> None:
    """Raises CapacityError where neither memory nor disk can be enough: libvirt itself would find out only half-way."""
    left, _ = room(conn, limit)
    if memory > left:
        raise CapacityError(
            f"the host has {max(0, left) >> 20} MiB of memory to give, and {memory >> 20} are asked for"
        )
    refresh(pool)
    if pool.info()[3] < SPARE:
        raise CapacityError("the storage pool is full")


def console(conn: Any, domain: Any) -> str | None:
    """The end of the log that QEMU writes of the serial port; None for a domain without."""
    found = definition.parse(domain.XMLDesc(0))
    if found.server is None or found.console is None:
        return None
    with ignoring(Code.NO_STORAGE_VOL, Code.NO_STORAGE_POOL):
        pool = conn.storagePoolLookupByName(found.server.pool)
        volume = pool.storageVolLookupByName(found.server.volume("log"))
        size = volume.info()[1]
        start = max(0, size - MAX_CONSOLE)
        if size == 0:
            return ""
        stream = conn.newStream(0)
        volume.download(stream, start, size - start, 0)
        data = bytearray()
        while chunk := stream.recv(CHUNK):
            data += chunk
        stream.finish()
        text = data.decode(errors="replace").replace("\r\n", "\n")
        return "".join(c for c in text if c == "\n" or c.isprintable())[-MAX_CONSOLE:]
    return ""


def addresses(domain: Any) -> list[str]:
    """Those that a running guest got from libvirt's own DHCP, or else those that the host has spoken with."""
    for source in (
        libvirt.VIR_DOMAIN_INTERFACE_ADDRESSES_SRC_LEASE,
        libvirt.VIR_DOMAIN_INTERFACE_ADDRESSES_SRC_ARP,
    ):
        with ignoring(Code.OPERATION_INVALID, Code.NO_SUPPORT, Code.ARGUMENT_UNSUPPORTED, Code.NO_NETWORK):
            cards = domain.interfaceAddresses(source) or {}
            found = [entry["addr"] for card in cards.values() for entry in card.get("addrs") or ()]
            if found:
                return sorted(found)
    return []


def kind(conn: Any, machine: str, wanted: str) -> str:
    """The type of domain: KVM where libvirt offers it, unless told otherwise."""
    if wanted != "auto":
        return wanted
    return definition.best_kind(conn.getDomainCapabilities(None, "x86_64", machine, None, 0))
