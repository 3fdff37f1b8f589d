"""Which question a reading is the answer to, so that no question inherits the memory of another of its name."""

from __future__ import annotations

import hashlib
import json
from typing import Final

from moorage.api.hostingpolicy import KINDS_OF_CONDITION, PolicyCondition, Reading
from moorage.core.policy.hysteresis import Settled

LENGTH: Final = 16
_MANNER: Final = {
    "metric": {"interval", "timeout", "credentials_secret_ref", "ca_bundle"},
    "webhook": {"interval", "timeout", "signing_secret_ref", "ca_bundle"},
    "vote": {"calm"},
}
"""How it is asked, and for how long an answer stays: not what is asked."""


def question_of(policy_uid: str, condition: PolicyCondition) -> str:
    """A digest of what a condition asks. Its name and its delays are no part of it; whose condition it is, is.

    Defaults are left out, so that a field that comes later makes no new question of an old one.
    """
    asked = {
        kind: spec.model_dump(mode="json", by_alias=True, exclude_defaults=True, exclude=_MANNER.get(kind))
        for kind in KINDS_OF_CONDITION
        if (spec := getattr(condition, kind)) is not None
    }
    text = json.dumps([policy_uid, asked], sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()[:LENGTH]


def remembered(previous: Reading | None, question: str) -> Reading | None:
    """What is known of the same question; a reading without one is from before they were written, and taken as it."""
    if previous is None or previous.question not in (None, question):
        return None
    return previous


def marked(settled: Settled, question: str) -> Settled:
    """The reading with the question that it answers."""
    return Settled(settled.reading.model_copy(update={"question": question}), settled.next_check)
