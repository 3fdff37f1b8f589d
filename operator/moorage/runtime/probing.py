"""Asking what a condition `metric` or `webhook` asks, once."""

from __future__ import annotations

import base64
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import Final
from urllib.parse import urlencode

from moorage.api.probes import MetricQuery, Webhook
from moorage.core.policy.answers import Answer, unknown
from moorage.core.policy.metric import judge_metric, query_form, query_url
from moorage.core.policy.webhook import MAX_ANSWER, MIN_KEY, SIGNATURE_HEADER, judge_webhook, question, signature
from moorage.runtime.clock import Clock
from moorage.runtime.outbound import NotAnswered, Outbound, Request

METRIC_LIMIT: Final = 256 * 1024
"""Most bytes of a Prometheus's answer: one number takes less than one kilobyte, some hundred series may be told."""


@dataclass(frozen=True, slots=True)
class Question:
    """What a condition asks. The uid makes the policies of one name that follow each other different."""

    namespace: str
    policy: str
    uid: str
    condition: str
    probe: MetricQuery | Webhook

    @property
    def interval(self) -> timedelta:
        """How often it is asked."""
        return self.probe.interval

    @property
    def secret(self) -> str | None:
        """The Secret that it needs, in the policy's namespace."""
        match self.probe:
            case Webhook(signing_secret_ref=ref):
                return ref.name
            case MetricQuery(credentials_secret_ref=ref):
                return None if ref is None else ref.name


class SecretUnusable(Exception):
    """A Secret that is not there or not allowed, in words that a user can act on."""

    def __init__(self, reason: str, message: str) -> None:
        super().__init__(message)
        self.reason, self.message = reason, message


Secrets = Callable[[str, str], Awaitable[Mapping[str, bytes]]]
"""Gives the content of a Secret (namespace, name) that allows it. Raises SecretUnusable."""


class Asker:
    """Asks questions. Whatever happens becomes an answer."""

    def __init__(self, outbound: Outbound, secrets: Secrets, clock: Clock) -> None:
        self._outbound, self._secrets, self._clock = outbound, secrets, clock

    async def ask(self, asked: Question) -> Answer:
        """One answer."""
        try:
            secret = await self._secrets(asked.namespace, asked.secret) if asked.secret is not None else {}
            match asked.probe:
                case MetricQuery() as metric:
                    return await self._ask_metric(metric, secret, asked.secret)
                case Webhook() as webhook:
                    return await self._ask_webhook(webhook, asked, secret)
        except SecretUnusable as problem:
            return unknown(problem.reason, problem.message)
        except NotAnswered as problem:
            return unknown(problem.reason, problem.message, by_target=problem.by_target)

    async def _ask_metric(self, metric: MetricQuery, secret: Mapping[str, bytes], name: str | None) -> Answer:
        headers = {"Content-Type": "application/x-www-form-urlencoded", "Accept": "application/json"}
        if name is not None:
            headers["Authorization"] = _authorization(secret, name)
        reply = await self._outbound.post(
            Request(
                url=query_url(metric),
                headers=headers,
                body=urlencode(query_form(metric)).encode(),
                ca=metric.ca_bundle,
                seconds=metric.timeout.total_seconds(),
                limit=METRIC_LIMIT,
            )
        )
        return judge_metric(metric, reply.status, reply.body)

    async def _ask_webhook(self, webhook: Webhook, asked: Question, secret: Mapping[str, bytes]) -> Answer:
        key, now = secret.get("key", b""), self._clock.now()
        if len(key) < MIN_KEY:
            message = f"the Secret {asked.secret!r} has no `key` of at least {MIN_KEY} bytes"
            raise SecretUnusable("SecretInvalid", message)
        body = question(asked.policy, asked.namespace, asked.uid, asked.condition, now)
        reply = await self._outbound.post(
            Request(
                url=webhook.url,
                headers={
                    "Content-Type": "application/json",
                    "Accept": "application/json",
                    SIGNATURE_HEADER: signature(key, body, now),
                },
                body=body,
                ca=webhook.ca_bundle,
                seconds=webhook.timeout.total_seconds(),
                limit=MAX_ANSWER,
            )
        )
        return judge_webhook(reply.status, reply.content_type, reply.body)


def _authorization(secret: Mapping[str, bytes], name: str) -> str:
    """The header of a bearer token, or of a user with a password."""
    token = secret.get("token", b"").strip()
    username, password = secret.get("username", b""), secret.get("password", b"")
    if bool(token) == bool(username):
        message = f"the Secret {name!r} needs either the key `token`, or `username` and `password`"
        raise SecretUnusable("SecretInvalid", message)
    if not token:
        return f"Basic {base64.b64encode(username + b':' + password).decode()}"
    if not all(33 <= byte <= 126 for byte in token):
        raise SecretUnusable("SecretInvalid", f"the `token` of the Secret {name!r} has characters that no header takes")
    return f"Bearer {token.decode('ascii')}"
