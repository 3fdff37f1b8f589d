"""The client of the API server that everything else uses. Objects are plain dicts, as the API server sends them."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncGenerator, Mapping, Sequence
from typing import Any, Self

import aiohttp

from moorage.kube.answers import Listing, Obj, WatchEvent, lines
from moorage.kube.calls import Call, Observer, body_fields
from moorage.kube.credentials import Credentials, loader
from moorage.kube.errors import Gone, TooLarge, Unavailable, from_status, parse_body
from moorage.kube.kinds import DISCOVERY, Kind
from moorage.kube.lanes import Lane
from moorage.kube.transport import (
    APPLY_PATCH,
    JSON,
    JSON_PATCH,
    MERGE_PATCH,
    PARTIAL,
    PARTIAL_LIST,
    Guard,
    Limits,
    Request,
    Transport,
)

PAGE = 500


class Client:
    """Typed errors, observers, a guard for writes, bounded concurrency; see `Transport` for what is repeated.

    All methods raise `ApiError` subclasses, and writes raise `NotLeader` where a guard is set and refuses.
    """

    def __init__(
        self,
        transport: Transport,
        *,
        guarded: bool = True,
        lane: Lane | None = None,
        account: tuple[str, str] | None = None,
        most: int | None = None,
    ) -> None:
        self._transport = transport
        self._guarded = guarded
        self._lane = lane
        self._account = account
        self._most = most

    @classmethod
    async def connect(
        cls, kubeconfig: str | None = None, context: str | None = None, *, limits: Limits | None = None
    ) -> Self:
        """A client for the given kubeconfig and context, else in-cluster, else the default kubeconfig.

        Raises ConfigError. Close it with `close()` or use it as an async context manager.
        """
        credentials = Credentials(loader(kubeconfig or None, context or None))
        await credentials.refresh()
        return cls(Transport(credentials, limits=limits))

    async def close(self) -> None:
        """Close all connections (shared with the views of this client)."""
        await self._transport.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    @property
    def observers(self) -> list[Observer]:
        """Called before and after each attempt; shared with all views of this client. Append to it."""
        return self._transport.observers

    @property
    def namespace(self) -> str:
        """The namespace of the context or of the pod; empty where none is set."""
        return self._transport.credentials.loaded.namespace

    @property
    def host(self) -> str:
        """The API server's URL."""
        return self._transport.credentials.loaded.host

    def set_guard(self, guard: Guard | None) -> None:
        """Call `guard` directly before each guarded write is sent; it raises (NotLeader) to refuse."""
        self._transport.guard = guard

    def unguarded(self) -> Client:
        """A view of this client whose writes do not ask the guard: for the lease itself, and for configd."""
        return Client(self._transport, guarded=False, lane=self._lane)

    def in_lane(self, lane: Lane) -> Client:
        """A view of this client whose writes take this lane, whatever the context says."""
        return Client(self._transport, guarded=self._guarded, lane=lane)

    def acting_as(self, namespace: str, account: str, *, most: int | None = None) -> Client:
        """A view of this client that reads as a ServiceAccount, with its rights and no others, and cannot write.

        An answer of more than `most` bytes is refused (TooLarge).
        """
        return Client(self._transport, account=(namespace, account), most=most)

    # Reads

    async def get(self, kind: Kind, namespace: str | None, name: str, *, metadata_only: bool = False) -> Obj:
        """One object. Raises NotFound."""
        call = Call("get", kind, namespace, name, account=self._account)
        accept = PARTIAL if metadata_only else JSON
        return await self._send(call, "GET", accept=accept)

    async def resources(self, api_version: str) -> Sequence[Obj]:
        """The resources that the API server has in a group and version, as its discovery tells. Raises NotFound."""
        group, _, version = api_version.rpartition("/")
        path = f"/apis/{group}/{version}" if group else f"/api/{version}"
        answer = await self._send(Call("get", DISCOVERY), "GET", path=path)
        return [r for r in answer.get("resources") or () if isinstance(r, dict)]

    async def list(
        self,
        kind: Kind,
        namespace: str | None = None,
        *,
        labels: str = "",
        fields: str = "",
        metadata_only: bool = False,
        limit: int = PAGE,
    ) -> Listing:
        """All objects (of one namespace, or everywhere) in pages of `limit`, consistent as of one resourceVersion.

        `labels` and `fields` are selectors as kubectl takes them. Items of core kinds have no apiVersion and kind.
        Raises Gone where the pages expired again and again.
        """
        scope: dict[str, Any] = {"labels": labels, "fields": fields, "metadata_only": metadata_only}
        for most in (limit, limit, limit, 0):
            with contextlib.suppress(*((Gone,) if most else ())):
                pages = [page async for page in self.pages(kind, namespace, limit=most, **scope)]
                return Listing([obj for page in pages for obj in page.items], pages[-1].resource_version)
        raise AssertionError("unreachable: the last list returns or raises")

    async def pages(
        self,
        kind: Kind,
        namespace: str | None = None,
        *,
        labels: str = "",
        fields: str = "",
        metadata_only: bool = False,
        limit: int = PAGE,
    ) -> AsyncGenerator[Listing, None]:
        """A list, page by page; all pages are of one resourceVersion. `limit` 0: one page. Raises Gone.

        A page that is larger than this client reads is asked for again with fewer objects.
        """
        params = _selectors(labels, fields)
        if limit:
            params["limit"] = str(limit)
        call = Call("list", kind, namespace, account=self._account)
        while True:
            try:
                page = await self._send(call, "GET", params=params, accept=PARTIAL_LIST if metadata_only else JSON)
            except TooLarge:
                if limit <= 1:
                    raise
                limit = max(1, limit // 8)  # `continue` says where to go on, and not how many there were
                params["limit"] = str(limit)
                continue
            meta = page.get("metadata") or {}
            yield Listing(page.pop("items", None) or [], str(meta.get("resourceVersion", "")))
            if not meta.get("continue"):
                return
            params["continue"] = meta["continue"]

    async def watch(
        self,
        kind: Kind,
        namespace: str | None = None,
        *,
        resource_version: str,
        labels: str = "",
        fields: str = "",
        metadata_only: bool = False,
        duration: float = 300.0,
    ) -> AsyncGenerator[WatchEvent, None]:
        """Changes after `resource_version`, bookmarks included, until the server ends the watch (about `duration` s).

        Raises Gone where `resource_version` is too old, Unavailable where the connection breaks.
        """
        params = _selectors(labels, fields) | {
            "watch": "true",
            "allowWatchBookmarks": "true",
            "resourceVersion": resource_version,
            "timeoutSeconds": str(int(duration)),
        }
        request = Request(
            Call("watch", kind, namespace, account=self._account),
            "GET",
            kind.path(namespace),
            params,
            accept=PARTIAL if metadata_only else JSON,
        )
        limits = aiohttp.ClientTimeout(total=duration + 15, sock_connect=10)
        async with self._transport.open(request, limits) as response:
            async for line in lines(response):
                event = parse_body(line)
                if not isinstance(event, dict) or not isinstance(event.get("object"), dict):
                    raise Unavailable(0, "NotJSON", f"a watch event is not JSON: {request.call}")
                if event.get("type") == "ERROR":
                    status = event["object"]
                    raise from_status(int(status.get("code") or 500), status)
                yield WatchEvent(str(event["type"]), event["object"])

    # Writes

    async def create(self, kind: Kind, obj: Mapping[str, Any], *, manager: str = "") -> Obj:
        """POST; the namespace is the object's. Raises AlreadyExists."""
        meta = obj.get("metadata") or {}
        call = self._write("create", kind, meta.get("namespace"), str(meta.get("name", "")), manager, obj)
        body = {"apiVersion": kind.api_version, "kind": kind.kind, **obj}
        return await self._send(call, "POST", path=kind.path(meta.get("namespace")), body=body)

    async def update(self, kind: Kind, obj: Mapping[str, Any], *, manager: str = "", subresource: str = "") -> Obj:
        """PUT the whole object; its metadata must have name and resourceVersion. Raises Conflict, NotFound."""
        meta = obj["metadata"]
        if not meta.get("resourceVersion"):
            raise ValueError("an update without resourceVersion would overwrite what we have not seen")
        call = self._write("update", kind, meta.get("namespace"), meta["name"], manager, obj, subresource)
        body = {"apiVersion": kind.api_version, "kind": kind.kind, **obj}
        return await self._send(call, "PUT", body=body)

    async def apply_status(
        self,
        kind: Kind,
        namespace: str | None,
        name: str,
        resource_version: str,
        status: Mapping[str, Any],
        manager: str,
    ) -> Obj:
        """Server-side apply of the whole status that `manager` owns; what it omits and owned before is removed.

        Only resourceVersion protects a successor of the same name, so it is required. Raises Conflict, NotFound.
        """
        if not resource_version:
            raise ValueError("a status apply needs the resourceVersion that it was computed from")
        body: Obj = {
            "apiVersion": kind.api_version,
            "kind": kind.kind,
            "metadata": {"name": name, "resourceVersion": resource_version},
            "status": status,
        }
        return await self._apply(kind, namespace, name, body, manager, "status")

    async def apply(self, kind: Kind, obj: Mapping[str, Any], manager: str) -> Obj:
        """Server-side apply of an object that exists; its metadata must have name and uid.

        The uid keeps a deleted object from being made anew. Raises Invalid where the uid is another's, and Conflict or
        NotFound where the object is gone.
        """
        meta = obj["metadata"]
        if not meta.get("uid"):
            raise ValueError("an apply without uid would make a deleted object anew")
        body = {"apiVersion": kind.api_version, "kind": kind.kind, **obj}
        return await self._apply(kind, meta.get("namespace"), meta["name"], body, manager, "")

    async def _apply(
        self, kind: Kind, namespace: str | None, name: str, body: Obj, manager: str, subresource: str
    ) -> Obj:
        if not manager:
            raise ValueError("a server-side apply needs a field manager")
        call = self._write("apply", kind, namespace, name, manager, body, subresource)
        return await self._send(call, "PATCH", params={"force": "true"}, body=body, content_type=APPLY_PATCH)

    async def patch(
        self,
        kind: Kind,
        namespace: str | None,
        name: str,
        body: Mapping[str, Any] | Sequence[Obj],
        *,
        content_type: str = "",
        subresource: str = "",
        manager: str = "",
    ) -> Obj:
        """A merge patch (a mapping) or a JSON patch (a list of operations), as the body's type says.

        Put `metadata.resourceVersion` into a merge patch (Conflict), a test of `/metadata/uid` into a JSON patch
        (Invalid): on `/status` a uid in a merge patch guards nothing.
        """
        implied = MERGE_PATCH if isinstance(body, Mapping) else JSON_PATCH
        call = self._write("patch", kind, namespace, name, manager, body, subresource)
        return await self._send(call, "PATCH", body=body, content_type=content_type or implied)

    async def rehearse(
        self,
        kind: Kind,
        namespace: str | None,
        name: str,
        body: Mapping[str, Any],
        manager: str,
        *,
        merge: bool = False,
    ) -> Obj:
        """What the object would be after a server-side apply (or a merge patch): checked and defaulted, never stored.

        Unknown fields are refused, as kubectl has it. Raises Invalid and BadRequest with what the API server says.
        """
        whole = {"apiVersion": kind.api_version, "kind": kind.kind, **body}
        verb, content_type = ("patch", MERGE_PATCH) if merge else ("apply", APPLY_PATCH)
        params = {"dryRun": "All", "fieldValidation": "Strict", **({} if merge else {"force": "true"})}
        call = Call(verb, kind, namespace, name, manager=manager, fields=body_fields(whole), dry=True)
        return await self._send(call, "PATCH", params=params, body=whole, content_type=content_type)

    async def delete(
        self,
        kind: Kind,
        namespace: str | None,
        name: str,
        *,
        uid: str = "",
        resource_version: str = "",
        propagation: str = "",
    ) -> Obj:
        """Delete; the answer is the object while finalizers hold it, else a Status.

        Raises Conflict where the uid or resourceVersion is another's, NotFound where it is gone already.
        """
        body: Obj = {"apiVersion": "v1", "kind": "DeleteOptions"}
        preconditions = {"uid": uid, "resourceVersion": resource_version}
        if uid or resource_version:
            body["preconditions"] = {key: value for key, value in preconditions.items() if value}
        if propagation:
            body["propagationPolicy"] = propagation
        return await self._send(self._write("delete", kind, namespace, name, "", body), "DELETE", body=body)

    # How

    def _write(
        self, verb: str, kind: Kind, namespace: str | None, name: str, manager: str, body: Any, subresource: str = ""
    ) -> Call:
        if self._account is not None:
            raise ValueError("nothing is ever written as somebody else")
        return Call(verb, kind, namespace, name, subresource, manager, body_fields(body))

    async def _send(
        self,
        call: Call,
        method: str,
        *,
        path: str = "",
        params: Mapping[str, str] | None = None,
        body: Any = None,
        content_type: str = JSON,
        accept: str = JSON,
    ) -> Obj:
        query = dict(params or {})
        if call.manager:
            query["fieldManager"] = call.manager
        answer = await self._transport.send(
            Request(
                call,
                method,
                path or call.kind.path(call.namespace, call.name, call.subresource),
                query,
                body=body,
                content_type=content_type,
                accept=accept,
                guarded=self._guarded,
                lane=self._lane,
                most=self._most,
            )
        )
        if not isinstance(answer, dict):
            raise Unavailable(0, "NotJSON", f"the answer is not a JSON object: {call}")
        return answer


def _selectors(labels: str, fields: str) -> dict[str, str]:
    return {key: value for key, value in (("labelSelector", labels), ("fieldSelector", fields)) if value}
