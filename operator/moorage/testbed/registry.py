"""The beds there are, each in a module of its own that is loaded when it is asked for."""

from __future__ import annotations

from importlib import import_module

from moorage.testbed.bed import Bed

BEDS: tuple[str, ...] = ("ec2", "hetzner", "incus", "kubevirt", "libvirt", "openstack")
"""Each is the object `BED` of `moorage.testbed.<name>`."""


def names() -> tuple[str, ...]:
    """The names of all beds."""
    return BEDS


def bed(name: str) -> Bed:
    """The bed of that name. Raises KeyError."""
    if name not in BEDS:
        raise KeyError(name)
    found: Bed = import_module(f"moorage.testbed.{name}").BED
    return found
