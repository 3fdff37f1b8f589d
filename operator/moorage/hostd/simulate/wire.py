"""A small HTTP/1.1 client over TLS, made for thousands of connections in one process.

asyncio's own TLS transport holds a buffer of 256 KiB for each connection; here the TLS object lives directly on the
protocol. A connection serves one request at a time. As with the real agent, no session is resumed.
"""

from __future__ import annotations

import asyncio
import ssl
from dataclasses import dataclass

CONNECT_TIMEOUT = 20.0
MAX_ANSWER = 8 * 1024 * 1024
MAX_HEAD = 64 * 1024


class WireError(Exception):
    """No usable answer; the message says why, without what was sent."""


@dataclass(frozen=True, slots=True)
class Answer:
    """An HTTP answer; the names of headers are in lower case."""

    status: int
    headers: dict[str, str]
    body: bytes


class Connection(asyncio.Protocol):
    """One TLS connection. Made by `connect`."""

    __slots__ = (
        "_buffer",
        "_closing",
        "_in",
        "_opened",
        "_out",
        "_ready",
        "_tls",
        "_transport",
        "_waiter",
    )

    def __init__(self, context: ssl.SSLContext, host: str) -> None:
        loop = asyncio.get_running_loop()
        self._in, self._out = ssl.MemoryBIO(), ssl.MemoryBIO()
        self._tls = context.wrap_bio(self._in, self._out, server_hostname=host)
        self._transport: asyncio.Transport | None = None
        self._opened = False
        self._ready: asyncio.Future[None] = loop.create_future()
        self._waiter: asyncio.Future[Answer] | None = None
        self._buffer = bytearray()
        self._closing = False

    @property
    def usable(self) -> bool:
        """Whether another request can be sent."""
        return self._opened and not self._closing and self._waiter is None

    async def opened(self) -> None:
        """Wait for the handshake. Raises WireError and ssl.SSLError."""
        await self._ready

    async def request(self, method: str, path: str, headers: dict[str, str], body: bytes, timeout: float) -> Answer:  # noqa: ASYNC109 - a bound of the exchange, not of the caller
        """Send a request and wait for its answer. Raises WireError."""
        if not self.usable:
            raise WireError("the connection is closed")
        lines = [f"{method} {path} HTTP/1.1", *(f"{name}: {value}" for name, value in headers.items())]
        if body or method == "POST":
            lines.append(f"Content-Length: {len(body)}")
        self._waiter = asyncio.get_running_loop().create_future()
        try:
            self._tls.write("\r\n".join([*lines, "", ""]).encode("ascii") + body)
            self._flush()
            async with asyncio.timeout(timeout):
                return await self._waiter
        except TimeoutError:
            self.close()
            raise WireError(f"no answer within {timeout:g} s") from None
        except ssl.SSLError:
            self.close()
            raise WireError("the TLS connection failed") from None
        except asyncio.CancelledError:
            self.close()
            raise
        finally:
            self._waiter = None

    def close(self) -> None:
        """End the connection at once."""
        self._closing = True
        if self._ready.done() and not self._ready.cancelled():
            self._ready.exception()
        if self._transport is not None:
            self._transport.abort()

    # -- called by the transport -----------------------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)  # noqa: S101 - for the type checker
        self._transport = transport
        self._advance()

    def data_received(self, data: bytes) -> None:
        self._in.write(data)
        self._advance()

    def eof_received(self) -> bool:
        self._in.write_eof()
        self._advance()
        return False

    def connection_lost(self, exc: Exception | None) -> None:
        self._closing = True
        self._fail(WireError("the connection ended"))

    # -- TLS and HTTP ------------------------------------------------------------------------------------------------

    def _advance(self) -> None:
        try:
            if not self._opened:
                self._tls.do_handshake()
                self._opened = True
                if not self._ready.done():
                    self._ready.set_result(None)
            while chunk := self._tls.read(65536):
                self._buffer += chunk
            self._closing = True
        except ssl.SSLWantReadError:
            pass
        except ssl.SSLError as error:
            self._fail(error)
            self.close()
            return
        finally:
            self._flush()
        self._parse()
        if self._closing:
            self.close()

    def _flush(self) -> None:
        if self._out.pending and self._transport is not None and not self._transport.is_closing():
            self._transport.write(self._out.read())

    def _fail(self, error: Exception) -> None:
        if not self._ready.done():
            self._ready.set_exception(error)
        elif self._waiter is not None and not self._waiter.done():
            self._waiter.set_exception(
                error if isinstance(error, WireError) else WireError("the TLS connection failed")
            )

    def _parse(self) -> None:
        if not self._buffer or self._waiter is None or self._waiter.done():
            return
        try:
            answer = _take_answer(self._buffer)
        except ValueError:
            self._waiter.set_exception(WireError("the answer is not HTTP"))
            self.close()
            return
        if answer is None:
            return
        if answer.headers.get("connection", "").lower() == "close":
            self._closing = True
        self._waiter.set_result(answer)


def _take_answer(buffer: bytearray) -> Answer | None:
    """Take a whole answer out of the buffer; None while it is not there. Raises ValueError where it is none."""
    end = buffer.find(b"\r\n\r\n")
    if end < 0:
        if len(buffer) > MAX_HEAD:
            raise ValueError("too long a head")
        return None
    head = buffer[:end].decode("latin-1").split("\r\n")
    version, code, *_ = head[0].split(" ")
    if not version.startswith("HTTP/1."):
        raise ValueError("not HTTP")
    status = int(code)
    headers = {name.strip().lower(): value.strip() for name, _, value in (line.partition(":") for line in head[1:])}
    start = end + 4
    if status in {204, 304}:
        body: tuple[bytes, int] | None = (b"", start)
    elif headers.get("transfer-encoding", "").lower() == "chunked":
        body = _take_chunks(buffer, start)
    else:
        size = int(headers.get("content-length", "0"))
        if not 0 <= size <= MAX_ANSWER:
            raise ValueError("too long an answer")
        body = (bytes(buffer[start : start + size]), start + size) if len(buffer) >= start + size else None
    if body is None:
        return None
    del buffer[: body[1]]
    return Answer(status, headers, body[0])


def _take_chunks(buffer: bytearray, start: int) -> tuple[bytes, int] | None:
    body = bytearray()
    while True:
        line = buffer.find(b"\r\n", start)
        if line < 0:
            return None
        size = int(bytes(buffer[start:line]).split(b";")[0], 16)
        if size < 0 or len(body) + size > MAX_ANSWER:
            raise ValueError("too long an answer")
        if len(buffer) < line + 2 + size + 2:
            return None
        body += buffer[line + 2 : line + 2 + size]
        start = line + 2 + size + 2
        if size == 0:
            return bytes(body), start


async def connect(host: str, port: int, context: ssl.SSLContext) -> Connection:
    """Open a connection. Raises WireError and ssl.SSLError."""
    connection: Connection | None = None
    try:
        async with asyncio.timeout(CONNECT_TIMEOUT):
            _, connection = await asyncio.get_running_loop().create_connection(
                lambda: Connection(context, host), host, port
            )
            await connection.opened()
            return connection
    except TimeoutError:
        _close(connection)
        raise WireError("no connection in time") from None
    except ssl.SSLError:
        _close(connection)
        raise
    except OSError as error:
        _close(connection)
        raise WireError(error.strerror or "no connection") from None
    except BaseException:
        _close(connection)
        raise


def _close(connection: Connection | None) -> None:
    if connection is not None:
        connection.close()
