"""The backend `libvirt`: virtual machines of a host that runs libvirtd and QEMU."""

from __future__ import annotations

from typing import Any


def __getattr__(name: str) -> Any:
    """`FACTORY`. Made when it is asked for: what builds and reads definitions works where libvirt is not installed."""
    if name != "FACTORY":
        raise AttributeError(name)
    from moorage.hosting.libvirt.backend import FACTORY

    return FACTORY
