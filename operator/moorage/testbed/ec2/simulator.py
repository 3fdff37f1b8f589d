"""moto, as the proxy asks it. It checks no signature, so that what is asked needs none."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Mapping
from typing import Final
from urllib.parse import urlencode

import aiohttp

from moorage.testbed.ec2.query import Reply
from moorage.testbed.ec2.signing import Caller

VERSION: Final = "2016-11-15"


class Simulator:
    """moto's server at an address on the loopback."""

    def __init__(self, url: str) -> None:
        self._url = url
        self._changes = asyncio.Lock()
        self._session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(limit=16), timeout=aiohttp.ClientTimeout(total=120)
        )

    async def ask(self, caller: Caller, form: Mapping[str, str]) -> Reply:
        """One request, for the caller's account and region."""
        scope = f"20260101/{caller.region}/{caller.service}/aws4_request"
        headers = {
            "Authorization": f"AWS4-HMAC-SHA256 Credential=BED/{scope}, SignedHeaders=host, Signature=0",
            "Content-Type": "application/x-www-form-urlencoded; charset=utf-8",
            "x-moto-account-id": caller.account,
        }
        # moto closes every connection: one that it has just closed must not be taken for the next request.
        headers["Connection"] = "close"
        # moto's threads get into each other's way where two change the same things.
        turn = contextlib.nullcontext() if _in_no_way(form) else self._changes
        async with turn, self._session.post(f"{self._url}/", data=urlencode(form), headers=headers) as answer:
            return Reply(answer.status, await answer.read())

    async def do(self, caller: Caller, action: str, parameters: Mapping[str, str]) -> Reply:
        """The same for an action by name."""
        return await self.ask(caller, {"Action": action, "Version": VERSION, **parameters})

    async def close(self) -> None:
        """End its connections."""
        await self._session.close()


def _in_no_way(form: Mapping[str, str]) -> bool:
    """Whether it changes nothing that is there."""
    return form.get("Action", "").startswith(("Describe", "Get", "RunInstances"))
