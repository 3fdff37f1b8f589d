"""One connection to libvirtd: opened when it is needed, opened anew when it has ended, given up when nobody answers."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import threading
import time
from collections.abc import Callable
from typing import Any, TypeVar

import libvirt

from moorage.hosting.errors import AuthenticationError, HostingError, TimedOut, Unavailable
from moorage.hosting.libvirt.codes import refused_at_the_door, typed
from moorage.hosting.libvirt.endpoint import Endpoint
from moorage.hosting.threads import Threads

T = TypeVar("T")
log = logging.getLogger(__name__)
_events_lock = threading.Lock()
_events_running = False


def run_events() -> None:
    """Let libvirt's own loop run in a thread, one for the process: keepalive and events come through it."""
    global _events_running  # noqa: PLW0603 - libvirt knows one loop for each process
    with _events_lock:
        if _events_running:
            return
        # What fails is raised; libvirt would print it as well.
        libvirt.registerErrorHandler(lambda *_: None, None)
        libvirt.virEventRegisterDefaultImpl()
        threading.Thread(target=_loop, name="libvirt-events", daemon=True).start()
        _events_running = True


def _loop() -> None:
    while True:
        try:
            libvirt.virEventRunDefaultImpl()
        except libvirt.libvirtError:
            log.warning("libvirt's event loop failed", exc_info=True)
            time.sleep(1)


class Deadline:
    """A time until which steps may be begun, asked from within a thread.

    `alone` is held by whoever of a connection changes a storage pool or reads it anew, which makes its volumes
    disappear for a moment; and by whoever looks for room, since two would both find the last.
    """

    def __init__(self, seconds: float, what: str, alone: threading.RLock) -> None:
        self.alone = alone
        self._seconds, self._what = seconds, what
        self._end = time.monotonic() + seconds

    def left(self) -> float:
        """Seconds that are left. Raises TimedOut where there are none."""
        left = self._end - time.monotonic()
        if left <= 0:
            raise TimedOut(f"{self._what}: no answer within {self._seconds:g} s")
        return left


class Connection:
    """See the module. For one event loop; `run` may be called concurrently."""

    def __init__(self, endpoint: Endpoint, *, silence: float) -> None:
        self._endpoint = endpoint
        self._silence = silence
        self._threads = Threads("libvirt")
        # Opening may hang for minutes: it is done once at a time, and takes no thread that answers need.
        self._opener = Threads("libvirt-open", size=1)
        self._opening: asyncio.Future[Any] | None = None
        self._conn: Any = None
        self._closed = False
        self._alone = threading.RLock()

    async def run(self, seconds: float, what: str, call: Callable[..., T], *args: Any, slow: bool = False) -> T:
        """The answer of `call(connection, deadline, *args)`, run in a thread; `slow`: as creations are. Raises typed
        errors alone."""
        deadline = Deadline(seconds, what, self._alone)
        conn = await self._open(deadline, what)
        return await self._threads.run(deadline.left(), what, guarded, what, call, conn, deadline, *args, slow=slow)

    async def _open(self, deadline: Deadline, what: str) -> Any:
        if self._closed:
            raise Unavailable("the backend is closed")
        if self._conn is not None and alive(self._conn):
            return self._conn
        self._conn = None
        if self._opening is None:
            self._opening = asyncio.ensure_future(self._opener.run(3600.0, "connecting", self.connect))
            self._opening.add_done_callback(self._opened)
        opening = self._opening
        try:
            async with asyncio.timeout(deadline.left()):
                return await asyncio.shield(opening)
        except TimeoutError:
            raise TimedOut(f"{what}: the service does not let us in in time") from None

    def _opened(self, opening: asyncio.Future[Any]) -> None:
        self._opening = None
        if opening.cancelled() or opening.exception() is not None:
            return
        if self._closed:
            close(opening.result())
        else:
            self._conn = opening.result()

    def connect(self) -> Any:
        """A new connection (blocking). Raises typed errors alone."""
        return guarded("connecting", self._connect)

    def _connect(self) -> Any:
        run_events()
        kinds = [
            *(libvirt.VIR_CRED_AUTHNAME, libvirt.VIR_CRED_ECHOPROMPT, libvirt.VIR_CRED_REALM),
            *(libvirt.VIR_CRED_PASSPHRASE, libvirt.VIR_CRED_NOECHOPROMPT),
        ]
        with self._endpoint.uri() as (uri, folder):
            try:
                conn = libvirt.openAuth(uri, [kinds, self._answer, None], 0)
            except libvirt.libvirtError as error:
                if refused_at_the_door(error):
                    # The folder has another name each time: a message with it would be another one, too.
                    text = (error.get_error_message() or "").replace(f"{folder}/", "")
                    raise AuthenticationError(f"the service does not let us in: {text}") from None
                raise
        # An answer that does not come ends the connection, and with it every call that waits for one.
        conn.setKeepAlive(max(1, round(self._silence / 3)), 2)
        return conn

    def _answer(self, asked: list[list[Any]], _: object) -> int:
        """Answers questions for user and password out of the Secret; -1: there is no answer."""
        for question in asked:
            secret = question[0] in {libvirt.VIR_CRED_PASSPHRASE, libvirt.VIR_CRED_NOECHOPROMPT}
            value = self._endpoint.password if secret else self._endpoint.user
            if not value:
                return -1
            question[4] = value
        return 0

    def close(self) -> None:
        """Close it. Repetition: harmless. Calls in flight end with an error."""
        self._closed = True
        conn, self._conn = self._conn, None
        if conn is not None:
            # Closing waits for the daemon, which may hang.
            threading.Thread(target=close, args=(conn,), name="libvirt-close", daemon=True).start()
        self._threads.close()
        self._opener.close()


def alive(conn: Any) -> bool:
    """Whether the connection has not ended (asks nobody)."""
    try:
        return bool(conn.isAlive())
    except libvirt.libvirtError:
        return False


def close(conn: Any) -> None:
    """Close a connection that may have ended already."""
    with contextlib.suppress(libvirt.libvirtError):
        conn.close()


def guarded(what: str, call: Callable[..., T], *args: Any) -> T:
    """The call's answer; libvirt's errors as ours."""
    try:
        return call(*args)
    except HostingError:
        raise
    except libvirt.libvirtError as error:
        raise typed(what, error) from None
