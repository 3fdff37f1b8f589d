"""Calls to the bed's services over HTTP, as their administrator or a user: the standard library is enough for it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any
from urllib.error import HTTPError
from urllib.request import ProxyHandler, Request, build_opener

_OPENER = build_opener(ProxyHandler({}))
TIMEOUT = 60.0


class Refused(Exception):
    """An answer other than success. `status` is its status; the message has the body."""

    def __init__(self, what: str, status: int, body: str) -> None:
        super().__init__(f"{what}: status {status}: {body[:500]}")
        self.status = status


def call(
    method: str, url: str, body: object = None, headers: Mapping[str, str] = {}
) -> tuple[dict[str, Any], Mapping[str, str]]:
    """One call: the answer as JSON ({} where it has none), and its headers. Raises Refused, or OSError."""
    raw = body if isinstance(body, bytes) else None if body is None else json.dumps(body).encode()
    kind = "application/octet-stream" if isinstance(body, bytes) else "application/json"
    request = Request(url, data=raw, method=method, headers={"Content-Type": kind, **headers})  # noqa: S310 - our own
    try:
        with _OPENER.open(request, timeout=TIMEOUT) as answer:
            text = answer.read()
            return (json.loads(text) if text.strip() else {}), dict(answer.headers)
    except HTTPError as error:
        with error:
            raise Refused(f"{method} {url}", error.code, error.read().decode(errors="replace")) from None


class Session:
    """A user's token for one project, and calls with it."""

    def __init__(self, endpoints: Mapping[str, str], user: str, password: str, project: str) -> None:
        self._endpoints = endpoints
        domain = {"id": "default"}
        identity = {
            "methods": ["password"],
            "password": {"user": {"name": user, "domain": domain, "password": password}},
        }
        scope = {"project": {"name": project, "domain": domain}}
        body = {"auth": {"identity": identity, "scope": scope}}
        answer, headers = call("POST", endpoints["identity"] + "/auth/tokens", body)
        self.user: str = answer["token"]["user"]["id"]
        self.project: str = answer["token"]["project"]["id"]
        self._token = headers["X-Subject-Token"]

    def __call__(self, method: str, service: str, path: str, body: object = None) -> dict[str, Any]:
        """A call to a service of the catalogue; gives the answer. Raises Refused, or OSError."""
        headers = {"X-Auth-Token": self._token, "OpenStack-API-Version": "compute 2.90"}
        return call(method, self._endpoints[service] + path, body, headers)[0]
