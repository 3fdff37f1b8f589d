"""The bed `incus`: a real Incus of Debian's backports, with containers, over TLS with a client certificate."""

from moorage.testbed.incus.bed import BED

__all__ = ["BED"]
