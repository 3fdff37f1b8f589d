"""What simulated agents share: trust and TLS contexts, by the pin they were given."""

from __future__ import annotations

import asyncio
import hashlib
import logging
import random
import ssl
from collections.abc import Callable
from urllib.parse import urlsplit

from moorage.api.channel import HEADER_CA, PATH_CA
from moorage.hostd.simulate.wire import Answer, Connection, WireError, connect

log = logging.getLogger(__name__)
END = "-----END CERTIFICATE-----"
NO_CHECK_TIME = 0x200000  # X509_V_FLAG_NO_CHECK_TIME of OpenSSL, which the ssl module does not name
NOT_YET_VALID = 9  # X509_V_ERR_CERT_NOT_YET_VALID
FETCH_TIMEOUT = 20.0


def certificates(bundle: str) -> list[str]:
    """The PEM certificates of a bundle. Raises ValueError where one is damaged."""
    found = []
    for part in bundle.split(END)[:-1]:
        pem = part[part.find("-----BEGIN") :] + END + "\n"
        ssl.PEM_cert_to_DER_cert(pem)
        found.append(pem)
    return found


class Roots:
    """The root CAs trusted under one pin: the pinned one first, then what the verified channel announces."""

    def __init__(self, pin: str, bundle: str = "") -> None:
        self.pin = pin
        self.bundle = bundle
        self.check_time = True
        self._context: ssl.SSLContext | None = None
        self._learning = asyncio.Lock()

    def context(self) -> ssl.SSLContext:
        """The shared context; made again when the roots changed."""
        if self._context is None:
            self._context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
            self._context.minimum_version = ssl.TLSVersion.TLSv1_2
            self._context.load_verify_locations(cadata=self.bundle)
            if not self.check_time:
                self._context.verify_flags |= NO_CHECK_TIME
        return self._context

    def keep(self, bundle: str) -> None:
        """Trust this bundle. Raises ValueError where it holds no certificate."""
        if not certificates(bundle):
            raise ValueError("an empty bundle")
        self.bundle = bundle
        self.reset()

    def reset(self) -> None:
        """Forget the context."""
        self._context = None

    async def learn(self, url: str) -> None:
        """Fetch the bundle unverified and take from it only the certificate with the pin. Raises WireError."""
        async with self._learning:
            if self.bundle:
                return
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
            context.check_hostname = False
            context.verify_mode = ssl.CERT_NONE
            parts = urlsplit(url)
            host = parts.hostname or ""
            connection = await connect(host, parts.port or 443, context)
            try:
                answer = await connection.request("GET", PATH_CA, {"Host": host}, b"", FETCH_TIMEOUT)
            finally:
                connection.close()
            self.keep(self._pinned(answer))

    def _pinned(self, answer: Answer) -> str:
        try:
            for pem in certificates(answer.body.decode("ascii")):
                if hashlib.sha256(ssl.PEM_cert_to_DER_cert(pem)).hexdigest() == self.pin:
                    return pem
        except ValueError:
            raise WireError("the CA bundle is damaged") from None
        raise WireError("no certificate with the pin")


class Channel:
    """An agent's requests to whichever configd answers, over one kept connection."""

    def __init__(self, roots: Roots, urls: tuple[str, ...], learned: Callable[[], None]) -> None:
        self._roots = roots
        self._urls = random.sample(urls, len(urls))
        self._learned = learned
        self._connection: Connection | None = None

    async def request(self, method: str, path: str, headers: dict[str, str], body: bytes, timeout: float) -> Answer:  # noqa: ASYNC109 - a bound of the exchange, not of the caller
        """One request, sent again over a new connection where a kept one turns out to be dead. Raises WireError."""
        kept = self._connection
        if kept is not None and kept.usable:
            try:
                return await self._send(kept, method, path, headers, body, timeout)
            except WireError:
                self.close()
        try:
            connection = self._connection = await self._connect()
            return await self._send(connection, method, path, headers, body, timeout)
        except WireError:
            self._next()
            raise
        except ssl.SSLError as error:
            self._next()
            reason = error.verify_message if isinstance(error, ssl.SSLCertVerificationError) else "TLS failed"
            raise WireError(reason) from None

    def close(self) -> None:
        """End the kept connection."""
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.close()

    def _next(self) -> None:
        self.close()
        self._urls.append(self._urls.pop(0))

    async def _connect(self) -> Connection:
        url, roots = self._urls[0], self._roots
        if not roots.bundle:
            await roots.learn(url)
            self._learned()
        parts = urlsplit(url)
        try:
            return await connect(parts.hostname or "", parts.port or 443, roots.context())
        except ssl.SSLCertVerificationError as error:
            if error.verify_code != NOT_YET_VALID or not roots.check_time:
                raise
        # Nobody issues for the future, so the clock is unset: the pin alone counts.
        roots.check_time = False
        roots.reset()
        return await connect(parts.hostname or "", parts.port or 443, roots.context())

    async def _send(
        self,
        connection: Connection,
        method: str,
        path: str,
        headers: dict[str, str],
        body: bytes,
        timeout: float,  # noqa: ASYNC109 - a bound of the exchange, not of the caller
    ) -> Answer:
        headers = {"Host": urlsplit(self._urls[0]).netloc, **headers}
        answer = await connection.request(method, path, headers, body, timeout)
        announced = answer.headers.get(HEADER_CA.lower(), "")
        if answer.status in {200, 304} and self._differs(announced) and connection.usable:
            await self._follow(connection, headers["Host"])
        return answer

    def _differs(self, digest: str) -> bool:
        return bool(digest) and hashlib.sha256(self._roots.bundle.encode()).hexdigest() != digest

    async def _follow(self, connection: Connection, host: str) -> None:
        """Fetch the roots that configd announces, so that they are known before the old one goes."""
        try:
            answer = await connection.request("GET", PATH_CA, {"Host": host}, b"", FETCH_TIMEOUT)
            if answer.status == 200:
                self._roots.keep(answer.body.decode("ascii"))
                self._learned()
        except (WireError, ValueError) as error:
            log.warning("announced roots not taken: %s", type(error).__name__)


class Network:
    """The roots of all agents of one process."""

    def __init__(self) -> None:
        self._roots: dict[str, Roots] = {}

    def roots(self, pin: str, bundle: str = "") -> Roots:
        """The roots under a pin; `bundle` is what an agent kept from an earlier life."""
        return self._roots.setdefault(pin, Roots(pin, bundle))
