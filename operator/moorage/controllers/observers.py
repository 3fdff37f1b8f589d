"""Observers of calls to hosting services."""

from __future__ import annotations

import asyncio

from moorage.runtime.metrics import Metrics, result_of
from moorage.runtime.service import ServiceCall


class ServiceMetrics:
    """Counts and times every call, by service, operation and result."""

    def __init__(self, metrics: Metrics) -> None:
        self._metrics = metrics

    def before(self, call: ServiceCall) -> None:
        """Nothing is counted before the answer."""

    def after(self, call: ServiceCall, error: BaseException | None, seconds: float) -> None:
        """moorage_service_calls_total and moorage_service_call_seconds."""
        result = "ok" if error is None else result_of(error)
        if isinstance(error, asyncio.CancelledError):
            result = "Cancelled"
        self._metrics.service_calls.labels(call.service, call.operation, result).inc()
        self._metrics.service_seconds.labels(call.service, call.operation).observe(seconds)
