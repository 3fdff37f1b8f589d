"""What can go wrong with finding, building or starting a control plane. Every message is meant for a person."""

from __future__ import annotations


class ControlPlaneError(Exception):
    """A control plane could not be had; the message says what is missing and what to do."""


class NothingWorks(ControlPlaneError):
    """No way to a control plane is open on this machine."""


class Unavailable(ControlPlaneError):
    """One way to a control plane turned out to be closed; the next may be tried."""
