"""Policies: what the conditions of a HostingPolicy are found to be, and what follows for its groups.

`evaluate_policy` reads every condition that groups share, `read_own` those that are one group's own, both with
hysteresis; `group_verdict` is what a group makes of the readings.
"""

from moorage.core.policy.evaluate import (
    PolicyResult,
    evaluate_policy,
    group_verdict,
    namespace_services,
    reads_services,
    selected_services,
)
from moorage.core.policy.faults import invalid, never_met, overlong, why_never_met
from moorage.core.policy.own import (
    GroupFacts,
    OwnReadings,
    is_own,
    lacks_approval,
    may_release,
    own_conditions,
    read_own,
    waits_for_servers,
)
from moorage.core.policy.readings import INVALID_REASONS, Observed, RawReading
from moorage.core.policy.samples import Sample
from moorage.core.policy.verdict import Decided, decide
from moorage.core.policy.vote import Constituency, Voter, Votes

__all__ = [
    "INVALID_REASONS",
    "Constituency",
    "Decided",
    "GroupFacts",
    "Observed",
    "OwnReadings",
    "PolicyResult",
    "RawReading",
    "Sample",
    "Voter",
    "Votes",
    "decide",
    "evaluate_policy",
    "group_verdict",
    "invalid",
    "is_own",
    "lacks_approval",
    "may_release",
    "namespace_services",
    "never_met",
    "overlong",
    "own_conditions",
    "read_own",
    "reads_services",
    "selected_services",
    "waits_for_servers",
    "why_never_met",
]
