"""The requests of the configuration channel (docs/channel.md)."""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import logging
import re
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import TypeVar

from aiohttp import web
from pydantic import ValidationError

from moorage.api import channel
from moorage.configd.admission import admit
from moorage.configd.connections import ConnectionGuard
from moorage.configd.directory import Directory, ServerKey
from moorage.configd.limits import Buckets
from moorage.configd.metrics import Metrics
from moorage.configd.ports import Cluster, Reporter
from moorage.configd.recorder import OlderState, Recorder, ServerGone
from moorage.configd.secrets import ServerSecret, Session, read_document, session_manifest
from moorage.kube.errors import AlreadyExists, ApiError, Forbidden
from moorage.kube.kinds import SECRET
from moorage.kube.lanes import Lane, current_lane

log = logging.getLogger(__name__)
M = TypeVar("M", bound=channel.Wire)

BODY_SECONDS = 20.0
MAX_POLLS = 8
"""Long polls of one server at a time: its agent has one, and its connections of before a cut may linger."""
_BEARER = re.compile(r"^Bearer ([a-z0-9-]{1,63}/[A-Za-z0-9-]{1,64}):([A-Za-z0-9._~-]{16,200})$")
_ETAG = re.compile(r'^(?:W/)?"([0-9]{1,15})"$')


class Refusal(Exception):
    """An answer other than the one that was asked for."""

    def __init__(self, status: int, reason: str, message: str, retry_after: int = 0) -> None:
        super().__init__(message)
        self.status, self.reason, self.message, self.retry_after = status, reason, message, retry_after

    def answer(self) -> web.Response:
        """The HTTP answer."""
        body = channel.ErrorAnswer(reason=self.reason, message=self.message).to_json()
        headers = {"Retry-After": str(self.retry_after)} if self.retry_after else None
        return web.Response(status=self.status, body=body, content_type="application/json", headers=headers)


@dataclass(slots=True)
class Shown:
    """What the unauthenticated paths give out."""

    bundle: bytes
    agent: bytes
    digest: str = ""

    def __post_init__(self) -> None:
        self.show(self.bundle)

    def show(self, bundle: bytes) -> None:
        """Announce another bundle of roots."""
        self.bundle = bundle
        self.digest = hashlib.sha256(bundle).hexdigest()


class Channel:
    """The handlers. Every refusal has a reason for machines, a message for people, and no secret."""

    def __init__(
        self, cluster: Cluster, directory: Directory, reporter: Reporter, metrics: Metrics, shown: Shown
    ) -> None:
        self.guard: ConnectionGuard | None = None
        self.problem = ""
        """Why this replica should not be used; empty where it should."""
        self.stopping = False
        self._cluster = cluster
        self._directory = directory
        self._reporter = reporter
        self._metrics = metrics
        self._shown = shown
        self._recorder = Recorder(cluster, directory, reporter)
        self._strangers = Buckets(burst=50, per_second=1, clock=time.monotonic)
        self._joins = Buckets(burst=20, per_second=0.5, clock=time.monotonic)
        # Each post may have every dependent rendered again: quick for a while, as a life begins, but not for ever.
        self._posts = Buckets(burst=40, per_second=10, clock=time.monotonic)
        self._lasting_posts = Buckets(burst=600, per_second=2, clock=time.monotonic)
        self._polls = Buckets(burst=100, per_second=10, clock=time.monotonic)
        # Questions to the API server: about names that nobody knows, of all sources together, and of one server's.
        self._unknown = Buckets(burst=200, per_second=50, clock=time.monotonic)
        self._asks = Buckets(burst=20, per_second=1, clock=time.monotonic)

    def application(self) -> web.Application:
        """The aiohttp application."""
        app = web.Application(middlewares=[self._edge], client_max_size=channel.MAX_STATE_BYTES + 1)
        app.router.add_get(channel.PATH_HEALTH, self.health)
        app.router.add_get(channel.PATH_CA, self.roots)
        app.router.add_get(channel.PATH_AGENT, self.agent)
        app.router.add_post(channel.PATH_JOIN, self.join)
        app.router.add_get(channel.PATH_CONFIGURATION, self.configuration)
        app.router.add_post(channel.PATH_STATE, self.state)
        return app

    # Unauthenticated

    async def health(self, _request: web.Request) -> web.Response:
        """200 where this replica can serve agents, else 503 and why."""
        return web.Response(status=503 if self.problem else 200, text=self.problem or "ok")

    async def roots(self, _request: web.Request) -> web.Response:
        """The root CAs, the present one first."""
        return web.Response(body=self._shown.bundle, content_type="application/x-pem-file")

    async def agent(self, _request: web.Request) -> web.Response:
        """The agent."""
        return web.Response(body=self._shown.agent, content_type="application/zip")

    async def join(self, request: web.Request) -> web.Response:
        """Bind an agent's key to a server, once."""
        asked = self._read(channel.JoinRequest, await self._body(request, channel.MAX_JOIN_BYTES))
        key = self._key(asked.server)
        server = await self._known(request, key)
        token = hashlib.sha256(asked.token.encode("utf-8", "surrogatepass")).digest()
        if not hmac.compare_digest(token, server.token_digest):
            self._strangers.take(request.remote)
            raise Refusal(401, "Unauthorized", "unknown server, or not its join token")
        # Only now: who does not hold the token must not use up the tries of who does.
        if not self._joins.take(key):
            raise Refusal(429, "TooManyRequests", "this server joins too often", retry_after=5)
        self._trust(request, key)
        session, made = await self._burn(key, server, asked.key_hash)
        if not hmac.compare_digest(session.key_hash.encode(), asked.key_hash.encode()):
            log.warning("%s/%s: the join token was presented again with another key", server.namespace, server.name)
            self._reporter.token_replayed(server.namespace, server.name, server.uid)
            self._metrics.joins.labels("replayed").inc()
            message = "the join token was used with another key; a server that lost its key has to be replaced"
            raise Refusal(409, "TokenUsed", message)
        if made:
            self._reporter.joined(server.namespace, server.name, server.uid)
        self._metrics.joins.labels("first" if made else "again").inc()
        return _json(channel.JoinAnswer(server=asked.server).to_json())

    async def _burn(self, key: ServerKey, server: ServerSecret, key_hash: str) -> tuple[Session, bool]:
        """Create the session; where it exists, that one. The flag tells whether it was created now."""
        session = self._directory.cached_session(key)
        if session is not None:
            return session, False
        made = True
        current_lane.set(Lane.HOT)
        try:
            answer = await self._cluster.create(SECRET, session_manifest(server, key_hash))
            self._directory.table.ingest(answer)
        except AlreadyExists:
            made = False
        except Forbidden as error:
            if error.namespace_terminating:
                raise Refusal(410, "Gone", "the server is being deleted") from None
            raise
        session = await self._directory.session(key)
        if session is None:
            raise Refusal(410, "Gone", "the server is being deleted")
        return session, made

    # With the agent's key

    async def configuration(self, request: web.Request) -> web.Response:
        """The configuration, as soon as its revision is unequal to the agent's."""
        wait = _wait(request.query.get("wait", "0"))
        key = await self._authorised(request)
        if not self._polls.take(key) or self._directory.waiting_for(key) >= MAX_POLLS:
            raise Refusal(429, "TooManyRequests", "this server asks for its configuration too often", retry_after=2)
        match = _ETAG.match(request.headers.get("If-None-Match", ""))
        have = int(match[1]) if match else 0
        end = time.monotonic() + wait
        asked = False
        while not self.stopping:
            server = await self._directory.server(key)
            if server is None:
                raise self._missing(key)
            if server.revision < have and not asked:
                # The cache may lag behind the replica that served the agent before.
                asked = True
                self._may_ask(key)
                server = await self._directory.ask_server(key) or server
            if server.revision and server.revision != have:
                self._metrics.configurations.inc()
                headers = {"ETag": f'"{server.revision}"', channel.HEADER_CA: self._shown.digest}
                return web.Response(body=server.document, content_type="application/json", headers=headers)
            left = end - time.monotonic()
            if left <= 0:
                break
            await self._directory.changed(key, left)
        headers = {channel.HEADER_CA: self._shown.digest}
        if have:
            headers["ETag"] = f'"{have}"'
        return web.Response(status=304, headers=headers)

    async def state(self, request: web.Request) -> web.Response:
        """Record all that an agent has to say."""
        began = time.perf_counter()
        key = await self._authorised(request)
        if not (self._posts.take(key) and self._lasting_posts.take(key)):
            raise Refusal(429, "TooManyRequests", "this server posts its state too often", retry_after=2)
        report = self._read(channel.StateReport, await self._body(request, channel.MAX_STATE_BYTES))
        server = await self._directory.server(key)
        claimed = max(report.delivered_revision, report.acknowledged_revision)
        if server is not None and claimed > server.revision:
            self._may_ask(key)
            server = await self._directory.ask_server(key)
        if server is None:
            raise self._missing(key)
        session = await self._directory.session(key)
        document = read_document(server.document) if server.document else None
        admitted = admit(report, document, server.revision, session.joined_at if session else "")
        try:
            # Shielded: what is recorded and what this replica knows of it must not part when an agent hangs up.
            recording = asyncio.ensure_future(self._recorder.record(server, admitted))
            recording.add_done_callback(lambda done: done.cancelled() or done.exception())
            await asyncio.shield(recording)
        except OlderState as older:
            self._metrics.states.labels("older").inc()
            message = f"state {older.known} is recorded already; go on from there"
            body = channel.SequenceConflict(sequence=older.known, message=message).to_json()
            return _json(body, status=409)
        except ServerGone:
            raise Refusal(410, "Gone", "the server is deleted") from None
        for problem in admitted.problems:
            self._metrics.problems.labels(problem.reason).inc()
        self._metrics.states.labels("recorded").inc()
        self._metrics.store_seconds.observe(time.perf_counter() - began)
        answer = _json(channel.StateAnswer(problems=admitted.problems).to_json())
        answer.headers[channel.HEADER_CA] = self._shown.digest
        return answer

    async def _authorised(self, request: web.Request) -> ServerKey:
        """The server whose agent this is. Raises Refusal."""
        match = _BEARER.match(request.headers.get(channel.AUTHORIZATION, ""))
        if match is None or (parts := channel.split_server(match[1])) is None:
            raise Refusal(401, "Unauthorized", "an Authorization header `Bearer <server>:<key>` is needed")
        session = self._directory.cached_session(parts)
        if session is None:
            await self._known(request, parts)
            self._may_ask(parts)
            session = await self._directory.session(parts)
        digest = hashlib.sha256(match[2].encode()).hexdigest()
        if session is None or not hmac.compare_digest(digest.encode(), session.key_hash.encode()):
            self._strangers.take(request.remote)
            raise Refusal(401, "Unauthorized", "not the key of this server's agent")
        self._trust(request, parts)
        return parts

    def _trust(self, request: web.Request, key: ServerKey) -> None:
        if self.guard is not None:
            self.guard.trust(request, key)

    async def _known(self, request: web.Request, key: ServerKey) -> ServerSecret:
        """The server of that name. A source of many wrong names is not worth a question to the API server."""
        server = self._directory.cached_server(key)
        limited = False
        if server is None and not self._directory.is_gone(key) and self._strangers.has(request.remote):
            limited = not self._unknown.take("")
            server = None if limited else await self._directory.ask_server(key)
        if server is None:
            limited = not self._strangers.take(request.remote) or limited
            if self._directory.is_gone(key):
                raise self._missing(key)
            if limited:
                raise Refusal(429, "TooManyRequests", "too many requests that were refused", retry_after=10)
            raise Refusal(401, "Unauthorized", "unknown server, or not its join token")
        return server

    def _may_ask(self, key: ServerKey) -> None:
        """Bound what one server's agent, or somebody in its name, has the API server asked. Raises Refusal."""
        if not self._asks.take(key):
            raise Refusal(429, "TooManyRequests", "what this server says has to be looked up too often", retry_after=2)

    def _missing(self, key: ServerKey) -> Refusal:
        if self._directory.is_gone(key):
            return Refusal(410, "Gone", "the server is deleted")
        return Refusal(401, "Unauthorized", "unknown server")

    # How

    @staticmethod
    def _key(server: str) -> ServerKey:
        parts = channel.split_server(server)
        if parts is None:
            raise Refusal(422, "Invalid", "server: not <namespace>/<uid>")
        return parts

    @staticmethod
    async def _body(request: web.Request, limit: int) -> bytes:
        """The body, within its limits of size and time."""
        message = f"the body has more than {limit} bytes"
        if (request.content_length or 0) > limit:
            raise Refusal(413, "TooLarge", message)
        try:
            async with asyncio.timeout(BODY_SECONDS):
                body = await request.read()
        except TimeoutError:
            raise Refusal(408, "TooSlow", f"the body took more than {BODY_SECONDS:g} s") from None
        except web.HTTPRequestEntityTooLarge:
            raise Refusal(413, "TooLarge", message) from None
        if len(body) > limit:
            raise Refusal(413, "TooLarge", message)
        return body

    @staticmethod
    def _read(model: type[M], body: bytes) -> M:
        try:
            return model.model_validate_json(body)
        except ValidationError as error:
            problems = error.errors(include_url=False, include_context=False, include_input=False)
            told = "; ".join(f"{'.'.join(map(str, p['loc'])) or 'body'}: {p['msg']}" for p in problems[:5])
            raise Refusal(422, "Invalid", told) from None

    @web.middleware
    async def _edge(
        self, request: web.Request, handler: Callable[[web.Request], Awaitable[web.StreamResponse]]
    ) -> web.StreamResponse:
        """Turn what goes wrong into answers; tell the guard of the connection."""
        if self.guard is not None:
            self.guard.begin(request)
        try:
            return await handler(request)
        except Refusal as refusal:
            return self._refused(refusal)
        except web.HTTPException as error:
            return self._refused(Refusal(error.status, error.reason.replace(" ", ""), error.reason))
        except ApiError as error:
            log.warning("%s: the API server did not serve it: %s", request.path, error)
            return self._refused(Refusal(503, "Unavailable", "the API server does not answer", retry_after=1))
        finally:
            if self.guard is not None:
                self.guard.end(request)

    def _refused(self, refusal: Refusal) -> web.Response:
        self._metrics.rejects.labels(refusal.reason).inc()
        return refusal.answer()


def _wait(text: str) -> float:
    if not re.fullmatch(r"[0-9]{1,6}(\.[0-9]{1,6})?", text, re.ASCII):
        raise Refusal(400, "BadRequest", "wait: a number of seconds")
    return min(float(text), float(channel.MAX_WAIT_SECONDS))


def _json(body: bytes, status: int = 200) -> web.Response:
    return web.Response(status=status, body=body, content_type="application/json")
