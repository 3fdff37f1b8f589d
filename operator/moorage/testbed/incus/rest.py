"""Incus's API over its local socket, as the machine's administrator uses it; blocking."""

from __future__ import annotations

import http.client
import json
import socket
from pathlib import Path
from typing import Any

OPERATION_SECONDS = 60


class Refused(Exception):
    """Incus answered with an error; `code` is its own."""

    def __init__(self, message: str, code: int) -> None:
        super().__init__(message)
        self.code = code


class Rest:
    """One Incus. Every call has a connection of its own, so that a restart of the daemon needs no care."""

    def __init__(self, socket_path: Path, project: str = "default") -> None:
        self.socket = socket_path
        self._project = project

    def get(self, path: str) -> Any:
        """What is there. Raises Refused or OSError."""
        return self._call("GET", path)

    def post(self, path: str, body: Any, content: str = "application/json") -> Any:
        """Make something; `body` is JSON-able, or bytes. Waits for the operation where it is one."""
        return self._call("POST", path, body, content)

    def patch(self, path: str, body: Any) -> Any:
        """Change a part."""
        return self._call("PATCH", path, body)

    def put(self, path: str, body: Any) -> Any:
        """Change the whole."""
        return self._call("PUT", path, body)

    def delete(self, path: str) -> Any:
        """Remove it."""
        return self._call("DELETE", path)

    def _call(self, method: str, path: str, body: Any = None, content: str = "application/json") -> Any:
        answer = self._exchange(method, f"/1.0{path}", body, content)
        if answer["type"] == "async":
            ended = self._exchange("GET", f"{answer['operation']}/wait?timeout={OPERATION_SECONDS}")["metadata"]
            if ended["status_code"] != 200:
                raise Refused(ended["err"] or ended["status"], ended["status_code"])
            return ended["metadata"]
        return answer["metadata"]

    def _exchange(self, method: str, path: str, body: Any = None, content: str = "application/json") -> Any:
        separator = "&" if "?" in path else "?"
        connection = _Local(self.socket)
        try:
            raw = body if body is None or isinstance(body, bytes) else json.dumps(body).encode()
            target = f"{path}{separator}project={self._project}"
            connection.request(method, target, body=raw, headers={"Content-Type": content})
            answer = json.loads(connection.getresponse().read())
        except http.client.HTTPException as error:
            raise OSError(f"Incus does not answer: {type(error).__name__}") from None
        finally:
            connection.close()
        if answer["type"] == "error":
            raise Refused(answer["error"], answer["error_code"])
        return answer


class _Local(http.client.HTTPConnection):
    def __init__(self, path: Path) -> None:
        super().__init__("incus", timeout=OPERATION_SECONDS + 10)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(self.timeout)
        self.sock.connect(str(self._path))
