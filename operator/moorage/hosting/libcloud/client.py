"""Libcloud's drivers behind an asynchronous door: one driver a thread, every call bounded, every failure typed."""

from __future__ import annotations

import ssl
import threading
import time
import warnings
from collections.abc import Callable, Mapping
from typing import Any, Final, TypeVar

from moorage.hosting.errors import HostingError, Invalid
from moorage.hosting.libcloud.answers import failure
from moorage.hosting.libcloud.exchange import Exchange, exchanging, pool_of
from moorage.hosting.libcloud.profiles import Profile
from moorage.hosting.threads import Threads

T = TypeVar("T")
CALLS: Final = 16
"""Calls at a time, each with a driver of its own."""
SHORTEST_SECRET: Final = 8
"""Characters. What is shorter may be a part of any word."""
MARGIN: Final = 0.25
"""Seconds that a call gets less than its caller waits: it is over before it is given up."""


class Client:
    """One service, by one kind of driver."""

    def __init__(
        self,
        profile: Profile,
        arguments: Mapping[str, Any],
        secrets: Mapping[str, str],
        tls: ssl.SSLContext,
        *,
        plain: bool = False,
    ) -> None:
        self._profile = profile
        self._arguments = {**arguments, **secrets}
        self._secrets = tuple(value for value in secrets.values() if len(value) >= SHORTEST_SECRET)
        self._plain = plain
        self._pool = pool_of(tls, CALLS)
        self._threads = Threads("libcloud", CALLS)
        self._own = threading.local()

    async def run(
        self, what: str, seconds: float, call: Callable[[Any, Exchange], T], *, one: bool = False, slow: bool = False
    ) -> T:
        """What `call` makes of a driver, in at most so many seconds; `one`: of one server; `slow`: as creations
        are. Raises HostingError."""
        # From now, not from when a thread takes it: it must have no effect after its caller has given up.
        deadline = time.monotonic() + max(seconds - MARGIN, seconds / 2)

        def bounded() -> T:
            exchange = Exchange(self._pool, deadline, plain=self._plain)
            try:
                return self._once(exchange, call)
            except Exception as error:  # noqa: BLE001 - drivers raise whatever their parsers stumble over
                if not self._profile.expired(exchange):
                    raise self._failure(what, error, exchange, one=one) from None
            # The session was over and nothing was done: once more, which begins a new one.
            exchange = Exchange(self._pool, deadline, plain=self._plain)
            try:
                return self._once(exchange, call)
            except Exception as error:  # noqa: BLE001
                raise self._failure(what, error, exchange, one=one) from None

        return await self._threads.run(seconds, what, bounded, slow=slow)

    def _failure(self, what: str, error: Exception, exchange: Exchange, *, one: bool) -> HostingError:
        """What failed, without the credentials: a service's own words may repeat them."""
        found = failure(what, error, exchange, self._profile, one=one)
        for secret in self._secrets:
            found.message = found.message.replace(secret, "…")
        found.args = (found.message,)
        return found

    def _once(self, exchange: Exchange, call: Callable[[Any, Exchange], T]) -> T:
        with exchanging(exchange), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            driver = self._driver()
            try:
                return call(driver, exchange)
            finally:
                self._profile.observe(driver, exchange)

    def _driver(self) -> Any:
        # A driver keeps the request under way in itself, so that no two threads can share one.
        found = getattr(self._own, "driver", None)
        if found is None:
            try:
                found = self._profile.driver(**self._arguments)
            except HostingError:
                raise
            except Exception as error:  # noqa: BLE001
                raise Invalid(
                    f"the driver does not take its arguments ({type(error).__name__}): see its page in Libcloud's "
                    "documentation",
                    field="settings.arguments",
                ) from None
            self._profile.prepare(found)
            self._own.driver = found
        return found

    def close(self) -> None:
        """End. Repetition: harmless."""
        self._threads.close()
        self._pool.clear()
