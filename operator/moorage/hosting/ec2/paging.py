"""Lists that come in pages: complete, or an error."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from functools import partial
from typing import TYPE_CHECKING, Any, Final

from moorage.hosting.ec2.client import Clients
from moorage.hosting.ec2.settings import Ec2Settings
from moorage.hosting.errors import TimedOut, Unavailable

if TYPE_CHECKING:
    from types_boto3_ec2.client import EC2Client

MAX_PAGES: Final = 1000
Ask = Callable[["EC2Client", Any], Any]


class Pages:
    """Follows the NextToken of EC2's lists."""

    def __init__(self, clients: Clients, settings: Ec2Settings) -> None:
        self._clients = clients
        self._settings = settings

    @asynccontextmanager
    async def in_time(self, what: str) -> AsyncIterator[None]:
        """Bound all calls inside together by the setting inventoryTimeout. Raises TimedOut."""
        try:
            async with asyncio.timeout(self._settings.inventory_timeout):
                yield
        except TimeoutError:
            raise TimedOut(f"{what} did not end in time") from None

    async def take(self, what: str, items: str, ask: Ask) -> list[Any]:
        """All of what the answers call `items`, of all pages.

        Raises Unavailable where a token comes twice or the pages do not end.
        """
        found: list[Any] = []
        seen: set[str] = set()
        page: dict[str, Any] = {"MaxResults": self._settings.page_size}
        for _ in range(MAX_PAGES):
            answer = await self._clients.ec2(what, partial(_with, ask, page))
            if items not in answer:
                raise Unavailable(f"{what}: the answer makes no sense: it has no {items}")
            found += answer[items]
            token = answer.get("NextToken")
            if not token:
                return found
            if token in seen:
                raise Unavailable(f"{what}: the service's list does not go on where it stopped")
            seen.add(token)
            page = {"MaxResults": self._settings.page_size, "NextToken": token}
        raise Unavailable(f"{what}: the service's list has more than {MAX_PAGES} pages")


def _with(ask: Ask, page: dict[str, Any], ec2: EC2Client) -> Any:
    return ask(ec2, page)
