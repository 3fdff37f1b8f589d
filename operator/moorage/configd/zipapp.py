"""Packs the agent into one file, the same bytes for the same sources."""

from __future__ import annotations

import functools
import io
import zipfile
from importlib.resources import files

PACKAGE = "moorage_agent"
"""The agent's package in the zipapp: not `moorage`, which a guest may have for other reasons."""
_EPOCH = (1980, 1, 1, 0, 0, 0)
_MAIN = f"import sys\n\nfrom {PACKAGE}.main import main\n\nsys.exit(main(sys.argv[1:]))\n"


@functools.cache
def build_agent() -> bytes:
    """The zipapp, from the sources of `moorage.agent`."""
    sources = {
        f"{PACKAGE}/{entry.name}": entry.read_bytes()
        for entry in files("moorage.agent").iterdir()
        if entry.name.endswith(".py") and entry.name != "__main__.py"
    }
    sources["__main__.py"] = _MAIN.encode()
    packed = io.BytesIO(b"#!/usr/bin/env python3\n")
    packed.seek(0, io.SEEK_END)
    with zipfile.ZipFile(packed, "a", zipfile.ZIP_DEFLATED, compresslevel=9) as archive:
        for name in sorted(sources):
            info = zipfile.ZipInfo(name, _EPOCH)
            info.compress_type = zipfile.ZIP_DEFLATED
            info.external_attr = 0o644 << 16
            info.create_system = 3
            archive.writestr(info, sources[name])
    return packed.getvalue()
