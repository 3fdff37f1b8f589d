"""Prometheus metrics under the names that dashboards for controllers already know."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from typing import Any

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.gc_collector import GCCollector
from prometheus_client.platform_collector import PlatformCollector
from prometheus_client.process_collector import ProcessCollector
from prometheus_client.registry import Collector

from moorage.api.probes import MetricQuery
from moorage.core.policy.answers import Answer
from moorage.kube.calls import Call
from moorage.kube.errors import ApiError
from moorage.runtime.clock import Clock, SystemClock
from moorage.runtime.probing import Question
from moorage.runtime.queue import WorkQueue

_FAST = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60)
_SLOW = (0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120, 300, 600, 1800, 3600)


class Metrics:
    """All metrics of one process, in a registry of its own (`process` adds those of process and interpreter)."""

    def __init__(self, *, clock: Clock | None = None, process: bool = True) -> None:
        self.registry = registry = CollectorRegistry()
        self._clock = clock or SystemClock()
        if process:
            ProcessCollector(registry=registry)
            PlatformCollector(registry=registry)
            GCCollector(registry=registry)

        def counter(name: str, text: str, *labels: str) -> Counter:
            return Counter(name, text, labels, registry=registry)

        def gauge(name: str, text: str, *labels: str) -> Gauge:
            return Gauge(name, text, labels, registry=registry)

        def histogram(name: str, text: str, buckets: tuple[float, ...], *labels: str) -> Histogram:
            return Histogram(name, text, labels, registry=registry, buckets=buckets)

        self.reconciles = counter(
            "controller_runtime_reconcile", "Reconciles, by controller and result.", "controller", "result"
        )
        self.reconcile_errors = counter(
            "controller_runtime_reconcile_errors", "Reconciles that ended in an error.", "controller"
        )
        self.reconcile_seconds = histogram(
            "controller_runtime_reconcile_time_seconds", "Length of a reconcile.", _FAST, "controller"
        )
        self.active_workers = gauge(
            "controller_runtime_active_workers", "Workers that are reconciling now.", "controller"
        )
        self.queue_depth = gauge("workqueue_depth", "Keys that wait for a worker.", "name")
        self.queue_adds = counter("workqueue_adds", "Keys added.", "name")
        self.queue_retries = counter("workqueue_retries", "Keys added with a back-off.", "name")
        self.queue_wait = histogram(
            "workqueue_queue_duration_seconds", "How long a key waited for a worker.", _FAST, "name"
        )
        self.queue_work = histogram(
            "workqueue_work_duration_seconds", "How long a worker worked on a key.", _FAST, "name"
        )
        self.api_requests = counter(
            "rest_client_requests", "Requests to the API server; code <error> without an answer.", "code", "method"
        )
        self.service_calls = counter(
            "moorage_service_calls", "Calls to hosting services.", "service", "operation", "result"
        )
        self.service_seconds = histogram(
            "moorage_service_call_seconds", "Length of a call to a hosting service.", _FAST, "service", "operation"
        )
        self.items_pending = gauge(
            "moorage_items_pending", "Configuration items without a value.", "namespace", "group"
        )
        self.convergence_seconds = histogram(
            "moorage_convergence_seconds", "From a change of a group to its being Ready.", _SLOW
        )
        self.probes = counter("moorage_policy_probes", "Questions asked for policies, by what came of them.", "reason")
        self.probe_truth = gauge(
            "moorage_policy_condition_true",
            "Whether the last answer meets the condition: 1, 0, NaN unknown.",
            *("namespace", "policy", "condition"),
        )
        self.probe_value = gauge(
            "moorage_policy_condition_value",
            "The last result of a condition's query.",
            *("namespace", "policy", "condition"),
        )
        self.events_dropped = counter(
            "moorage_events_dropped",
            "Events that were not written: too many at once, or no API server.",
        )
        self.loop_lag = gauge("moorage_event_loop_lag_seconds", "How late the event loop ran its last timer.")
        self.leader = gauge("leader_election_master_status", "1 where this process holds the lease.", "name")
        self._groups: set[tuple[str, str]] = set()
        self._queues = _QueueCollector()
        registry.register(self._queues)

    def queue(self, name: str) -> QueueReport:
        """The metrics to give to a WorkQueue."""
        return QueueReport(self, name)

    def watch_queue(self, queue: WorkQueue[Any]) -> None:
        """Also report the present work of `queue`: workqueue_unfinished_work_seconds and longest running."""
        self._queues.queues.append(queue)

    def at_scrape(self, families: Callable[[], Iterable[GaugeMetricFamily]]) -> None:
        """Also report what this gives at each scrape."""
        self._queues.more.append(families)

    def controller(self, name: str) -> ControllerReport:
        """The metrics to give to Workers."""
        return ControllerReport(self, name)

    def observer(self) -> RequestCounter:
        """To be appended to a Client's observers."""
        return RequestCounter(self)

    def leadership(self, name: str) -> Callable[[bool], None]:
        """To be given to a LeaderLease as `on_change`."""
        gauge = self.leader.labels(name)
        gauge.set(0)
        return lambda held: gauge.set(1 if held else 0)

    def pending(self, namespace: str, group: str, items: int | None) -> None:
        """moorage_items_pending of a group; None: the group is gone, and its series with it."""
        if items is not None:
            self._groups.add((namespace, group))
            self.items_pending.labels(namespace, group).set(items)
        elif (namespace, group) in self._groups:
            self._groups.discard((namespace, group))
            self.items_pending.remove(namespace, group)

    def probed(self, question: Question, answer: Answer) -> None:
        """An answer came to a question of a policy: fresher than its status, which changes with the truth."""
        labels = (question.namespace, question.policy, question.condition)
        self.probes.labels(answer.reason).inc()
        self.probe_truth.labels(*labels).set(math.nan if answer.holds is None else float(answer.holds))
        if isinstance(question.probe, MetricQuery):
            self.probe_value.labels(*labels).set(math.nan if answer.value is None else answer.value)

    def unprobed(self, question: Question) -> None:
        """It is not asked any more, and its series end."""
        for series in (self.probe_truth, self.probe_value):
            with suppress(KeyError):
                series.remove(question.namespace, question.policy, question.condition)

    @contextmanager
    def service_call(self, service: str, operation: str) -> Iterator[None]:
        """Count and time one call to a hosting service; the result is `ok` or the error's reason."""
        started, result = self._clock.monotonic(), "Cancelled"
        try:
            yield
            result = "ok"
        except Exception as error:
            result = result_of(error)
            raise
        finally:
            self.service_calls.labels(service, operation, result).inc()
            self.service_seconds.labels(service, operation).observe(self._clock.monotonic() - started)

    def render(self) -> bytes:
        """The text format of Prometheus."""
        return generate_latest(self.registry)


def result_of(error: BaseException) -> str:
    """What a failed call is counted as: the reason that conditions give, so that both are found by one word."""
    reason = getattr(error, "reason", None)
    return reason if isinstance(reason, str) and reason.isalnum() else type(error).__name__


class QueueReport:
    """`QueueMetrics` over Prometheus."""

    def __init__(self, metrics: Metrics, name: str) -> None:
        self._depth = metrics.queue_depth.labels(name)
        self._adds = metrics.queue_adds.labels(name)
        self._retries = metrics.queue_retries.labels(name)
        self._wait = metrics.queue_wait.labels(name)
        self._work = metrics.queue_work.labels(name)

    def depth(self, keys: int) -> None:
        """workqueue_depth."""
        self._depth.set(keys)

    def added(self) -> None:
        """workqueue_adds_total."""
        self._adds.inc()

    def retried(self) -> None:
        """workqueue_retries_total."""
        self._retries.inc()

    def started(self, seconds: float) -> None:
        """workqueue_queue_duration_seconds."""
        self._wait.observe(seconds)

    def finished(self, seconds: float) -> None:
        """workqueue_work_duration_seconds."""
        self._work.observe(seconds)


class ControllerReport:
    """`ReconcileMetrics` over Prometheus."""

    def __init__(self, metrics: Metrics, name: str) -> None:
        self._active = metrics.active_workers.labels(name)
        self._errors = metrics.reconcile_errors.labels(name)
        self._seconds = metrics.reconcile_seconds.labels(name)
        self._results = {
            result: metrics.reconciles.labels(name, result)
            for result in ("success", "requeue", "requeue_after", "error")
        }

    def started(self) -> None:
        """controller_runtime_active_workers."""
        self._active.inc()

    def finished(self, result: str, seconds: float) -> None:
        """controller_runtime_reconcile_total, _errors_total and _time_seconds."""
        self._active.dec()
        self._results[result].inc()
        self._seconds.observe(seconds)
        if result == "error":
            self._errors.inc()


class RequestCounter:
    """A client observer that counts requests by code and method, as client-go does."""

    _METHODS = {"create": "POST", "update": "PUT", "patch": "PATCH", "apply": "PATCH", "delete": "DELETE"}  # noqa: RUF012

    def __init__(self, metrics: Metrics) -> None:
        self._requests = metrics.api_requests

    def before(self, call: Call) -> None:
        """Nothing is counted before the answer."""

    def after(self, call: Call, outcome: int | BaseException, seconds: float) -> None:
        """rest_client_requests_total."""
        if isinstance(outcome, ApiError):
            outcome = outcome.status or outcome
        code = str(outcome) if isinstance(outcome, int) else "<error>"
        self._requests.labels(code, self._METHODS.get(call.verb, "GET")).inc()


class _QueueCollector(Collector):
    """What is only known at the moment of the scrape."""

    def __init__(self) -> None:
        self.queues: list[WorkQueue[Any]] = []
        self.more: list[Callable[[], Iterable[GaugeMetricFamily]]] = []

    def collect(self) -> Iterator[GaugeMetricFamily]:
        unfinished = GaugeMetricFamily(
            "workqueue_unfinished_work_seconds", "Time taken so far by the work in progress.", labels=["name"]
        )
        longest = GaugeMetricFamily(
            "workqueue_longest_running_processor_seconds", "Time taken so far by the oldest work.", labels=["name"]
        )
        for queue in self.queues:
            unfinished.add_metric([queue.name], queue.unfinished_seconds())
            longest.add_metric([queue.name], queue.longest_running_seconds())
        yield unfinished
        yield longest
        for families in self.more:
            yield from families()
