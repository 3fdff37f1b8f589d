"""Making a server: in an order in which it is exactly one, and nothing is left over, whenever this is interrupted.

The domain is defined first, with identity, request and user-data in it, in one call; whoever finds it can do the rest
(disk, seed, start), and each step can be repeated. `host.remove` undefines it last, so that all that is left of a
server can be found by it.
"""

from __future__ import annotations

import contextlib
from typing import Any

import libvirt

from moorage.hosting.errors import HostingError, Invalid, KeyConflict, TimedOut, Unavailable
from moorage.hosting.libvirt import definition
from moorage.hosting.libvirt.codes import Code, has_code, typed
from moorage.hosting.libvirt.connection import Deadline
from moorage.hosting.libvirt.definition import Plan, Server, Task
from moorage.hosting.libvirt.host import (
    CHUNK,
    INACTIVE,
    check_room,
    ignoring,
    kind,
    pool_of,
    remove,
    remove_volumes,
    tell,
    volume_of,
)
from moorage.hosting.libvirt.seed import seed
from moorage.hosting.libvirt.settings import LibvirtSettings, Size


def create(conn: Any, deadline: Deadline, plan: Plan, settings: LibvirtSettings) -> Any:
    """The domain of a plan, defined and started; the one that is there where it was asked for by this very request."""
    domain = _existing(conn, plan.server)
    ours = domain is None
    if domain is None:
        with deadline.alone:
            domain = _define(conn, deadline, plan, settings)
    try:
        finish(conn, deadline, domain)
    except (Unavailable, TimedOut):
        # Nobody knows how far it came: a repetition, or the next inventory, goes on.
        raise
    except HostingError:
        remove(conn, deadline, domain)
        raise
    except libvirt.libvirtError as error:
        if has_code(error, Code.NO_DOMAIN):
            raise Unavailable("create: somebody else deleted the server meanwhile") from None
        problem = typed("create", error)
        # What nobody knows may be of the moment, and somebody else be just finishing what they defined.
        if problem.definite or (ours and not isinstance(problem, Unavailable | TimedOut)):
            remove(conn, deadline, domain)
        raise problem from None
    return domain


def _existing(conn: Any, server: Server) -> Any | None:
    with ignoring(Code.NO_DOMAIN):
        domain = conn.lookupByName(server.key)
        there = definition.parse(domain.XMLDesc(0)).server
        if there is None or there.request != server.request:
            raise KeyConflict("the key is that of a server that was asked for with another request")
        return domain
    return None


def _define(conn: Any, deadline: Deadline, plan: Plan, settings: LibvirtSettings) -> Any:
    """Define it, after looking whether there is all that it needs: what is refused later has to be undone."""
    image_of(conn, plan.server.image_pool, plan.server.image)
    pool = pool_of(conn, plan.server.pool, "settings.pool")
    folder = definition.pool_folder(pool.XMLDesc(0))
    if folder is None:
        raise Invalid("is no pool of folders (dir, fs or netfs)", field="settings.pool")
    if plan.nic.type == "network" and not conn.networkLookupByName(plan.nic.name).isActive():
        raise Invalid(f"the network {plan.nic.name} is not active", field="settings.nic")
    check_room(conn, settings.memory_limit, int(plan.size.memory), pool)
    virtualization = kind(conn, settings.machine, settings.virtualization)
    xml = definition.domain_xml(plan, settings, kind=virtualization, folder=folder)
    deadline.left()
    try:
        return conn.defineXMLFlags(xml, libvirt.VIR_DOMAIN_DEFINE_VALIDATE)
    except libvirt.libvirtError as error:
        # A name that is taken is told as an operation that failed: another one may have been faster.
        domain = _existing(conn, plan.server) if has_code(error, Code.OPERATION_FAILED, Code.DOM_EXIST) else None
        if domain is None:
            raise
        return domain


def finish(conn: Any, deadline: Deadline, domain: Any) -> None:
    """Do what is left to do with a server that is being created or restarted. Repetition: harmless."""
    found = definition.parse(domain.XMLDesc(INACTIVE))
    if found.task is None or found.server is None or found.task.name == "delete":
        return
    if found.task.name == "restart" and domain.isActive():
        _end_of_old(domain, found.server)
    if not domain.isActive():
        if found.task.name == "create":
            _write_disks(conn, deadline, found.server, found.task)
            domain.setAutostart(found.server.autostart)
        deadline.left()
        start(domain)
    tell(domain, definition.TASK, "task", None)


def _end_of_old(domain: Any, wanted: Server) -> None:
    """End what still runs with another offering than the definition's."""
    runs = definition.parse(domain.XMLDesc(0)).server
    if runs is not None and runs.offering != wanted.offering:
        with ignoring(Code.OPERATION_INVALID):
            domain.destroy()


def start(domain: Any) -> None:
    """Start it, or find it started."""
    try:
        domain.create()
    except libvirt.libvirtError as error:
        # Another one was faster.
        if not (has_code(error, Code.OPERATION_INVALID) and domain.isActive()):
            raise


def _write_disks(conn: Any, deadline: Deadline, server: Server, task: Task) -> None:
    with deadline.alone:
        pool = pool_of(conn, server.pool, "settings.pool")
        deadline.left()
        _write_alone(conn, pool, deadline, server, task)


def _write_alone(conn: Any, pool: Any, deadline: Deadline, server: Server, task: Task) -> None:
    try:
        _overlay(conn, pool, server)
        deadline.left()
        _seed(conn, pool, deadline, server, task)
        _volume(pool, definition.volume_xml(server.volume("log"), 0, "raw"), server.volume("log"))
    finally:
        # It may have been deleted meanwhile, by another process: what was just written would be left over.
        if not _defined(conn, server.key):
            remove_volumes(pool, server)


def _defined(conn: Any, key: str) -> bool:
    with ignoring(Code.NO_DOMAIN):
        conn.lookupByName(key)
        return True
    return False


def image_of(conn: Any, pool_name: str, name: str) -> tuple[str, str, int]:
    """Path, format and size of an image. Raises Invalid(field="image") where there is none, or of another format."""
    volume = volume_of(pool_of(conn, pool_name, "settings.imagePool"), name)
    if volume is None:
        raise Invalid(f"the pool {pool_name} has no volume {name}", field="image")
    kind = definition.volume_format(volume.XMLDesc(0))
    if kind not in {"qcow2", "raw"}:
        raise Invalid(f"is neither qcow2 nor raw but {kind or 'of no format'}", field="image")
    return volume.path(), kind, volume.info()[1]


def _overlay(conn: Any, pool: Any, server: Server) -> None:
    path, kind, size = image_of(conn, server.image_pool, server.image)
    name = server.volume("qcow2")
    xml = definition.volume_xml(name, max(size, server.disk or 0), "qcow2", base=(path, kind))
    volume = _volume(pool, xml, name)
    # A daemon that was killed while it made the file leaves one that is an overlay of nothing.
    if definition.volume_base(volume.XMLDesc(0)) != path:
        volume.delete(0)
        _volume(pool, xml, name)


def _seed(conn: Any, pool: Any, deadline: Deadline, server: Server, task: Task) -> None:
    content = seed(server.key, definition.hostname(server.name), task.user_data)
    name = server.volume("iso")
    xml = definition.volume_xml(name, len(content), "raw", full=True)
    volume = _volume(pool, xml, name)
    if volume.info()[1] != len(content):
        volume.delete(0)
        volume = _volume(pool, xml, name)
    stream = conn.newStream(0)
    try:
        volume.upload(stream, 0, len(content), 0)
        rest = memoryview(content)
        while rest:
            deadline.left()
            rest = rest[stream.send(bytes(rest[:CHUNK])) :]
        stream.finish()
    except BaseException:
        with contextlib.suppress(libvirt.libvirtError):
            stream.abort()
        raise


def _volume(pool: Any, xml: str, name: str) -> Any:
    """The volume, made or found."""
    try:
        return pool.createXML(xml, 0)
    except libvirt.libvirtError as error:
        # A file that the daemon does not know yet is told as a failed operation.
        if not has_code(error, Code.STORAGE_VOL_EXIST, Code.OPERATION_FAILED):
            raise
        volume = volume_of(pool, name)
        if volume is None:
            raise
        return volume


def resize(conn: Any, deadline: Deadline, domain: Any, size: Size, limit: int | None) -> None:
    """Give it another offering: with the next start, which is at once where it runs."""
    shown = definition.parse(domain.XMLDesc(0))
    if shown.server is not None and shown.server.offering != size.name:
        pool = pool_of(conn, shown.server.pool, "settings.pool")
        before = domain.XMLDesc(INACTIVE | libvirt.VIR_DOMAIN_XML_SECURE)
        runs = bool(domain.isActive())
        with deadline.alone:
            check_room(conn, limit, int(size.memory) - domain.maxMemory() * 1024, pool)
            deadline.left()
            conn.defineXML(definition.resized(before, size.name, size, restart=runs))
        try:
            finish(conn, deadline, domain)
        except libvirt.libvirtError as error:
            problem = typed("resize", error)
            if problem.definite:
                conn.defineXML(before)
                start(domain)
            raise problem from None
    elif shown.server is None:
        raise Invalid("only a server that was made by Moorage can get another offering", field="offering")
    else:
        finish(conn, deadline, domain)
