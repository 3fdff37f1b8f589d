"""Policies: what the conditions of a HostingPolicy are found to be, and what follows for its groups.

`evaluate_policy` reads every condition and applies hysteresis; `group_verdict` is what a group makes of the readings.
"""

from moorage.core.policy.evaluate import (
    PolicyResult,
    evaluate_policy,
    group_verdict,
    namespace_services,
    reads_services,
    selected_services,
)
from moorage.core.policy.faults import invalid, never_met, why_never_met
from moorage.core.policy.readings import INVALID_REASONS, Observed, RawReading
from moorage.core.policy.samples import Sample
from moorage.core.policy.verdict import Decided, decide

__all__ = [
    "INVALID_REASONS",
    "Decided",
    "Observed",
    "PolicyResult",
    "RawReading",
    "Sample",
    "decide",
    "evaluate_policy",
    "group_verdict",
    "invalid",
    "namespace_services",
    "never_met",
    "reads_services",
    "selected_services",
    "why_never_met",
]
