"""What the agent keeps over a reboot, in one directory: its key, its state, its last configuration."""

from __future__ import annotations

import contextlib
import hashlib
import hmac
import json
import os
import secrets
import tempfile
import threading
from typing import Any, Dict, Optional


def write_atomically(path: str, data: bytes, mode: int = 0o600, durable: bool = False) -> None:
    """Put `data` in place of `path` at once or not at all; `durable` also survives a power cut. Raises OSError."""
    directory = os.path.dirname(path)
    handle, temporary = tempfile.mkstemp(prefix=".moorage-", dir=directory)
    try:
        with os.fdopen(handle, "wb") as out:
            os.fchmod(out.fileno(), mode)
            out.write(data)
            if durable:
                out.flush()
                os.fsync(out.fileno())
        os.replace(temporary, path)
    except BaseException:
        os.unlink(temporary)
        raise
    if durable:
        folder = os.open(directory, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)


def read_json(path: str) -> Optional[Dict[str, Any]]:
    """The object in a file; None where there is none or it is damaged."""
    try:
        with open(path, "rb") as source:
            value = json.loads(source.read())
    except (OSError, ValueError):
        return None
    return value if isinstance(value, dict) else None


class Store:
    """The agent's directory. Losing `state.json` costs repeated steps; losing the key costs the server."""

    def __init__(self, directory: str) -> None:
        self.directory = directory
        os.makedirs(directory, mode=0o711, exist_ok=True)
        with contextlib.suppress(PermissionError):
            os.chmod(directory, 0o711)  # noqa: S103 - programs in the guest read status.json and nothing else
        self._lock = threading.Lock()
        self._key = ""
        kept = read_json(self.path("state.json")) or {}
        self.sequence = _whole(kept.get("sequence"))
        self.delivered = _whole(kept.get("delivered"))
        self.acknowledged = _whole(kept.get("acknowledged"))
        self.joined = kept.get("joined") is True
        self.steps = _table(kept.get("steps"))
        self.outputs = _table(kept.get("outputs"))

    def path(self, name: str) -> str:
        """The path of a file of the directory."""
        return os.path.join(self.directory, name)

    def key(self) -> str:
        """The agent's own key; made once, and kept before it is ever used."""
        if not self._key:
            path = self.path("key")
            try:
                with open(path) as source:
                    self._key = source.read().strip()
            except FileNotFoundError:
                self._key = ""
            if not self._key:
                self._key = secrets.token_urlsafe(32)
                write_atomically(path, self._key.encode(), durable=True)
        return self._key

    def digest(self, *parts: Any) -> str:
        """A digest that tells nothing to who has not the key, for inputs that may be sensitive."""
        return hmac.new(self.key().encode(), json.dumps(parts, sort_keys=True).encode(), hashlib.sha256).hexdigest()

    def save(self) -> None:
        """Keep the state. Raises OSError."""
        with self._lock:
            kept = {
                "sequence": self.sequence,
                "delivered": self.delivered,
                "acknowledged": self.acknowledged,
                "joined": self.joined,
                "steps": self.steps,
                "outputs": self.outputs,
            }
            write_atomically(self.path("state.json"), json.dumps(kept).encode())

    def document(self) -> Optional[Dict[str, Any]]:
        """The last configuration that was delivered."""
        return read_json(self.path("document.json"))

    def save_document(self, body: bytes) -> None:
        """Keep a configuration. Raises OSError."""
        write_atomically(self.path("document.json"), body)

    def save_status(self, status: Dict[str, Any]) -> None:
        """Tell programs in the guest what is pending. Raises OSError."""
        write_atomically(self.path("status.json"), json.dumps(status, indent=1).encode(), mode=0o644)


def _whole(value: Any) -> int:
    return value if isinstance(value, int) and value > 0 else 0


def _table(value: Any) -> Dict[str, Dict[str, Any]]:
    if not isinstance(value, dict):
        return {}
    return {str(name): row for name, row in value.items() if isinstance(row, dict)}
