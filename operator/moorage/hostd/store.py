"""Where machines are kept: one directory each, or nowhere for simulated ones."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import secrets
import shutil
import socket
import stat
from pathlib import Path
from typing import Any, Protocol

from moorage.hostd.config import ConfigError
from moorage.hostd.crashpoints import crash_point
from moorage.hostd.machine import Machine

RECORD = "server.json"


def write_atomic(path: Path, data: bytes, mode: int = 0o600) -> None:
    """Replace the file by one with this content: after a crash there is the old one or the new one, whole."""
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
    fd = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, mode)
    try:
        with os.fdopen(fd, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(fd)
        os.replace(temporary, path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    sync_directory(path.parent)


def sync_directory(path: Path) -> None:
    """Make the directory's entries last."""
    fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


class Home:
    """hostd's data directory: held by one hostd at a time, with the service's identity and its block of addresses."""

    def __init__(self, path: Path) -> None:
        """Take the directory. Raises ConfigError where it cannot be used or another hostd holds it."""
        self.path = path
        try:
            path.mkdir(mode=0o700, parents=True, exist_ok=True)
            if path.stat().st_uid != os.geteuid():
                # What is in there is run: whoever owns the directory could put a program of theirs in its place.
                raise ConfigError(f"{path} belongs to another user")
            path.chmod(0o700)
            self._lock = os.open(path / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError as error:
            raise ConfigError(f"cannot use {path}: {error.strerror}") from None
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            os.close(self._lock)
            raise ConfigError(f"{path} is in use by another hostd") from None
        account = self._load()
        self.account: str = account["id"]
        self._block, self.block = _hold_block(account.get("block"))
        write_atomic(path / "account.json", json.dumps({"id": self.account, "block": self.block}).encode())

    @property
    def token_file(self) -> Path:
        """Where a token of its own is."""
        return (self.path / "token").absolute()

    def token(self) -> str:
        """The token of its own, made at the first time. Raises ConfigError, OSError."""
        with contextlib.suppress(FileNotFoundError):
            found = self.token_file.lstat()
            if not stat.S_ISREG(found.st_mode) or found.st_uid != os.geteuid() or found.st_mode & 0o077:
                raise ConfigError(f"{self.token_file} is not yours alone: remove it to have a new one made")
        try:
            token = self.token_file.read_text().strip()
        except FileNotFoundError:
            token = secrets.token_urlsafe(32)
            write_atomic(self.token_file, token.encode())
        except UnicodeDecodeError:
            token = ""
        if not token:
            raise ConfigError(f"{self.token_file} holds no token: remove it to have a new one made")
        return token

    def _load(self) -> dict[str, Any]:
        try:
            account = json.loads((self.path / "account.json").read_bytes())
        except FileNotFoundError:
            return {"id": f"hostd-{secrets.token_hex(8)}"}
        except ValueError:
            account = None
        if not isinstance(account, dict) or not isinstance(account.get("id"), str):
            raise ConfigError(f"{self.path / 'account.json'} is damaged")
        return account

    def address(self, number: int) -> str:
        """The number-th address of this hostd's block."""
        third, fourth = divmod(number, 254)
        return f"127.{self.block}.{third % 255}.{fourth + 1}"

    def close(self) -> None:
        """Let go of the directory."""
        self._block.close()
        os.close(self._lock)


def _hold_block(wanted: int | None) -> tuple[socket.socket, int]:
    """A block 127.N.0.0/16 that no other hostd of this network namespace has, and what holds it."""
    start = wanted if isinstance(wanted, int) and 64 <= wanted < 255 else 64 + secrets.randbelow(191)
    for step in range(191):
        block = 64 + (start - 64 + step) % 191
        holder = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        try:
            holder.bind(f"\0moorage-hostd-127.{block}")
        except OSError:
            holder.close()
            continue
        return holder, block
    raise ConfigError("no block of loopback addresses is free: too many hostds run here")


class Store(Protocol):
    """Keeps machines over the life of a hostd. `blocking`: the methods wait for a disk."""

    blocking: bool

    def load(self) -> list[Machine]: ...
    def claim(self, server_id: str) -> bool: ...
    def save(self, server_id: str, record: dict[str, Any]) -> None: ...
    def remove(self, server_id: str) -> None: ...


class MemoryStore:
    """Keeps nothing: simulated servers end with their hostd."""

    blocking = False

    def load(self) -> list[Machine]:
        return []

    def claim(self, server_id: str) -> bool:
        return True

    def save(self, server_id: str, record: dict[str, Any]) -> None:
        return

    def remove(self, server_id: str) -> None:
        return


class DirectoryStore:
    """Keeps each machine in `servers/<id>/server.json`."""

    blocking = True

    def __init__(self, home: Path) -> None:
        self.root = home / "servers"
        self.root.mkdir(mode=0o700, exist_ok=True)

    def directory(self, server_id: str) -> Path:
        """The server's own directory."""
        return self.root / server_id

    def load(self) -> list[Machine]:
        """All machines. A directory without a record is a creation that got no further than its claim: nothing ever
        ran in it, so it is taken away. Raises ConfigError for a damaged record."""
        machines = []
        for directory in sorted(self.root.iterdir()):
            try:
                machines.append(Machine.from_record(json.loads((directory / RECORD).read_bytes())))
            except FileNotFoundError:
                shutil.rmtree(directory)
            except (ValueError, KeyError, TypeError):
                raise ConfigError(f"{directory / RECORD} is damaged") from None
        machines.sort(key=lambda machine: machine.sequence)
        return machines

    def claim(self, server_id: str) -> bool:
        """Make the server's directory; False where it is there already: one creation per id wins."""
        try:
            self.directory(server_id).mkdir(mode=0o700)
        except FileExistsError:
            return False
        sync_directory(self.root)
        crash_point("create.claimed")
        return True

    def save(self, server_id: str, record: dict[str, Any]) -> None:
        """Write the machine's record."""
        write_atomic(self.directory(server_id) / RECORD, json.dumps(record).encode())

    def remove(self, server_id: str) -> None:
        """Take the directory away, the record last, so that a removal cut short is taken up again."""
        directory = self.directory(server_id)
        if not directory.exists():
            return
        for entry in directory.iterdir():
            if entry.name == RECORD:
                continue
            if entry.is_dir() and not entry.is_symlink():
                shutil.rmtree(entry)
            else:
                entry.unlink()
        crash_point("delete.emptied")
        shutil.rmtree(directory)
        sync_directory(self.root)
