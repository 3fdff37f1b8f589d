"""The condition `webhook`: the signed question, and what the answer means."""

from __future__ import annotations

import hashlib
import hmac
import json
from datetime import UTC, datetime
from typing import Any, Final

from pydantic import BaseModel, ConfigDict, ValidationError

from moorage.core.policy.answers import Answer, readable, unknown

SIGNATURE_HEADER: Final = "Moorage-Signature"
MIN_KEY: Final = 16
MAX_ANSWER: Final = 64 * 1024


def question(policy: str, namespace: str, uid: str, condition: str, now: datetime) -> bytes:
    """The body of the POST."""
    time = now.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    document = {"policy": policy, "namespace": namespace, "uid": uid, "condition": condition, "time": time}
    return json.dumps(document, separators=(",", ":")).encode()


def signature(key: bytes, body: bytes, now: datetime) -> str:
    """The header: the time in it is signed, too, so that an old question cannot be asked again."""
    time = str(int(now.timestamp()))
    digest = hmac.new(key, f"{time}.".encode() + body, hashlib.sha256).hexdigest()
    return f"t={time},v1={digest}"


class _Said(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True, hide_input_in_errors=True)

    met: bool
    message: str = ""


def judge_webhook(status: int, content_type: str, body: bytes) -> Answer:
    """What an answer says. Never raises; whatever is not exactly the answer that was asked for is unknown."""
    if 300 <= status < 400:
        return unknown("WebhookRedirected", f"it answers with a redirect (status {status}), which is not followed")
    if status != 200:
        return unknown("WebhookHTTPError", f"it answers with status {status}; it has to answer with 200")
    if content_type.partition(";")[0].strip().lower() != "application/json":
        return unknown("AnswerInvalid", "the answer's Content-Type is not application/json")
    try:
        said = _Said.model_validate(json.loads(body, object_pairs_hook=_distinct))
    except (ValueError, RecursionError) as error:
        return unknown("AnswerInvalid", f'the answer is not {{"met": true|false, "message": "..."}}{_field(error)}')
    words = f": {readable(said.message)}" if said.message else ""
    if said.met:
        return Answer(True, "WebhookTrue", f"the endpoint says yes{words}")
    return Answer(False, "WebhookFalse", f"the endpoint says no{words}")


def _distinct(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """Of a key that is there twice, some readers take the first and some the last."""
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("a key is there twice")
    return found


def _field(error: Exception) -> str:
    """Which field is wrong, never what it holds."""
    if not isinstance(error, ValidationError):
        return ""
    first = error.errors(include_input=False, include_url=False, include_context=False)[0]
    if not first["loc"]:
        return ""
    if first["type"] == "extra_forbidden":
        return "; it has another field"
    return f"; {first['loc'][0]}: {first['msg']}"
