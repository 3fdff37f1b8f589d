"""What Toycloud's answers mean, in the contract's errors."""

from __future__ import annotations

import json
from typing import Any, NoReturn

from moorage.hosting.errors import (
    AuthenticationError,
    CapacityError,
    HostingError,
    Invalid,
    NotFound,
    QuotaError,
    Throttled,
    Unavailable,
    Unknown,
    stranger,
)
from moorage.hosting.http import Answer

TOYCLOUD = "a Toycloud"
"""Whose endpoint it has to be: what an answer asks about that is none of the service's."""
FIELDS = {"name": "key", "image": "image", "size": "offering", "script": "userData", "rack": "settings.rack"}
"""The service's names of fields, and what the user calls them."""


class NameTakenError(Unknown):
    """Another machine has the name. `create` knows what that means; to everybody else it is an error like others."""


def parsed(answer: Answer, what: str) -> dict[str, Any]:
    """The body of a success. Raises HostingError for everything else, and NameTakenError."""
    if answer.status not in {200, 201, 202}:
        refuse(answer, what)
    body = _json(answer.raw)
    if body is None:
        raise Unavailable(f"{what}: {stranger(TOYCLOUD)}")
    return body


def refuse(answer: Answer, what: str) -> NoReturn:
    """Raise what the refusal stands for."""
    body = _json(answer.raw) or {}
    code, message = str(body.get("code") or ""), str(body.get("message") or "")
    text = f"{what}: {message or code or f'status {answer.status}'}"
    # Status and code together: what a proxy answers on the way has the one at most.
    match (answer.status, code):
        case (409, "name_taken"):
            raise NameTakenError(text)
        case (404, "no_such_machine"):
            raise NotFound(text)
        case (409, "no_room"):
            raise CapacityError(f"{text}: try another size, or another service")
        case (403, "limit_reached"):
            raise QuotaError(f"{text}: ask the service for a higher limit")
        case (422, "bad_field"):
            raise Invalid(text, field=FIELDS.get(str(body.get("field")), str(body.get("field"))))
        case _:
            raise _untyped(answer, text)


def _untyped(answer: Answer, text: str) -> HostingError:
    if answer.status in {401, 403, 407}:
        return AuthenticationError(f"{text}: check the key `token` of the credentials")
    if answer.status == 429:
        return Throttled(text, retry_after=answer.retry_after)
    # A 404 without the service's own code is some proxy's, and says nothing about the machine.
    if answer.status == 404:
        return Unavailable(stranger(TOYCLOUD, text))
    if answer.status >= 500 or answer.status in {408, 425}:
        return Unavailable(text, retry_after=answer.retry_after)
    return Unknown(text)


def _json(raw: bytes) -> dict[str, Any] | None:
    try:
        body = json.loads(raw)
    except ValueError:
        return None
    return body if isinstance(body, dict) else None
