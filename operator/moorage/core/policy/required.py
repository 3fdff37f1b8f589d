"""An approval that a namespace asks for, whatever the policy does: a policy is the tenant's, the namespace is not.

It stops growth and releases nothing, as an approval in a policy does.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime

from moorage.api.groupconditions import ApprovalCondition
from moorage.api.hostingpolicy import Verdict
from moorage.api.meta import ObjectMeta
from moorage.api.names import ANNOTATION_REQUIRE_APPROVAL
from moorage.core.policy.approval import read_approval


@dataclass(frozen=True, slots=True)
class Ruling:
    """A verdict with all that counts beside the policy, and when it can change by itself (None: never).

    ``unapproved``: an approval that the namespace asks for is missing, or may be.
    """

    verdict: Verdict
    message: str
    next_check: datetime | None = None
    unapproved: bool = False


def with_required_approval(
    verdict: Verdict, message: str, annotations: Mapping[str, str] | None, meta: ObjectMeta, now: datetime
) -> Ruling:
    """What a policy's verdict comes to in the group's namespace, whose annotations are None while it was not seen yet.

    Whatever the annotation says but ``false`` asks for an approval: a slip must not lift it.
    """
    if annotations is None:
        # Decides nothing, as everything unknown: the next moment tells.
        seen = f"namespace {meta.namespace} was not seen yet"
        return Ruling("Unmet" if verdict == "Unmet" else "Unknown", f"{seen}; {message}", unapproved=True)
    if annotations.get(ANNOTATION_REQUIRE_APPROVAL, "false") == "false":
        return Ruling(verdict, message)
    read = read_approval(ApprovalCondition(), meta, now)
    if read.value == "Met":
        return Ruling(verdict, f"{message}; {read.message}", read.next_check)
    why = f"unmet: namespace {meta.namespace} asks for an approval ({read.message})"
    return Ruling("Unmet", why if verdict == "Met" else f"{why}; {message}", read.next_check, unapproved=True)
