"""The seed is a file system that others can read."""

from __future__ import annotations

import struct

from hypothesis import given
from hypothesis import strategies as st

from moorage.hosting.libvirt.seed import SECTOR, iso, seed


def read(image: bytes, kind: int) -> tuple[bytes, dict[str, bytes]]:
    """Label and files, as a reader of ISO 9660 (kind 1) or Joliet (kind 2) finds them."""
    at = 16 * SECTOR
    while image[at] != kind:
        assert image[at] != 255, "no such descriptor"
        at += SECTOR
    descriptor = image[at : at + SECTOR]
    assert descriptor[1:6] == b"CD001"
    assert struct.unpack_from("<I", descriptor, 80)[0] * SECTOR == len(image)
    assert struct.unpack_from(">I", descriptor, 84)[0] * SECTOR == len(image)
    root = struct.unpack_from("<I", descriptor, 156 + 2)[0]
    for order, field in (("<", 140), (">", 148)):
        table = struct.unpack_from(f"{order}I", descriptor, field)[0] * SECTOR
        assert struct.unpack_from(f"{order}BBIH", image, table) == (1, 0, root, 1)
    files, place = {}, root * SECTOR
    while image[place]:
        start, size = struct.unpack_from("<I4xI", image, place + 2)
        name = image[place + 33 : place + 33 + image[place + 32]]
        if name not in {b"\0", b"\1"}:
            text = name.decode("utf-16-be") if kind == 2 else name.decode()
            files[text] = image[start * SECTOR : start * SECTOR + size]
        place += image[place]
    return descriptor[40:72], files


@given(st.text(st.characters(codec="utf-8"), max_size=6000))
def test_files_are_read_as_they_were_written(user_data: str) -> None:
    image = seed("m-key", "web-0", user_data)
    label, files = read(image, 2)
    assert label.decode("utf-16-be").rstrip("\0 ") == "cidata"
    assert files == {
        "meta-data": b'instance-id: "m-key"\nlocal-hostname: "web-0"\n',
        "user-data": user_data.encode(),
    }
    plain, same = read(image, 1)
    assert plain.rstrip() == b"CIDATA"
    assert sorted(same.values()) == sorted(files.values())


def test_the_same_seed_is_the_same_bytes() -> None:
    assert seed("k", "h", "u") == seed("k", "h", "u")


def test_empty_files_are_files() -> None:
    assert read(iso({"user-data": b"", "meta-data": b"x"}), 2)[1] == {"user-data": b"", "meta-data": b"x"}
