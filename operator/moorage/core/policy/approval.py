"""Approvals: what a person said in the annotation `moorage.dev/approval` of a group, and whether it counts now.

The text has one spelling only: keys in a fixed order, no blanks. So the admission policy, which has no parser for JSON,
can compare it with what the requester may say, and no second meaning can be hidden in it.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Final

from moorage.api.groupconditions import ApprovalCondition
from moorage.api.meta import ObjectMeta
from moorage.api.names import ANNOTATION_APPROVAL
from moorage.core.policy.readings import RawReading, spell
from moorage.core.timing import earliest

MAX_LENGTH: Final = 2048
MAX_REASON: Final = 512
CLOCKS_DIFFER: Final = timedelta(minutes=5)
"""By how much the clock of who approves may be ahead of ours."""

_CONTROL = re.compile(r"[\x00-\x1f]+")
_TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ")


@dataclass(frozen=True, slots=True)
class Approval:
    """Who approved which generation of which object, when, until when (None: until it is revoked), and why."""

    uid: str
    generation: int
    by: str
    at: datetime
    until: datetime | None = None
    reason: str = ""

    def encode(self) -> str:
        """The annotation's text. Raises ValueError where it would be longer than is taken."""
        whole: dict[str, object] = {
            "uid": self.uid,
            "generation": self.generation,
            "by": self.by,
            "at": spell(self.at),
        }
        if self.until is not None:
            whole["until"] = spell(self.until)
        if self.reason:
            whole["reason"] = _CONTROL.sub(" ", self.reason)[:MAX_REASON]
        text = json.dumps(whole, separators=(",", ":"), ensure_ascii=False)
        if len(text) > MAX_LENGTH:
            raise ValueError(f"the approval has {len(text)} characters, {MAX_LENGTH} are allowed")
        return text

    @classmethod
    def parse(cls, text: str) -> Approval:
        """Read the annotation. Raises ValueError for anything that `encode` does not write."""
        if len(text) > MAX_LENGTH:
            raise ValueError("it is too long")
        try:
            found = _read(json.loads(text))
            right = found.encode() == text
        except (AttributeError, KeyError, TypeError, ValueError, OverflowError, RecursionError):
            raise ValueError("it is not what moorage approve writes") from None
        if not right:
            raise ValueError("it is not spelled as moorage approve does")
        return found

    def lapses(self, max_age: timedelta | None) -> datetime | None:
        """When it ceases to count; None: never by itself."""
        return earliest(self.until, None if max_age is None else _after(self.at, max_age))


def _read(whole: dict[str, object]) -> Approval:
    """Raises what conversions of wrong values raise."""
    uid, generation, by = whole["uid"], whole["generation"], whole["by"]
    if not (isinstance(uid, str) and isinstance(by, str) and type(generation) is int):
        raise TypeError("a field has another type")
    until = whole.get("until")
    reason = str(whole.get("reason", ""))
    return Approval(uid, generation, by, _moment(whole["at"]), None if until is None else _moment(until), reason)


def _moment(text: object) -> datetime:
    if not isinstance(text, str) or not _TIME.fullmatch(text):
        raise ValueError("not a time")
    return datetime.fromisoformat(text)


def _after(moment: datetime, span: timedelta) -> datetime:
    """Later than any date can be counts as the last one."""
    try:
        return moment + span
    except OverflowError:
        return datetime.max.replace(tzinfo=UTC)


def read_approval(condition: ApprovalCondition, meta: ObjectMeta, now: datetime) -> RawReading:
    """Whether the group of this metadata is approved at ``now``. What does not count says why, and what to do."""
    text = meta.annotations.get(ANNOTATION_APPROVAL)
    again = f"moorage approve {meta.name} -n {meta.namespace}"
    if text is None:
        return RawReading("Unmet", "NotApproved", f"nobody has approved it: {again}")
    try:
        found = Approval.parse(text)
    except ValueError as error:
        message = f"the annotation {ANNOTATION_APPROVAL} cannot be read, {error}: {again}"
        return RawReading("Unmet", "ApprovalMalformed", message)
    if found.uid != meta.uid:
        message = f"the approval is for another object, which had this name or was copied from: {again}"
        return RawReading("Unmet", "ApprovalOfAnother", message)
    if found.generation != meta.generation:
        message = f"{found.by} approved generation {found.generation}, now it is {meta.generation}: {again}"
        return RawReading("Unmet", "ApprovalOutdated", message)
    if found.at > now + CLOCKS_DIFFER:
        message = f"{found.by} approved it at {spell(found.at)}, which is to come: set that clock right, then {again}"
        return RawReading("Unmet", "ApprovalFromFuture", message, next_check=found.at - CLOCKS_DIFFER)
    end = found.lapses(condition.max_age)
    if end is not None and end <= now:
        message = f"the approval by {found.by} ended at {spell(end)}: {again}"
        return RawReading("Unmet", "ApprovalLapsed", message)
    until = f" until {spell(end)}" if end is not None else ""
    why = f" ({found.reason})" if found.reason else ""
    return RawReading("Met", "Approved", f"approved by {found.by} at {spell(found.at)}{until}{why}", next_check=end)
