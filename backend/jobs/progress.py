"""What a running job tells its progress to, and what ends it."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

from backend.jobs.models import JobRecord
from backend.jobs.queue import JobQueue
from backend.metrics import STAGE_SECONDS

_TOLD_EVERY_S = 0.4


class JobCancelled(Exception):  # noqa: N818 - a state of the world, not a mistake
    """Somebody ended the job; the message says why."""


class WorkerStopping(Exception):  # noqa: N818
    """The worker is told to stop in mid-job."""


class ProgressReporter:
    """What a job is told its progress to: writes it, times the stages, lets urgent ones in, ends what is cancelled."""

    def __init__(self, queue: JobQueue, run: JobRecord, between: Callable[[int], None], stop: threading.Event) -> None:
        self._queue, self._run, self._between, self._stop = queue, run, between, stop
        self._began = self._stage_began = time.monotonic()
        self._away_s = 0.0  # spent on more urgent jobs
        self._told = 0.0
        self._stages: dict[str, float] = {}

    def __call__(self, stage: str, fraction: float) -> None:
        """stage: its name; fraction: of the whole job, in [0, 1]."""
        now = time.monotonic()
        if stage != self._run.stage:
            self._close_stage(now)
            self._run = self._run.but(stage=stage)
        elif now - self._told < _TOLD_EVERY_S:
            return
        self.check()
        before = time.monotonic()
        self._between(int(self._run.urgency))
        self._away_s += time.monotonic() - before
        spent = time.monotonic() - self._began - self._away_s
        left = spent * (1 - fraction) / fraction if fraction > 0.05 and spent > 1 else None
        self._run = self._run.but(fraction=fraction, left_s=left)
        self._queue.update(self._run)
        self._told = time.monotonic()

    def check(self) -> None:
        """Raises when the job is to end here."""
        if (why := self._queue.cancelled(self._run.id)) is not None:
            raise JobCancelled(why)
        if self._stop.is_set():
            raise WorkerStopping

    def closed(self) -> JobRecord:
        """The record with the last stage's time in it."""
        self._close_stage(time.monotonic())
        return self._run.but(stages_s=dict(self._stages))

    def _close_stage(self, now: float) -> None:
        if self._run.stage:
            spent = max(0.0, now - self._stage_began - self._away_s)
            STAGE_SECONDS.labels(self._run.stage).observe(spent)
            self._stages[self._run.stage] = round(self._stages.get(self._run.stage, 0.0) + spent, 3)
        self._began += self._away_s  # what others took is nobody's stage
        self._stage_began, self._away_s = now, 0.0
