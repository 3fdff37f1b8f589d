"""The metrics of configd."""

from __future__ import annotations

from prometheus_client import REGISTRY, CollectorRegistry, Counter, Gauge, Histogram

_BUCKETS = (0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0)


class Metrics:
    """One set for each registry; a process with two configds gives each its own registry."""

    def __init__(self, registry: CollectorRegistry = REGISTRY) -> None:
        self.connections = Gauge("moorage_configd_connections", "Open connections.", registry=registry)
        self.connections_ended = Counter(
            "moorage_configd_connections_ended",
            "Connections ended or not let in, by reason.",
            ["reason"],
            registry=registry,
        )
        self.waiting = Gauge("moorage_configd_waiting_agents", "Agents in a long poll.", registry=registry)
        self.joins = Counter("moorage_configd_joins", "Joins by result.", ["result"], registry=registry)
        self.configurations = Counter(
            "moorage_configd_configurations", "Configurations delivered to agents.", registry=registry
        )
        self.states = Counter(
            "moorage_configd_states", "States posted by agents, by result.", ["result"], registry=registry
        )
        self.rejects = Counter("moorage_configd_rejects", "Requests refused, by reason.", ["reason"], registry=registry)
        self.problems = Counter(
            "moorage_configd_output_problems", "Outputs and steps not taken, by reason.", ["reason"], registry=registry
        )
        self.store_seconds = Histogram(
            "moorage_configd_state_store_seconds",
            "From the arrival of a state to the answer of the API server.",
            buckets=_BUCKETS,
            registry=registry,
        )
        self.leaf_expiry = Gauge(
            "moorage_configd_certificate_expiry_timestamp_seconds", "When the present leaf expires.", registry=registry
        )
