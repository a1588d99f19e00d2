"""What this process measures for Prometheus. Names carry their unit, as Prometheus' conventions ask."""

from __future__ import annotations

from prometheus_client import CollectorRegistry, Histogram, generate_latest
from prometheus_client.registry import Collector

_STAGE_BUCKETS = (0.1, 0.3, 1, 3, 10, 30, 100, 300, 1000, 3000)
_REQUEST_BUCKETS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 100)

_PROCESS = CollectorRegistry()
STAGE_SECONDS = Histogram(
    "refam_stage_seconds", "Time that a stage of a job took", ["stage"], buckets=_STAGE_BUCKETS, registry=_PROCESS
)
REQUEST_SECONDS = Histogram(
    "refam_request_seconds",
    "Time until a request was answered",
    ["path", "status"],
    buckets=_REQUEST_BUCKETS,
    registry=_PROCESS,
)
# Paths that `REQUEST_SECONDS` tells apart; all others count as "other".
PATHS = frozenset({"/", "/health", "/ready", "/setup", "/versions", "/predict", "/webhook", "/jobs", "/metrics"})


def render_metrics(*collectors: Collector) -> bytes:
    """Return this process' histograms, and what the collectors read now, in Prometheus' text format."""
    current = CollectorRegistry()
    for collector in collectors:
        current.register(collector)
    return generate_latest(_PROCESS) + generate_latest(current)
