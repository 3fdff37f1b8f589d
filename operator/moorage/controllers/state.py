"""The annotation `moorage.dev/state` of the Secret `<uid>`: attempts and deliveries, nothing sensitive.

It is what lets a controller that was just started know, from metadata alone, what was tried and what was delivered.
"""

from __future__ import annotations

import hashlib
import hmac
import json
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any

from moorage.api.names import ANNOTATION_STATE
from moorage.core.configuration import DeliveryRecord
from moorage.core.facts import Attempt, SecretFacts

KEPT_ATTEMPTS = 5


@dataclass(frozen=True, slots=True)
class SecretState:
    """What the annotation holds. ``closed`` bars every attempt; ``request`` is the mark of what they ask for."""

    attempts: tuple[Attempt, ...] = ()
    closed: bool = False
    request: str = ""
    delivery: DeliveryRecord = field(default_factory=DeliveryRecord)

    def attempted(self, attempt: Attempt) -> SecretState:
        """The state with one more attempt; the latest few tell all that decisions need."""
        return replace(self, attempts=(*self.attempts, attempt)[-KEPT_ATTEMPTS:])

    def facts(self) -> SecretFacts:
        """As decisions see it."""
        return SecretFacts(self.attempts, self.closed, revision=self.delivery.revision)

    def encode(self) -> str:
        """Compact JSON."""
        whole: dict[str, Any] = {
            "attempts": [[a.time.isoformat(), a.deadline.isoformat()] for a in self.attempts],
            "delivery": self.delivery.to_object(),
        }
        if self.closed:
            whole["closed"] = True
        if self.request:
            whole["request"] = self.request
        return json.dumps(whole, separators=(",", ":"))

    @classmethod
    def of(cls, secret: Mapping[str, Any]) -> SecretState:
        """Read it from a Secret's metadata.

        Raises ValueError where it does not parse: attempts that cannot be read must not count as none.
        """
        text = (secret["metadata"].get("annotations") or {}).get(ANNOTATION_STATE)
        if text is None:
            raise ValueError(f"the annotation {ANNOTATION_STATE} is missing")
        try:
            whole = json.loads(text)
            attempts = tuple(Attempt(_moment(time), _moment(deadline)) for time, deadline in whole["attempts"])
            closed, delivery = bool(whole.get("closed")), whole.get("delivery", {})
        except (AttributeError, KeyError, TypeError, ValueError, OverflowError, RecursionError):
            raise ValueError(f"the annotation {ANNOTATION_STATE} is damaged") from None
        return cls(attempts, closed, str(whole.get("request", "")), DeliveryRecord.from_object(delivery))


def tried_since(secret: Mapping[str, Any] | None) -> datetime | None:
    """Since when a server has been asked for, from the metadata of its Secret; None where it never was.

    The Secret is posted with the first attempt, so its age is that of the attempt, by the API server's clock, however
    many came after it. A record that cannot be read must not count as none.
    """
    if secret is None:
        return None
    try:
        tried = bool(SecretState.of(secret).attempts)
    except ValueError:
        tried = True
    return datetime.fromisoformat(secret["metadata"]["creationTimestamp"]) if tried else None


def request_mark(key: bytes, uid: str, request: bytes) -> str:
    """What a create request stored for the VirtualServer ``uid`` is known again by; only this installation can make it.

    Who may write Secrets of a namespace must not have other servers made, nor other user-data run on them as root.
    """
    return hmac.new(key, b"request\0" + uid.encode() + b"\0" + request, hashlib.sha256).hexdigest()


def _moment(text: str) -> datetime:
    """Raises ValueError for anything but a time with its zone."""
    moment = datetime.fromisoformat(text)
    if moment.tzinfo is None:
        raise ValueError("a time without a zone")
    return moment
