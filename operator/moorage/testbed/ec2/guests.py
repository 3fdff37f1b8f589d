"""Guests: the user-data of running instances, as real processes of this machine with process ids of their own."""

from __future__ import annotations

import asyncio
import contextlib
import gzip
import os
import shutil
import signal
import sys
from pathlib import Path

SYSTEM_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
CONSOLE = 64 * 1024


class Guests:
    """Starts and stops them. They end with this process: `unshare --kill-child` ties them to it."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._running: dict[str, asyncio.subprocess.Process] = {}

    async def start(self, instance_id: str, address: str, user_data: bytes) -> None:
        """Boot a guest, or leave it as it is where it runs. Its folder is kept over boots."""
        if instance_id in self._running or not user_data:
            return
        home = self._folder / instance_id
        for name in ("root", "state", "tmp"):
            (home / name).mkdir(parents=True, exist_ok=True)
        script = home / "user-data"
        script.write_bytes(gzip.decompress(user_data) if user_data.startswith(b"\x1f\x8b") else user_data)
        script.chmod(0o700)
        environment = {
            "LANG": "C.UTF-8",
            "PATH": _path(),
            "HOME": str(home / "root"),
            "TMPDIR": str(home / "tmp"),
            "HOSTNAME": instance_id,
            "SERVER_ADDRESS": address,
            "MOORAGE_ROOT": str(home / "root"),
            "MOORAGE_STATE": str(home / "state"),
        }
        with (home / "console").open("ab") as console:
            self._running[instance_id] = await asyncio.create_subprocess_exec(
                *(*_namespace(), "/bin/sh", str(script)),
                cwd=home / "root",
                env=environment,
                stdin=asyncio.subprocess.DEVNULL,
                stdout=console,
                stderr=asyncio.subprocess.STDOUT,
            )

    async def stop(self, instance_id: str) -> None:
        """End a guest at once, as a power cut does."""
        process = self._running.pop(instance_id, None)
        if process is not None:
            with contextlib.suppress(ProcessLookupError):
                process.send_signal(signal.SIGKILL)
            await process.wait()

    def remove(self, instance_id: str) -> None:
        """Its disk goes with it."""
        shutil.rmtree(self._folder / instance_id, ignore_errors=True)

    async def close(self) -> None:
        """End all."""
        await asyncio.gather(*(self.stop(one) for one in list(self._running)))

    def console(self, instance_id: str) -> bytes | None:
        """The end of what it wrote; None where it never booted."""
        with contextlib.suppress(OSError):
            return (self._folder / instance_id / "console").read_bytes()[-CONSOLE:]
        return None


def _namespace() -> tuple[str, ...]:
    """A guest's processes end together where the machine has namespaces for it; else its first one alone."""
    if os.geteuid() == 0 and shutil.which("unshare"):
        return ("unshare", "--pid", "--fork", "--kill-child", "--mount-proc")
    return ()


def _path() -> str:
    if shutil.which("python3", path=SYSTEM_PATH):
        return SYSTEM_PATH
    return f"{SYSTEM_PATH}:{Path(sys.executable).resolve().parent}"
