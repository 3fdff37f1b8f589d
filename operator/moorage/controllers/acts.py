"""Act: the outward steps of one VirtualServer's life. Each is idempotent; each learns into the server's memory.

Before every side effect stands what makes it safe to die right after it: the request and the attempt are stored before
the call, the provider id is recorded before anything else, a deletion is confirmed before the finalizer goes.
"""

from __future__ import annotations

import base64
import logging
import secrets
from collections.abc import Awaitable, Callable
from datetime import timedelta
from functools import partial
from typing import TypeVar

from moorage.api.names import (
    ANNOTATION_REVOKED,
    ANNOTATION_SERVER,
    ANNOTATION_STATE,
    API_VERSION,
    FINALIZER_SERVER,
    LABEL_SECRET,
    MANAGER_CONTROLLER,
    SECRET_KIND_SERVER,
    server_secret,
)
from moorage.controllers.adoption import rival_of
from moorage.controllers.context import Context
from moorage.controllers.failures import failure
from moorage.controllers.observation import Observed
from moorage.controllers.requests import Requests, required
from moorage.controllers.state import SecretState
from moorage.controllers.tables import Tables
from moorage.core.facts import RELEASED, Attempt, CallFailure, Lookup, LookupResult
from moorage.hosting.abilities import Retag
from moorage.hosting.contract import TAG_SERVER, CreateRequest
from moorage.hosting.errors import HostingError, NotFound
from moorage.kube.apply import add_finalizer, remove_finalizer
from moorage.kube.errors import AlreadyExists, Forbidden
from moorage.kube.errors import NotFound as NotFoundObject
from moorage.kube.kinds import SECRET, VIRTUAL_SERVER
from moorage.kube.store import Obj
from moorage.runtime.logs import fields
from moorage.runtime.service import ServiceConnection

log = logging.getLogger(__name__)
T = TypeVar("T")

LOOKUP_FRESH = timedelta(seconds=5)


class Acts:
    """The outward steps. Conflicts and other errors of the API server go through to the queue, which decides again."""

    def __init__(self, context: Context, tables: Tables) -> None:
        self._context = context
        self._tables = tables
        self.requests = Requests(context, tables)

    # Creating

    async def create(self, seen: Observed) -> bool:
        """Fix request and attempt by one exclusive POST, then call. True where the server is known now."""
        connection = required(seen)
        token = secrets.token_urlsafe(32)
        request = self.requests.new(seen, token)
        state = SecretState(
            attempts=(self._attempt(seen, connection),), request=self.requests.mark(seen, request.to_bytes())
        )
        if not await self._post_secret(seen, state, request, token):
            return False
        return await self._call_create(seen, connection, request, state.attempts[-1])

    async def create_again(self, seen: Observed, *, record: bool) -> bool:
        """Repeat the stored request, after recording a further attempt where one is due."""
        connection = required(seen)
        uid = seen.server.metadata.uid
        secret = await self._context.client.get(SECRET, seen.key[0], server_secret(uid))
        state = SecretState.of(secret)
        if seen.state is None or state.attempts != seen.state.attempts:
            # Another leader's last attempt, which was not known when this one was decided on.
            self._context.store.ingest(SECRET, secret)
            return False
        request = self.requests.stored(seen, secret, state)
        if request is None:
            message = f"the create request in Secret {uid} is not the one that was stored for this server"
            return self._refuse(seen, "RequestTampered", message, definite=False)
        if record:
            state = state.attempted(self._attempt(seen, connection))
            await self.write_secret(secret, state, {})
        else:
            self._context.store.ingest(SECRET, secret)
        # The first call of this process repeats one whose end nobody saw.
        seen.memory.unsure = seen.memory.unsure or seen.memory.tries == 0
        if await self._call_create(seen, connection, request, state.attempts[-1]):
            return True
        if seen.memory.unsure and not record and seen.memory.failure is not None and seen.memory.failure.terminal:
            # That the repetition was refused says nothing of the call before: with two attempts an inventory decides.
            await self.write_secret(secret, state.attempted(state.attempts[-1]), {})
        return False

    async def _call_create(
        self, seen: Observed, connection: ServiceConnection, request: CreateRequest, attempt: Attempt
    ) -> bool:
        began = seen.memory.knows_attempt(attempt, self._context.clock.monotonic())
        deadline = began + attempt.length.total_seconds()
        created = await self._try(seen, partial(connection.create, request, deadline))
        if created is None:
            seen.memory.unsure |= seen.memory.failure is not None and not seen.memory.failure.definite
            return False
        seen.memory.created = created
        log.info("the server exists", extra=fields(service=connection.name, providerID=created.provider_id))
        return True

    def _attempt(self, seen: Observed, connection: ServiceConnection) -> Attempt:
        now, steady = self._context.clock.now(), self._context.clock.monotonic()
        attempt = Attempt(now, now + timedelta(seconds=connection.backend.capabilities.create_timeout))
        seen.memory.knows_attempt(attempt, steady)
        return attempt

    async def close(self, seen: Observed) -> None:
        """Bar every later attempt for an object that goes away and never had one."""
        try:
            await self._post_secret(seen, SecretState(closed=True))
        except Forbidden as error:
            if not error.namespace_terminating:
                raise
            await self._barred(seen)

    async def _barred(self, seen: Observed) -> None:
        """In a namespace that is being deleted nobody can record an attempt: without a Secret there was none."""
        meta = seen.server.metadata
        try:
            secret = await self._context.client.get(SECRET, meta.namespace, server_secret(meta.uid))
        except NotFoundObject:
            await self.drop_finalizer(seen)
        else:
            self._context.store.ingest(SECRET, secret)

    async def _post_secret(
        self, seen: Observed, state: SecretState, request: CreateRequest | None = None, token: str = ""
    ) -> bool:
        """True where this call made the Secret; otherwise the one that exists is in the cache now."""
        meta = seen.server.metadata
        data = {} if request is None else {"request": _encode(request.to_bytes()), "token": _encode(token.encode())}
        body = {
            "metadata": {
                "name": server_secret(meta.uid),
                "namespace": meta.namespace,
                "labels": {LABEL_SECRET: SECRET_KIND_SERVER},
                "annotations": {ANNOTATION_SERVER: meta.name, ANNOTATION_STATE: state.encode()},
                # Foreground and namespace deletion would take the record of the attempts before the server is gone.
                "finalizers": [FINALIZER_SERVER],
                "ownerReferences": [owner_reference(seen.obj)],
            },
            "type": "Opaque",
            "data": data,
        }
        try:
            answer = await self._context.client.create(SECRET, body, manager=MANAGER_CONTROLLER)
        except AlreadyExists:
            answer = await self._context.client.get(SECRET, meta.namespace, server_secret(meta.uid))
            self._context.store.ingest(SECRET, answer)
            return False
        self._context.store.ingest(SECRET, answer)
        self._context.secret_written(answer)
        return True

    async def write_secret(self, secret: Obj, state: SecretState, data: dict[str, bytes]) -> None:
        """Patch the Secret ``<uid>``, guarded by the resourceVersion that the decision rests on. Raises Conflict."""
        meta = secret["metadata"]
        patch: Obj = {
            "metadata": {
                "resourceVersion": meta["resourceVersion"],
                "annotations": {ANNOTATION_STATE: state.encode()},
            }
        }
        if data:
            patch["data"] = {key: _encode(value) for key, value in data.items()}
        answer = await self._context.client.patch(
            SECRET, meta["namespace"], meta["name"], patch, manager=MANAGER_CONTROLLER
        )
        self._context.store.ingest(SECRET, answer)
        self._context.secret_written(answer)

    # Adopting

    async def claim(self, seen: Observed, provider_id: str) -> bool:
        """Take over an existing server unless it is somebody else's. True where it carries our identity now."""
        connection = required(seen)
        if not seen.facts.has_finalizer:
            # A person made the object without it; from here on it must not go before its server is dealt with.
            await add_finalizer(self._context.client, self._context.store, VIRTUAL_SERVER, seen.obj, FINALIZER_SERVER)
            return False
        lookup = await self._try(seen, partial(connection.ask, provider_id))
        if lookup is None:
            return False
        owner = lookup.seen.owner if lookup.seen is not None else None
        if lookup.result is LookupResult.NOT_FOUND:
            return self._refuse(seen, "AdoptNotFound", f"{connection.name} has no server {provider_id}")
        if owner not in {None, RELEASED, seen.facts.identity.owner}:
            return self._refuse(seen, "AdoptRefused", f"server {provider_id} belongs to another owner (see its tags)")
        if rival_of(self._tables, seen.server, provider_id):
            message = (
                f"server {provider_id} is another VirtualServer's: delete that one first (it is retained by default)"
            )
            return self._refuse(seen, "AdoptRefused", message)
        if owner == RELEASED and lookup.seen is not None and lookup.seen.namespace not in {None, seen.key[0]}:
            message = f"server {provider_id} was released by another namespace: take its tags off to give it away"
            return self._refuse(seen, "AdoptRefused", message)
        if not isinstance(connection.backend, Retag):
            return self._refuse(seen, "AdoptUnsupported", f"{connection.name} cannot write tags, so it cannot adopt")
        if seen.secret is None:
            token = secrets.token_urlsafe(32)
            await self._post_secret(seen, SecretState(), self.requests.new(seen, token), token)
        if owner != seen.facts.identity.owner:
            tags = self.requests.tags(seen)
            if await self._try(seen, partial(_done, partial(connection.retag, provider_id, tags))) is None:
                return False
            lookup = await self._try(seen, partial(connection.ask, provider_id))
        if lookup is None or lookup.seen is None or lookup.seen.owner != seen.facts.identity.owner:
            return False
        seen.memory.lookup, seen.memory.created = lookup, lookup.seen
        return True

    def _refuse(self, seen: Observed, reason: str, message: str, *, definite: bool = True) -> bool:
        seen.memory.failure = CallFailure(reason, message, terminal=True, definite=definite)
        return False

    # Deleting

    async def revoke(self, seen: Observed) -> None:
        """Take the token and the configuration out of the Secret, and say so to configd. Raises Conflict."""
        assert seen.secret is not None  # noqa: S101 - the decision has looked
        meta = seen.secret["metadata"]
        patch: Obj = {
            "metadata": {"resourceVersion": meta["resourceVersion"], "annotations": {ANNOTATION_REVOKED: "true"}},
            "data": {"token": None, "configuration": None, "values": None},
        }
        answer = await self._context.client.patch(
            SECRET, meta["namespace"], meta["name"], patch, manager=MANAGER_CONTROLLER
        )
        self._context.store.ingest(SECRET, answer)
        self._context.secret_written(answer)

    async def ask(self, seen: Observed, provider_id: str) -> None:
        """Learn what the service says of one server."""
        connection = required(seen)
        lookup = await self._try(seen, partial(connection.ask, provider_id))
        if lookup is not None:
            seen.memory.lookup = lookup

    async def destroy(self, seen: Observed, provider_ids: tuple[str, ...]) -> None:
        """Delete servers, each only while it carries our identity."""
        connection = required(seen)
        for provider_id in provider_ids:
            lookup = self._fresh(seen, provider_id) or await self._try(seen, partial(connection.ask, provider_id))
            if lookup is None:
                return
            if lookup.seen is None or lookup.seen.owner != seen.facts.identity.owner:
                seen.memory.lookup = lookup
                continue
            gone = await self._try(seen, partial(_done, partial(connection.delete, provider_id)))
            if gone is None:
                return
            now = self._context.clock.now()
            seen.memory.lookup, seen.memory.deleted_at = lookup, now
            seen.memory.asked_since = seen.memory.asked_since or now
            log.info("the server is being deleted", extra=fields(service=connection.name, providerID=provider_id))

    def _fresh(self, seen: Observed, provider_id: str) -> Lookup | None:
        lookup = seen.memory.lookup
        if lookup is None or lookup.seen is None or lookup.seen.provider_id != provider_id:
            return None
        return lookup if timedelta(0) <= self._context.clock.now() - lookup.at < LOOKUP_FRESH else None

    async def release(self, seen: Observed, provider_id: str) -> None:
        """Rewrite the owner to ``released`` and look whether it is so."""
        connection = required(seen)
        lookup = self._fresh(seen, provider_id) or await self._try(seen, partial(connection.ask, provider_id))
        if lookup is None:
            return
        seen.memory.lookup = lookup
        if lookup.seen is None or lookup.seen.owner != seen.facts.identity.owner:
            return
        tags = {TAG_SERVER: RELEASED}
        if await self._try(seen, partial(_done, partial(connection.retag, provider_id, tags))) is not None:
            await self.ask(seen, provider_id)

    async def drop_finalizer(self, seen: Observed) -> None:
        """Let the object go, after the Secret that records its attempts. Raises Conflict."""
        store, client = self._context.store, self._context.client
        self._note_released(seen)
        if seen.secret is not None:
            await release_secret(self._context, seen.secret)
        if await remove_finalizer(client, store, VIRTUAL_SERVER, seen.obj, FINALIZER_SERVER):
            store.table(VIRTUAL_SERVER).removed(seen.server.metadata.uid)

    def _note_released(self, seen: Observed) -> None:
        """Without its object it still costs: it is counted before that goes."""
        lookup, connection = seen.memory.lookup, seen.connection
        if connection is not None and lookup is not None and lookup.seen is not None and lookup.seen.owner == RELEASED:
            connection.released.note(lookup.seen, seen.server.spec.offering, self._context.clock.monotonic())

    async def release_abandoned(self, key: tuple[str, str], uid: str) -> None:
        """Let the Secret of a VirtualServer go that is itself gone without us, if it really is. Raises Conflict."""
        namespace, name = key
        try:
            server = await self._context.client.get(VIRTUAL_SERVER, namespace, name)
            if server["metadata"]["uid"] == uid:
                return
        except NotFoundObject:
            pass
        try:
            secret = await self._context.client.get(SECRET, namespace, server_secret(uid))
        except NotFoundObject:
            return
        await release_secret(self._context, secret)

    # How

    async def _try(self, seen: Observed, call: Callable[[], Awaitable[T]]) -> T | None:
        """The result, or None with the typed failure remembered and the next try spaced."""
        try:
            result = await call()
        except HostingError as error:
            self._remember(seen, error)
            return None
        seen.memory.failure, seen.memory.tries = None, 0
        return result

    def _remember(self, seen: Observed, error: HostingError) -> None:
        memory, now = seen.memory, self._context.clock.now()
        memory.tries += 1
        memory.failure, memory.failed_at = failure(error, memory.tries, now), now
        log.info("%s", error.message, extra=fields(reason=error.reason, tries=memory.tries))


async def release_secret(context: Context, secret: Obj) -> None:
    """Let the Secret of a server's attempts go: nothing of it is left, or its object is gone. Raises Conflict."""
    if await remove_finalizer(context.client, context.store, SECRET, secret, FINALIZER_SERVER):
        context.store.table(SECRET).removed(secret["metadata"]["uid"])


def owner_reference(obj: Obj) -> Obj:
    """Makes an object go with the VirtualServer, without holding its deletion up."""
    meta = obj["metadata"]
    return {
        "apiVersion": API_VERSION,
        "kind": VIRTUAL_SERVER.kind,
        "name": meta["name"],
        "uid": meta["uid"],
        "controller": True,
        "blockOwnerDeletion": False,
    }


async def _done(call: Callable[[], Awaitable[None]]) -> bool:
    try:
        await call()
    except NotFound:
        return True
    return True


def _encode(value: bytes) -> str:
    return base64.b64encode(value).decode()
