"""The driver of real servers: directories, supervisors, and finding them again."""

from __future__ import annotations

import asyncio
import fcntl
import json
import os
import shutil
import signal
import sys
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from moorage.api.hostd import Console, Image
from moorage.hostd.config import Config
from moorage.hostd.crashpoints import crash_point
from moorage.hostd.driver import BootFailed, Lost
from moorage.hostd.machine import Machine
from moorage.hostd.process import procfs, supervisor
from moorage.hostd.refusals import Refusal, invalid
from moorage.hostd.store import DirectoryStore, write_atomic

SYSTEM_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
GRACE = 2.0
START_TIMEOUT = 30.0
HALT_TIMEOUT = 10.0
CONSOLE_TAIL = 64 * 1024
MARK = "MOORAGE_SERVER_ID"


@dataclass(slots=True)
class Guest:
    """A supervisor that runs. `child`: hostd itself started it and must reap it."""

    pid: int
    pidfd: int
    child: bool
    gone: asyncio.Event


class ProcessDriver:
    """Runs machines as process trees. Satisfies `moorage.hostd.driver.Driver`."""

    def __init__(self, config: Config, store: DirectoryStore) -> None:
        self._config = config
        self._store = store
        self._guests: dict[str, Guest] = {}
        self._namespaces = False
        self._images: tuple[Image, ...] = ()
        self._path = _guest_path()
        self._lifeline: tuple[int, int] | None = None

    async def prepare(self) -> None:
        """See `Driver.prepare`."""
        if self._config.namespaces == "auto":
            probe = await asyncio.create_subprocess_exec(
                sys.executable, "-I", "-S", supervisor.__file__, "--probe", stdin=asyncio.subprocess.DEVNULL, env={}
            )
            self._namespaces = await probe.wait() == 0
        if self._config.ephemeral:
            self._lifeline = os.pipe()
        self._images = tuple(self._image(name) for name in self._config.images)

    def _image(self, name: str) -> Image:
        if name == "process/python" and shutil.which("python3", path=self._path) is None:
            return Image(name=name, available=False, message="there is no python3 on this host")
        if not name.startswith("process/"):
            return Image(name=name, available=False, message="only process/python and process/shell can be booted here")
        return Image(name=name)

    def images(self) -> tuple[Image, ...]:
        """See `Driver.images`."""
        return self._images

    def check(self, machine: Machine) -> Refusal | None:
        """See `Driver.check`."""
        request = machine.request
        image = next((image for image in self._images if image.name == request.image), None)
        if image is None or not image.available:
            return invalid(image.message if image else "there is no such image", "image")
        if request.user_data and not request.user_data.startswith("#!"):
            return invalid("must be a script that starts with #!; cloud-config is not understood here", "userData")
        if "\0" in request.user_data:
            return invalid("must be text", "userData")
        if request.settings.simulate is not None:
            return invalid("only a service that simulates its servers understands this", "settings.simulate")
        return None

    def boot_delay(self, machine: Machine) -> float:
        """See `Driver.boot_delay`."""
        return machine.request.settings.boot_delay

    async def attach(self, machine: Machine, lost: Lost) -> bool | None:
        """See `Driver.attach`."""
        note = await asyncio.to_thread(self._note, machine.id)
        if note is not None and not note["ended"]:
            pidfd = procfs.open_process(note["pid"], note["started"])
            if pidfd is not None:
                self._watch(machine, note["pid"], pidfd, child=False, lost=lost)
                return True
        begun = note is not None and note["boot"] >= machine.boots
        return False if begun and machine.boots else None

    async def start(self, machine: Machine, lost: Lost) -> None:
        """See `Driver.start`."""
        directory = self._store.directory(machine.id)
        try:
            await asyncio.to_thread(self._lay_out, machine, directory)
            crash_point("boot.laid-out")
            status = await self._spawn(machine, directory, lost)
        except OSError as error:
            raise BootFailed(str(error.strerror or error)) from None
        if status == "started":
            return
        if not status and await self._adopt(machine, lost):
            return
        raise BootFailed(status.removeprefix("failed ") or "its supervisor ended at once")

    async def _adopt(self, machine: Machine, lost: Lost) -> bool:
        """A supervisor that an earlier hostd started in its last moment may have come first: take that one."""
        for _ in range(50):
            if await self.attach(machine, lost):
                return True
            await asyncio.sleep(0.02)
        return False

    def _lay_out(self, machine: Machine, directory: Path) -> None:
        for name in ("root", "state", "tmp"):
            (directory / name).mkdir(mode=0o700, exist_ok=True)
        write_atomic(directory / "user-data", machine.request.user_data.encode(), 0o700)
        spec = {
            "hostname": machine.request.name,
            "root": str(directory / "root"),
            "userData": str(directory / "user-data"),
            "environment": self._environment(machine, directory),
            "namespaces": self._namespaces,
            "ephemeral": self._config.ephemeral,
            "grace": GRACE,
        }
        write_atomic(directory / "supervise.json", json.dumps(spec).encode())

    def _environment(self, machine: Machine, directory: Path) -> dict[str, str]:
        return {
            "LANG": "C.UTF-8",
            **machine.request.settings.environment,
            "PATH": self._path,
            "HOME": str(directory / "root"),
            "TMPDIR": str(directory / "tmp"),
            "HOSTNAME": machine.request.name,
            "SERVER_ADDRESS": machine.address,
            "MOORAGE_ROOT": str(directory / "root"),
            "MOORAGE_STATE": str(directory / "state"),
            MARK: machine.id,
        }

    async def _spawn(self, machine: Machine, directory: Path, lost: Lost) -> str:
        """Start a supervisor; returns what it reports, empty where another one is there already."""
        status_out, status_in = os.pipe()
        high = _high(status_in)
        actions: list[tuple[Any, ...]] = [
            (os.POSIX_SPAWN_OPEN, 0, os.devnull, os.O_RDONLY, 0),
            (os.POSIX_SPAWN_OPEN, 1, os.devnull, os.O_WRONLY, 0),
            (os.POSIX_SPAWN_OPEN, 2, str(directory / "supervisor.log"), os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600),
            (os.POSIX_SPAWN_DUP2, high, supervisor.STATUS_FD),
        ]
        held = [high]
        if self._lifeline is not None:
            held.append(_high(self._lifeline[0], keep=True))
            actions.append((os.POSIX_SPAWN_DUP2, held[-1], supervisor.LIFELINE_FD))
        command = [sys.executable, "-I", "-S", supervisor.__file__, str(directory), str(machine.boots)]
        try:
            pid = os.posix_spawn(  # noqa: ASYNC221 - takes a millisecond
                sys.executable,
                command,
                {"PATH": self._path, "LANG": "C.UTF-8"},
                file_actions=actions,
                setsid=True,
                setsigmask=[],
            )
        except BaseException:
            os.close(status_out)
            raise
        finally:
            for fd in held:
                os.close(fd)
        self._watch(machine, pid, os.pidfd_open(pid), child=True, lost=lost)
        crash_point("boot.spawned")
        return await _read_status(status_out)

    def _watch(self, machine: Machine, pid: int, pidfd: int, *, child: bool, lost: Lost) -> None:
        guest = Guest(pid, pidfd, child, asyncio.Event())
        self._guests[machine.id] = guest
        loop = asyncio.get_running_loop()

        def ended() -> None:
            loop.remove_reader(pidfd)
            os.close(pidfd)
            if child:
                with suppress(ChildProcessError):
                    os.waitpid(pid, 0)
            guest.gone.set()
            if self._guests.get(machine.id) is guest:
                del self._guests[machine.id]
                if machine.running:
                    lost(machine, "its processes were killed")

        loop.add_reader(pidfd, ended)

    def _note(self, server_id: str) -> dict[str, Any] | None:
        try:
            note = json.loads((self._store.directory(server_id) / "supervisor.json").read_bytes())
            return {
                "pid": int(note["pid"]),
                "started": int(note["started"]),
                "boot": int(note["boot"]),
                "ended": bool(note["ended"]),
            }
        except FileNotFoundError:
            return None

    async def halt(self, machine: Machine, *, graceful: bool) -> None:
        """See `Driver.halt`."""
        guest = self._guests.get(machine.id)
        if guest is not None:
            machine.running = False
            procfs.send(guest.pidfd, signal.SIGTERM if graceful else signal.SIGINT)
            try:
                async with asyncio.timeout(HALT_TIMEOUT):
                    await guest.gone.wait()
            except TimeoutError:
                if not guest.gone.is_set():
                    procfs.send(guest.pidfd, signal.SIGKILL)
                    await guest.gone.wait()
        note = await asyncio.to_thread(self._note, machine.id)
        if machine.boots and (note is None or not note["ended"]):
            await self._sweep(machine.id)

    async def _sweep(self, server_id: str) -> None:
        """Kill what a supervisor left that could not finish its work. Raises TimeoutError where something stays."""
        async with asyncio.timeout(HALT_TIMEOUT):
            while await asyncio.to_thread(procfs.kill_marked, f"{MARK}={server_id}"):  # noqa: ASYNC110 - nothing tells
                await asyncio.sleep(0.02)

    async def console(self, machine: Machine) -> Console:
        """See `Driver.console`."""
        return await asyncio.to_thread(self._console, self._store.directory(machine.id))

    def _console(self, directory: Path) -> Console:
        raw = b""
        for name in ("console.log.old", "console.log"):
            with suppress(FileNotFoundError):
                raw += (directory / name).read_bytes()
        return Console(text=raw[-CONSOLE_TAIL:].decode(errors="replace"), truncated=len(raw) > CONSOLE_TAIL)

    def link(self, server_id: str, name: str, data: Path | None) -> None:
        """See `Driver.link`."""
        place = self._store.directory(server_id) / "root" / "volumes" / name
        place.unlink(missing_ok=True)
        if data is not None:
            place.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            place.symlink_to(data.absolute())

    async def close(self) -> None:
        """See `Driver.close`. Ephemeral servers end here; others live on."""
        guests = list(self._guests.values())
        self._guests.clear()
        if self._lifeline is not None:
            os.close(self._lifeline[1])
            os.close(self._lifeline[0])
            self._lifeline = None
            await asyncio.gather(*(guest.gone.wait() for guest in guests))
            return
        loop = asyncio.get_running_loop()
        for guest in guests:
            if not guest.gone.is_set():
                loop.remove_reader(guest.pidfd)
                os.close(guest.pidfd)


def _guest_path() -> str:
    """The servers' PATH: the system's, and where it has no python3, that of hostd's own."""
    if shutil.which("python3", path=SYSTEM_PATH):
        return SYSTEM_PATH
    return f"{SYSTEM_PATH}:{Path(sys.executable).resolve().parent}"


def _high(fd: int, *, keep: bool = False) -> int:
    """The descriptor under a number that cannot clash with those a supervisor expects."""
    high = fcntl.fcntl(fd, fcntl.F_DUPFD_CLOEXEC, 16)
    if not keep:
        os.close(fd)
    return high


async def _read_status(fd: int) -> str:
    """All that a supervisor writes before it closes the pipe. Raises OSError where it takes too long."""
    loop = asyncio.get_running_loop()
    done: asyncio.Future[str] = loop.create_future()
    os.set_blocking(fd, False)
    received = bytearray()

    def readable() -> None:
        data = os.read(fd, 4096)
        received.extend(data)
        if not data and not done.done():
            done.set_result(received.decode(errors="replace"))

    loop.add_reader(fd, readable)
    try:
        async with asyncio.timeout(START_TIMEOUT):
            return await done
    except TimeoutError:
        raise OSError("its supervisor does not start") from None
    finally:
        loop.remove_reader(fd)
        os.close(fd)
