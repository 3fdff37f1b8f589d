"""Hetzner's SDK behind an asynchronous door: every call bounded, sent once, every failure typed."""

from __future__ import annotations

import ssl
import time
from collections.abc import Callable
from typing import Any, Final, TypeVar

import hcloud
from hcloud.core.domain import Meta, Pagination
from hcloud.servers import BoundServer
from hcloud.volumes import BoundVolume

from moorage.hosting.errors import Unavailable
from moorage.hosting.hetzner.answers import failure
from moorage.hosting.hetzner.transport import Transport
from moorage.hosting.threads import Threads

T = TypeVar("T")
CALLS: Final = 32
"""Calls at a time: more than a service connection makes, so that none waits for a thread."""
MARGIN: Final = 0.25
"""Seconds that a call gets less than its caller waits: it is over before it is given up."""
MAX_PAGES: Final = 2000


def list_volumes(sdk: hcloud.Client, **query: Any) -> tuple[list[BoundVolume], Meta]:
    """A page of volumes in the order of their ids."""
    answer = sdk.request("GET", "/volumes", params={"sort": "id:asc", **query})
    return [BoundVolume(sdk.volumes, each) for each in answer["volumes"]], Meta.parse_meta(answer)


def list_servers(sdk: hcloud.Client, **query: Any) -> tuple[list[BoundServer], Meta]:
    """A page of servers in the order of their ids, which the SDK's own method cannot ask for."""
    answer = sdk.request("GET", "/servers", params={"sort": "id:asc", **query})
    return [BoundServer(sdk.servers, each) for each in answer["servers"]], Meta.parse_meta(answer)


class Client:
    """The API with one token."""

    def __init__(self, base: str, token: str, tls: ssl.SSLContext, page_size: int) -> None:
        self._transport = Transport(base, token, tls, CALLS)
        self._threads = Threads("hetzner", CALLS)
        self._page_size = page_size
        self._sdk = hcloud.Client(token=token, api_endpoint=base)
        # Every part of the SDK sends through this one object; its own `request` repeats calls by itself.
        self._sdk._client.request = self._transport.request  # type: ignore[method-assign]

    async def run(
        self, what: str, seconds: float, call: Callable[[hcloud.Client], T], *, one: bool = False, slow: bool = False
    ) -> T:
        """What `call` makes of the SDK, in at most so many seconds; `one`: of one object; `slow`: as creations
        are. Raises HostingError."""
        # From now, not from when a thread takes it: it must have no effect after its caller has given up.
        deadline = time.monotonic() + max(seconds - MARGIN, seconds / 2)

        def bounded() -> T:
            try:
                with self._transport.within(deadline):
                    return call(self._sdk)
            except Exception as error:  # noqa: BLE001 - the SDK raises whatever its models stumble over
                raise failure(what, error, one=one) from None

        return await self._threads.run(seconds, what, bounded, slow=slow)

    def pages(self, get_list: Callable[..., tuple[list[T], Meta]], **query: Any) -> list[T]:
        """All of a list, each object once. Called inside `run`. Raises Unavailable where it is not whole.

        The API counts pages by number, so what is deleted while they are read moves all that follows it forward: a
        page later on then begins one too late, and an object is never seen. Read from the last page to the first, in
        the order of ids, what moves comes a second time instead, and what is new comes after the last page.
        """
        found: dict[int, T] = {}
        first, pagination = self._page(get_list, 1, query)
        pages = _pages_of(pagination)
        if pages == 1:
            return _once(first, found)
        for number in range(pages, 0, -1):
            items, _ = self._page(get_list, number, query)
            _once(items, found)
        return [found[number] for number in sorted(found)]

    def _page(
        self, get_list: Callable[..., tuple[list[T], Meta]], number: int, query: dict[str, Any]
    ) -> tuple[list[T], Pagination]:
        items, meta = get_list(page=number, per_page=self._page_size, **query)
        if meta.pagination is None or meta.pagination.page != number:
            raise Unavailable("the service answered with another page than the one asked for")
        if len(items) > self._page_size:
            raise Unavailable("the service answered with a longer page than was asked for")
        return items, meta.pagination

    def close(self) -> None:
        """End. Repetition: harmless."""
        self._threads.close()
        self._transport.close()


def _pages_of(pagination: Pagination) -> int:
    following, last = pagination.next_page, pagination.last_page
    if following is None:
        return 1
    if not isinstance(last, int) or not following <= last <= MAX_PAGES:
        raise Unavailable("the service's list does not say where it ends")
    return last


def _once(items: list[T], found: dict[int, T]) -> list[T]:
    ids = [_id(item) for item in items]
    if len(set(ids)) != len(ids):
        raise Unavailable("the service listed an object twice")
    found.update(zip(ids, items, strict=True))
    return items


def _id(item: Any) -> int:
    number = item.id
    if not isinstance(number, int):
        raise Unavailable("the service listed an object without an id")
    return number
