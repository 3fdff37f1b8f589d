"""What a valid policy says that can lead nowhere: told where a person looks, since nothing would ever happen."""

from __future__ import annotations

from moorage.api.hostingpolicy import HostingPolicySpec


def futile(spec: HostingPolicySpec) -> tuple[str, ...]:
    """A sentence for each; none where everything can have an effect. `Wait` is meant to have none but to be told."""
    failover = spec.failover
    if failover is None or failover.action == "Wait" or failover.overlap == "Allowed":
        return ()
    if failover.when.unreachable_for is None:
        return ()
    return (
        "failover.when.unreachableFor never has a group leave its service: with overlap: Forbidden its servers would "
        "have to be confirmed gone first, and a service that does not answer confirms nothing; set overlap: Allowed "
        "where two of each may run for a while, or leave unreachableFor out",
    )
