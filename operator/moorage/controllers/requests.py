"""The request that creates one server: fixed once, stored before the first call, and repeated to the letter."""

from __future__ import annotations

import base64
import hmac
from collections.abc import Mapping
from typing import Any

from moorage.configd.userdata import render_user_data
from moorage.controllers.context import Context
from moorage.controllers.observation import Observed
from moorage.controllers.state import SecretState, request_mark
from moorage.controllers.tables import Tables
from moorage.hosting.contract import CreateRequest, identity_tags
from moorage.hosting.errors import Invalid
from moorage.hosting.registry import backend
from moorage.kube.store import Obj
from moorage.runtime.service import ServiceConnection


class Requests:
    """Makes requests and knows its own again."""

    def __init__(self, context: Context, tables: Tables) -> None:
        self._context = context
        self._tables = tables

    def stored(self, seen: Observed, secret: Obj, state: SecretState) -> CreateRequest | None:
        """The request as it was stored; None where it is another one, or none."""
        try:
            stored = base64.b64decode((secret.get("data") or {})["request"], validate=True)
            ours = hmac.compare_digest(state.request.encode(), self.mark(seen, stored).encode())
            return CreateRequest.from_bytes(stored) if ours else None
        except (KeyError, ValueError, Invalid):
            return None

    def mark(self, seen: Observed, request: bytes) -> str:
        """What tells this request from any that somebody else put into its place."""
        return request_mark(self._context.installation.hmac_key, seen.server.metadata.uid, request)

    def new(self, seen: Observed, token: str) -> CreateRequest:
        """The request for a server that shows ``token`` when it joins."""
        server, meta = seen.server, seen.server.metadata
        return CreateRequest(
            key=seen.facts.identity.key,
            name=meta.name,
            image=server.spec.image or "",
            offering=server.spec.offering or "",
            settings=self._settings(seen),
            user_data=self._user_data(seen, token),
            tags=self.tags(seen),
        )

    def _settings(self, seen: Observed) -> Mapping[str, Any]:
        """The server's settings, with what the service's own add to them today: both are fixed by the request."""
        own, service = seen.server.spec.settings, self._tables.services.parsed(None, seen.server.spec.service_ref.name)
        if service is None:
            return own
        try:
            return backend(service.spec.type).complete(service.spec.settings, seen.facts.identity.key, own)
        except Invalid:
            return own  # the creation is refused for the same reason, and says so

    def _user_data(self, seen: Observed, token: str) -> str:
        service = self._tables.services.parsed(None, seen.server.spec.service_ref.name)
        endpoint = (
            service.spec.config_endpoint if service is not None else None
        ) or self._context.channel.default_endpoint
        server = f"{seen.server.metadata.namespace}/{seen.server.metadata.uid}"
        return render_user_data([endpoint], self._context.channel.pin, server, token)

    def tags(self, seen: Observed) -> dict[str, str]:
        """The identity tags of a server."""
        meta, connection = seen.server.metadata, required(seen)
        return identity_tags(self._context.installation.id, meta.namespace, connection.uid, meta.uid)


def required(seen: Observed) -> ServiceConnection:
    if seen.connection is None:
        raise RuntimeError("a step of a server needs a connection to its service")
    return seen.connection
