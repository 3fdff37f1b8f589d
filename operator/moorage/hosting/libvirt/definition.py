"""What is written into a domain's definition, and read out of it. XML is built of elements, never of text.

Beside what libvirt knows, three elements of our own namespaces are in a domain's metadata: `server` (identity and what
was asked for, fixed), `tags`, and, only while there is something left to do, `task`.
"""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Literal
from uuid import UUID
from xml.etree import ElementTree as ET

from moorage.hosting.errors import Invalid, Unavailable
from moorage.hosting.libvirt.settings import LibvirtSettings, Nic, Size

NS = "https://moorage.dev/libvirt/"
SERVER, TAGS, TASK = f"{NS}server", f"{NS}tags", f"{NS}task"
TaskName = Literal["create", "delete", "restart"]
_TASKS: Mapping[str, TaskName] = {"create": "create", "delete": "delete", "restart": "restart"}
_LEGAL = re.compile("[\t\n\r\u0020-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]*")
"""What XML can hold."""
for _prefix, _uri in (("server", SERVER), ("tags", TAGS), ("task", TASK)):
    ET.register_namespace(_prefix, _uri)


@dataclass(frozen=True, slots=True)
class Task:
    """What is being done with a server, so that whoever finds it half done can finish it.

    `user_data` is there until the disk with it is written: a definition is all that a creation needs.
    """

    name: TaskName
    user_data: str = field(default="", repr=False)


@dataclass(frozen=True, slots=True)
class Server:
    """What was asked for, as it stands in the domain's metadata."""

    key: str
    name: str
    image: str
    offering: str
    request: str
    created: datetime
    image_pool: str
    pool: str
    disk: int | None
    autostart: bool

    def volume(self, suffix: str) -> str:
        """Name of a volume of its own; all of them, and nobody else's, begin with the key and a dot."""
        return f"{self.key}.{suffix}"


@dataclass(frozen=True, slots=True)
class Domain:
    """A domain's definition, as far as it is read. `server` is None for a foreign one."""

    uuid: str
    name: str
    title: str
    server: Server | None
    tags: Mapping[str, str]
    task: Task | None
    leases: bool
    console: str | None


@dataclass(frozen=True, slots=True)
class Plan:
    """Everything of which a domain is defined."""

    uuid: str
    server: Server
    tags: Mapping[str, str]
    task: Task
    size: Size
    nic: Nic


def domain_xml(plan: Plan, settings: LibvirtSettings, *, kind: str, folder: str) -> str:
    """The definition. `kind` is kvm or qemu, `folder` the pool's on the host, for the log of the console.

    Raises Invalid for text that no XML can hold.
    """
    root = ET.Element("domain", type=kind)
    _add(root, "name", plan.server.key)
    _add(root, "uuid", plan.uuid)
    _add(root, "title", _legal(plan.server.name.replace("\n", " "), "name"))
    metadata = _add(root, "metadata")
    metadata.extend([_server(plan.server), _tags(plan.tags), _task(plan.task)])
    _add(root, "memory", str(int(plan.size.memory)), unit="b")
    _add(root, "vcpu", str(plan.size.cpu))
    system = _add(root, "os", **({"firmware": "efi"} if settings.firmware == "efi" else {}))
    _add(system, "type", "hvm", arch="x86_64", machine=settings.machine)
    _add(system, "boot", dev="hd")
    features = _add(root, "features")
    _add(features, "acpi")
    _add(features, "apic")
    _cpu(root, settings.cpu)
    _add(root, "clock", offset="utc")
    for event, action in (("poweroff", "destroy"), ("reboot", "restart"), ("crash", "destroy")):
        _add(root, f"on_{event}", action)
    _devices(_add(root, "devices"), plan, folder)
    return ET.tostring(root, encoding="unicode")


def _cpu(root: ET.Element, name: str) -> None:
    if name in {"host-model", "host-passthrough", "maximum"}:
        _add(root, "cpu", mode=name)
    else:
        _add(_add(root, "cpu", mode="custom", match="exact", check="none"), "model", name, fallback="allow")


def _devices(devices: ET.Element, plan: Plan, folder: str) -> None:
    for suffix, kind, target in (("qcow2", "qcow2", "vda"), ("iso", "raw", "vdb")):
        disk = _add(devices, "disk", type="volume", device="disk")
        _add(disk, "driver", name="qemu", type=kind)
        _add(disk, "source", pool=plan.server.pool, volume=plan.server.volume(suffix))
        _add(disk, "target", dev=target, bus="virtio")
        if suffix == "iso":
            _add(disk, "readonly")
    nic = _add(devices, "interface", type=plan.nic.type)
    if plan.nic.type != "user":
        _add(nic, "source", **{plan.nic.type: plan.nic.name})
    _add(nic, "model", type="virtio")
    # Nobody boots from the network here, and a guest without it starts sooner.
    _add(nic, "rom", enabled="no")
    serial = _add(devices, "serial", type="file")
    _add(serial, "source", path=f"{folder}/{plan.server.volume('log')}", append="on")
    _add(_add(devices, "rng", model="virtio"), "backend", "/dev/urandom", model="random")


def _server(server: Server) -> ET.Element:
    values = {
        "key": server.key,
        "name": _legal(server.name, "name"),
        "image": _legal(server.image, "image"),
        "offering": _legal(server.offering, "offering"),
        "request": server.request,
        "created": server.created.isoformat(),
        "imagePool": server.image_pool,
        "pool": server.pool,
        "autostart": "yes" if server.autostart else "no",
        **({} if server.disk is None else {"disk": str(server.disk)}),
    }
    return ET.Element(f"{{{SERVER}}}server", values)


def _tags(tags: Mapping[str, str]) -> ET.Element:
    root = ET.Element(f"{{{TAGS}}}tags")
    for name in sorted(tags):
        ET.SubElement(root, "tag", name=_legal(name, "tags"), value=_legal(tags[name], "tags"))
    return root


def _task(task: Task) -> ET.Element:
    root = ET.Element(f"{{{TASK}}}task", name=task.name)
    if task.user_data:
        root.text = base64.b64encode(task.user_data.encode()).decode()
    return root


def tags_xml(tags: Mapping[str, str]) -> str:
    """The element to be set as the metadata of `TAGS`. Raises Invalid for text that no XML can hold."""
    return _bare(_tags(tags))


def task_xml(task: Task) -> str:
    """The element to be set as the metadata of `TASK`."""
    return _bare(_task(task))


def _bare(element: ET.Element) -> str:
    """Without its namespace, which libvirt puts in itself when metadata is set."""
    element.tag = element.tag.partition("}")[2]
    return ET.tostring(element, encoding="unicode")


def resized(text: str, offering: str, size: Size, *, restart: bool) -> str:
    """A definition with another offering, and with a restart to do where it is to take effect. Raises Unavailable for
    nonsense."""
    root = _parsed(text)
    server = root.find(f"metadata/{{{SERVER}}}server")
    metadata = root.find("metadata")
    if server is None or metadata is None:
        raise Invalid("only a server that was made by Moorage can get another offering", field="offering")
    server.set("offering", offering)
    for element in metadata.findall(f"{{{TASK}}}task"):
        metadata.remove(element)
    if restart:
        metadata.append(_task(Task("restart")))
    for name in ("memory", "currentMemory"):
        if (memory := root.find(name)) is not None:
            memory.set("unit", "b")
            memory.text = str(int(size.memory))
    if (vcpu := root.find("vcpu")) is not None:
        vcpu.text = str(size.cpu)
        vcpu.attrib.pop("current", None)
    return ET.tostring(root, encoding="unicode")


def parse(text: str) -> Domain:
    """What a definition says. Raises Unavailable for nonsense."""
    root = _parsed(text)
    console = root.find("devices/serial/source[@path]")
    return Domain(
        uuid=_required(root, "uuid"),
        name=_required(root, "name"),
        title=root.findtext("title") or "",
        server=_read_server(root),
        # Children are in the namespace or in none, as libvirt pleases.
        tags={tag.get("name", ""): tag.get("value", "") for tag in root.findall(f"metadata/{{{TAGS}}}tags/*")},
        task=_read_task(root.find(f"metadata/{{{TASK}}}task")),
        leases=root.find("devices/interface[@type='network']") is not None
        or root.find("devices/interface[@type='bridge']") is not None,
        console=console.get("path") if console is not None else None,
    )


def _read_server(root: ET.Element) -> Server | None:
    found = root.find(f"metadata/{{{SERVER}}}server")
    if found is None:
        return None
    try:
        return Server(
            key=found.attrib["key"],
            name=found.attrib["name"],
            image=found.attrib["image"],
            offering=found.attrib["offering"],
            request=found.attrib["request"],
            created=datetime.fromisoformat(found.attrib["created"]).astimezone(UTC),
            image_pool=found.attrib["imagePool"],
            pool=found.attrib["pool"],
            disk=int(found.attrib["disk"]) if "disk" in found.attrib else None,
            autostart=found.get("autostart") == "yes",
        )
    except (KeyError, ValueError):
        raise Unavailable("a domain's metadata of Moorage's makes no sense") from None


def _read_task(found: ET.Element | None) -> Task | None:
    if found is None:
        return None
    try:
        return Task(_TASKS[found.get("name", "")], base64.b64decode(found.text or "", validate=True).decode())
    except (KeyError, ValueError, binascii.Error):
        raise Unavailable("a domain's metadata of Moorage's makes no sense") from None


def volume_xml(name: str, capacity: int, kind: str, *, base: tuple[str, str] | None = None, full: bool = False) -> str:
    """A volume of that many bytes; `base` is the path and format of the image that it is an overlay of."""
    root = ET.Element("volume", type="file")
    _add(root, "name", name)
    _add(root, "capacity", str(capacity), unit="bytes")
    _add(root, "allocation", str(capacity if full else 0), unit="bytes")
    target = _add(root, "target")
    _add(target, "format", type=kind)
    # The disk holds the guest's secrets, and the seed a token.
    _add(_add(target, "permissions"), "mode", "0600")
    if base is not None:
        backing = _add(root, "backingStore")
        _add(backing, "path", base[0])
        _add(backing, "format", type=base[1])
    return ET.tostring(root, encoding="unicode")


def volume_base(text: str) -> str | None:
    """The path of the image that a volume is an overlay of."""
    return _parsed(text).findtext("backingStore/path") or None


def volume_format(text: str) -> str:
    """The format of a volume, as libvirt found it in it."""
    found = _parsed(text).find("target/format")
    return found.get("type", "") if found is not None else ""


def pool_folder(text: str) -> str | None:
    """The folder of a pool of folders, None for one of another type."""
    root = _parsed(text)
    return root.findtext("target/path") if root.get("type") in {"dir", "fs", "netfs"} else None


def host_uuid(capabilities: str) -> str:
    """The host's own identity. Raises Unavailable where it tells none."""
    return _required(_parsed(capabilities), "host/uuid")


def best_kind(capabilities: str) -> str:
    """The type of domain that the capabilities of domains are of: libvirt shows the best one that works."""
    return _required(_parsed(capabilities), "domain")


def uuid_of(provider_id: str) -> str:
    """The domain's UUID, as libvirt writes it: written in another way it would be a second id of the same server.
    Raises Invalid."""
    with suppress(ValueError):
        if str(UUID(provider_id)) == provider_id:
            return provider_id
    raise Invalid("is not the id of a server: those of libvirt are UUIDs in lower case", field="providerID")


def hostname(name: str) -> str:
    """A name that a host can have."""
    plain = re.sub(r"[^A-Za-z0-9.-]+", "-", name).strip("-.")
    return plain[:63].rstrip("-.") or "server"


def _legal(text: str, where: str) -> str:
    if not _LEGAL.fullmatch(text):
        raise Invalid("has characters that the service cannot keep", field=where)
    return text


def _parsed(text: str) -> ET.Element:
    try:
        return ET.fromstring(text)  # noqa: S314 - of the daemon that we trust with the servers; Expat bounds entities
    except ET.ParseError:
        raise Unavailable("the service answered with something that is no XML") from None


def _required(root: ET.Element, path: str) -> str:
    found = root.findtext(path)
    if not found:
        raise Unavailable(f"the service's answer lacks {path}")
    return found


def _add(parent: ET.Element, tag: str, text: str | None = None, /, **attributes: str) -> ET.Element:
    element = ET.SubElement(parent, tag, attributes)
    element.text = text
    return element
