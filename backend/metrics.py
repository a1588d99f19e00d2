"""What Prometheus is told. Names carry their unit, as its conventions ask."""

from __future__ import annotations

import sys
from collections import Counter as Count
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from prometheus_client import CollectorRegistry, Histogram, generate_latest
from prometheus_client.core import GaugeMetricFamily, Metric

from backend.jobs.models import JobState

if TYPE_CHECKING:
    from backend.runtime import Services

_STAGE_BUCKETS = (0.1, 0.3, 1, 3, 10, 30, 100, 300, 1000, 3000)
_REQUEST_BUCKETS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 100)

_OF_PROCESS = CollectorRegistry()  # what this process measures itself; the rest is read when it is asked for
STAGE_SECONDS = Histogram(
    "refam_stage_seconds", "Time that a stage of a job took", ["stage"], buckets=_STAGE_BUCKETS, registry=_OF_PROCESS
)
REQUEST_SECONDS = Histogram(
    "refam_request_seconds",
    "Time until a request was answered",
    ["path", "status"],
    buckets=_REQUEST_BUCKETS,
    registry=_OF_PROCESS,
)
PATHS = frozenset({"/", "/health", "/ready", "/setup", "/versions", "/predict", "/webhook", "/jobs", "/metrics"})


def exposition(services: Services) -> bytes:
    """All metrics in Prometheus' text format."""
    now = CollectorRegistry()
    now.register(_Now(services))
    return generate_latest(_OF_PROCESS) + generate_latest(now)


class _Now:
    """Gauges that are read off at the moment they are asked for."""

    def __init__(self, services: Services) -> None:
        self._services = services

    def collect(self) -> Iterator[Metric]:
        """See prometheus_client."""
        board, settings = self._services.office().board, self._services.settings
        jobs = GaugeMetricFamily("refam_jobs", "Jobs that are known, by state", labels=["state"])
        counts = Count(run.state for run in board.runs())
        for state in JobState:
            jobs.add_metric([state.value], counts[state])
        yield jobs
        yield GaugeMetricFamily("refam_queue_waiting", "Messages in the queue", value=board.waiting())
        cache = GaugeMetricFamily("refam_cache_bytes", "Bytes on disk", labels=["cache"])
        cache.add_metric(["media"], _size(settings.cache_dir))
        cache.add_metric(["stages"], _size(settings.data_dir / "stages"))
        yield cache
        memory = GaugeMetricFamily("refam_gpu_memory_bytes", "Memory that torch holds", labels=["device"])
        torch = sys.modules.get("torch")  # not imported for this: it is when a model is loaded
        if torch is not None and torch.cuda.is_available():
            for i in range(torch.cuda.device_count()):
                memory.add_metric([f"cuda:{i}"], torch.cuda.memory_reserved(i))
        yield memory


def _size(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.glob("*") if path.is_file()) if folder.is_dir() else 0
