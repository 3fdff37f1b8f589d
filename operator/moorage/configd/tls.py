"""The TLS context that new connections use; its certificate is exchanged while it serves."""

from __future__ import annotations

import os
import ssl
import tempfile
from collections.abc import Collection
from datetime import datetime, timedelta

from moorage.configd.pki import LEAF_LIFETIME, Authority, Leaf, issue_leaf, leaf_due


def server_context() -> ssl.SSLContext:
    """A context without a certificate yet."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.options |= ssl.OP_NO_RENEGOTIATION
    # Agents resume no session: a ticket would be a write and a wake-up of the guest for nothing.
    context.num_tickets = 0
    return context


def load_leaf(context: ssl.SSLContext, leaf: Leaf) -> None:
    """Use a leaf for every connection from now on. The key is in no directory: the ssl module reads files only."""
    data = leaf.chain + leaf.key
    if hasattr(os, "memfd_create"):
        handle = os.memfd_create("moorage-leaf")
        path = f"/proc/self/fd/{handle}"
    else:
        handle, path = tempfile.mkstemp()
    try:
        os.write(handle, data)
        context.load_cert_chain(path)
    finally:
        os.close(handle)
        if not path.startswith("/proc/"):
            os.unlink(path)


class Certificates:
    """The present leaf of this replica: signed by the present root, for the present names, never old."""

    def __init__(self, context: ssl.SSLContext, authority: Authority, lifetime: timedelta = LEAF_LIFETIME) -> None:
        self.context = context
        self.authority = authority
        self.leaf: Leaf | None = None
        self._lifetime = lifetime

    def refresh(self, names: Collection[str], now: datetime) -> bool:
        """Exchange the leaf where it is due; True where it was. Raises ValueError where a name cannot be one."""
        if self.leaf is not None and not leaf_due(self.leaf, self.authority, names, now):
            return False
        leaf = issue_leaf(self.authority, names, now, self._lifetime)
        load_leaf(self.context, leaf)
        self.leaf = leaf
        return True
