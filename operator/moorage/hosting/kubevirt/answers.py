"""What the API server's refusals mean, in the contract's errors.

The API server answers with a `Status` object; its `reason` is typed, and only that is believed: a 404 without one may
come from any proxy on the way, or from a cluster without KubeVirt.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from moorage.hosting.errors import (
    AuthenticationError,
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

CLUSTER = "an API server of Kubernetes with KubeVirt"
"""Whose endpoint it has to be."""
_FIELDS = (
    ("spec.instancetype", "offering"),
    ("spec.preference", "settings.preference"),
    ("spec.template.spec.volumes", "image"),
    ("spec.dataVolumeTemplates", "image"),
    ("spec.template.spec.domain.memory", "offering"),
    ("spec.template.spec.domain.cpu", "offering"),
    ("spec.template.spec.networks", "settings.network"),
    ("spec.template.spec.nodeSelector", "settings.nodeSelector"),
    ("spec.template.spec.hostname", "name"),
    ("metadata.labels", "tags"),
    ("metadata.name", "key"),
)


def parsed(answer: Answer, what: str) -> dict[str, Any]:
    """The JSON object of a successful answer. Raises Unavailable where it is none."""
    try:
        found = json.loads(answer.raw)
    except (ValueError, RecursionError):
        found = None
    if not isinstance(found, dict):
        raise Unavailable(f"{what}: {stranger(CLUSTER)}")
    return found


def status_of(answer: Answer) -> Mapping[str, Any]:
    """The Status object of a refusal, empty where there is none."""
    try:
        found = json.loads(answer.raw)
    except (ValueError, RecursionError):
        return {}
    return found if isinstance(found, dict) and found.get("kind") == "Status" else {}


def reason_of(answer: Answer) -> str:
    """The typed reason of a refusal, "" where there is none."""
    return str(status_of(answer).get("reason") or "")


def refusal(answer: Answer, what: str, namespace: str) -> HostingError:
    """The error that an answer other than success stands for."""
    status, reason = status_of(answer), reason_of(answer)
    message = str(status.get("message") or f"status {answer.status}")
    text = f"{what}: {message}"
    details = status.get("details") or {}
    match answer.status, reason:
        case 401, _:
            return AuthenticationError(f"{what}: the cluster does not know these credentials")
        case 403, "Forbidden" if "exceeded quota" in message:
            # The quota's admission has no reason of its own: its message has begun so since Kubernetes 1.0.
            return QuotaError(text)
        case 403, _ if "is forbidden: unable to create new content in namespace" in message:
            return Invalid(f"{what}: namespace {namespace} is being deleted", field="project")
        case 403, _:
            return AuthenticationError(text)
        case 404, "NotFound" if details.get("kind") == "namespaces":
            return Invalid(f"{what}: there is no namespace {namespace}: create it", field="project")
        case 404, "NotFound" if details.get("name"):
            return NotFound(text)
        case 404, _:
            return Unavailable(stranger(CLUSTER, f"{what}: status 404 without a word of Kubernetes' own"))
        case 429, _:
            return Throttled(text, retry_after=answer.retry_after)
        case ((400 | 422), ("Invalid" | "BadRequest")):
            return Invalid(text, field=_field(details))
        case _ if answer.status >= 500 or answer.status in {408, 409}:
            return Unavailable(text, retry_after=answer.retry_after)
        case _:
            return Unknown(text)


def _field(details: Mapping[str, Any]) -> str | None:
    """The field of our own spec that stands behind the first cause."""
    causes = details.get("causes") or ()
    path = str(causes[0].get("field") or "") if causes else ""
    return next((ours for theirs, ours in _FIELDS if path.startswith(theirs)), None)
