"""Requests and answers in the API's ways: pages, selectors, errors."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable
from typing import Final

from aiohttp import web

from moorage.testbed.hetzner.project import Project, Refusal, invalid, missing
from moorage.testbed.hetzner.servers import Obj

MOST_A_PAGE: Final = 50
Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


def project_of(request: web.Request) -> Project:
    """The project of the token."""
    project: Project = request["project"]
    return project


def number_of(request: web.Request, what: str) -> int:
    """The id in the path. Raises Refusal."""
    text = request.match_info["id"]
    if not text.isascii() or not text.isdigit():
        raise missing(f"{what} with ID '{text[:64]}'")
    return int(text)


async def body_of(request: web.Request) -> Obj:
    """The JSON object that was sent. Raises Refusal."""
    found = await request.json()
    if not isinstance(found, dict):
        raise Refusal(400, "json_error", "not an object")
    return found


def selected(request: web.Request, items: list[Obj]) -> list[Obj]:
    """Those whose labels the selector of the request fits: `name`, `name=value` and `name==value`, joined by commas."""
    for term in request.query.get("label_selector", "").split(","):
        name, equals, value = term.partition("=")
        if equals:
            items = [each for each in items if each["labels"].get(name) == value.removeprefix("=")]
        elif name:
            items = [each for each in items if name in each["labels"]]
    return items


def page(request: web.Request, name: str, items: Iterable[Obj]) -> web.Response:
    """One page, and where it is. Raises Refusal."""
    try:
        number, size = int(request.query.get("page", 1)), int(request.query.get("per_page", 25))
    except ValueError:
        raise invalid("page", "is not a number") from None
    if number < 1 or size < 1:
        raise invalid("page", "must be greater than 0")
    size = min(size, MOST_A_PAGE)
    everything = list(items)
    field, _, direction = request.query.get("sort", "id:asc").partition(":")
    everything.sort(key=lambda each: each[field], reverse=direction == "desc")
    last = max(1, -(-len(everything) // size))
    pagination = {
        "page": number,
        "per_page": size,
        "previous_page": number - 1 if number > 1 else None,
        "next_page": number + 1 if number < last else None,
        "last_page": last,
        "total_entries": len(everything),
    }
    shown = everything[(number - 1) * size : number * size]
    return web.json_response({name: shown, "meta": {"pagination": pagination}})


def refused(refusal: Refusal, headers: dict[str, str]) -> web.Response:
    """An error as the API tells it."""
    error = {"code": refusal.code, "message": refusal.message, "details": refusal.details}
    return web.json_response({"error": error}, status=refusal.status, headers=headers)
