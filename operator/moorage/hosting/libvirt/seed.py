"""The disk on which a guest finds its user-data: cloud-init's NoCloud, an ISO 9660 image with the label `cidata`.

Written here, since it is sent to the host through libvirt's connection: no program and no file of this machine is
needed. Names are in the Joliet extension, which keeps them as they are.
"""

from __future__ import annotations

import json
import struct
from collections.abc import Mapping

SECTOR = 2048
LABEL = "cidata"
_FIRST = 25
"""The sector of the first file; before it are 16 empty ones, three descriptors, four path tables and two folders
(the folders share no sector)."""
_TABLES = 19
_FOLDERS = 23
_DATE = bytes(7)
_LONG_DATE = b"0" * 16 + b"\0"


def seed(instance: str, host_name: str, user_data: str) -> bytes:
    """The image. The same arguments give the same bytes."""
    # JSON strings are YAML strings.
    meta = f"instance-id: {json.dumps(instance)}\nlocal-hostname: {json.dumps(host_name)}\n"
    return iso({"meta-data": meta.encode(), "user-data": user_data.encode()})


def iso(files: Mapping[str, bytes]) -> bytes:
    """An image with these files in its root folder; their names are short and ASCII."""
    body, places, sector = bytearray(), {}, _FIRST
    for name in sorted(files):
        places[name] = (sector, len(files[name]))
        body += _padded(files[name])
        sector = _FIRST + len(body) // SECTOR
    image = bytearray(16 * SECTOR)
    image += _descriptor(1, LABEL.upper().encode().ljust(32), b"", _FOLDERS, _TABLES, sector)
    image += _descriptor(2, LABEL.encode("utf-16-be").ljust(32, b"\0"), b"%/E", _FOLDERS + 1, _TABLES + 1, sector)
    image += _padded(b"\xffCD001\x01")
    for order in "<>":
        image += _padded(_path_table(order, _FOLDERS)) + _padded(_path_table(order, _FOLDERS + 1))
    plain = {name.upper().replace("-", "_").encode() + b".;1": place for name, place in places.items()}
    joliet = {name.encode("utf-16-be"): place for name, place in places.items()}
    image += _folder(_FOLDERS, plain) + _folder(_FOLDERS + 1, joliet)
    return bytes(image + body)


def _descriptor(kind: int, label: bytes, escapes: bytes, folder: int, table: int, sectors: int) -> bytes:
    joliet = kind == 2
    blank = "".encode("utf-16-be") if joliet else b""
    filler = b"\0" if joliet else b" "
    fields = [
        struct.pack("<B5sBB", kind, b"CD001", 1, 0),
        filler * 32,
        label,
        bytes(8),
        _both(sectors, "I"),
        escapes.ljust(32, b"\0"),
        _both(1, "H") * 2,
        _both(SECTOR, "H"),
        _both(10, "I"),
        # Path tables: little-endian ones first, and none is there twice.
        struct.pack("<II", table, 0),
        struct.pack(">II", table + 2, 0),
        _record(b"\0", folder, SECTOR, folder=True),
        (blank + filler) * (4 * 128),
        filler * (3 * 37),
        _LONG_DATE * 4,
        b"\x01\0",
    ]
    return _padded(b"".join(fields))


def _path_table(order: str, folder: int) -> bytes:
    return struct.pack(f"{order}BBIHBB", 1, 0, folder, 1, 0, 0)


def _folder(sector: int, files: Mapping[bytes, tuple[int, int]]) -> bytes:
    records = [_record(b"\0", sector, SECTOR, folder=True), _record(b"\1", sector, SECTOR, folder=True)]
    records += [_record(name, *files[name]) for name in sorted(files)]
    return _padded(b"".join(records))


def _record(name: bytes, sector: int, size: int, *, folder: bool = False) -> bytes:
    pad = (len(name) + 1) % 2
    length = 33 + len(name) + pad
    head = struct.pack("BB", length, 0) + _both(sector, "I") + _both(size, "I") + _DATE
    return head + struct.pack("BBB", 2 if folder else 0, 0, 0) + _both(1, "H") + bytes([len(name)]) + name + bytes(pad)


def _both(number: int, width: str) -> bytes:
    return struct.pack(f"<{width}", number) + struct.pack(f">{width}", number)


def _padded(data: bytes) -> bytes:
    return data + bytes(-len(data) % SECTOR)
