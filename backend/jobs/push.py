"""Pushing predictions that were finished after Label Studio had stopped waiting.

Before a push it is asked whether the task still exists and whether it has a prediction of this model version already:
none is stored twice, none for a task that was deleted meanwhile.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import httpx

from backend.jobs.models import JobRecord, JobState
from backend.jobs.queue import JobQueue
from backend.labelstudio.client import label_studio_client
from backend.settings import Settings

log = logging.getLogger("refam.jobs")

GRACE_S = 3.0  # after a request's deadline, in which Label Studio stores what it was answered
_PUSH_S = 120.0  # a push that has not ended by then never will
_FIRST_WAIT_S, _LONGEST_WAIT_S = 5.0, 600.0


class NotDelivered(Exception):  # noqa: N818
    """Label Studio did not take it this time; the message says why, without secrets."""


@dataclass
class _Again:
    at: float
    wait_s: float


class PredictionPusher:
    """Pushes through label-studio-sdk, which takes a personal access token and a legacy one alike."""

    def __init__(self, settings: Settings, queue: JobQueue, *, clock: Callable[[], float] = time.time) -> None:
        self._settings, self._queue, self._clock = settings, queue, clock
        self._again: dict[str, _Again] = {}
        self._client: Any = None
        self.problem: str | None = None

    def push_finished(self) -> None:
        """Pushes what is finished and no longer waited for. Call it every few seconds."""
        now = self._clock()
        for job, until in self._queue.scheduled_pushes():
            again = self._again.get(job)
            if now < until + GRACE_S or (again is not None and now < again.at):
                continue
            run = self._queue.record(job)
            if run is None or run.state in (JobState.FAILED, JobState.CANCELLED):
                self._queue.cancel_push(job)
            elif run.state is JobState.DONE and self._settings.can_push and self._queue.claim_delivery(job, "pushing"):
                self._deliver(run)
            elif run.state is JobState.DONE and (told := self._queue.delivered(job)):
                how, when = told
                if how != "pushing":
                    self._settle(job)
                elif now - when > _PUSH_S:  # whoever pushed it was killed: look again, nothing is stored twice
                    self._queue.set_delivered(job, None)

    def _deliver(self, run: JobRecord) -> None:
        try:
            how = self.push(run)
        except NotDelivered as error:
            wait_s = min(_LONGEST_WAIT_S, 2 * self._again[run.id].wait_s if run.id in self._again else _FIRST_WAIT_S)
            self._again[run.id] = _Again(self._clock() + wait_s, wait_s)
            self._queue.set_delivered(run.id, None)
            self.problem = f"finished predictions cannot be pushed: {error}"
            log.warning("job %s cannot be pushed: %s; again in %.0f s", run.id, error, wait_s)
            return
        self.problem = None
        self._queue.set_delivered(run.id, how)
        self._settle(run.id)
        log.info("job %s (task %s): %s", run.id, run.task_id, how)

    def push(self, run: JobRecord) -> str:
        """Stores a finished prediction; returns what became of it. Raises NotDelivered."""
        from label_studio_sdk.core.api_error import ApiError

        prediction = self._queue.prediction(run.id)
        if prediction is None or run.task_id is None:
            return "nothing to push"
        try:
            studio = self._studio()
            try:
                studio.tasks.get(id=str(run.task_id))
            except ApiError as error:
                if error.status_code == 404:
                    return "not pushed: the task was deleted"
                raise
            stored = studio.predictions.list(task=run.task_id)
            if any(p.model_version == prediction["model_version"] for p in stored):
                return "not pushed: the task has a prediction of this version"
            studio.predictions.create(task=run.task_id, **prediction)
        except ApiError as error:
            if error.status_code in (401, 403):
                self._client = None  # the token may have been renewed elsewhere
                raise NotDelivered(f"Label Studio refused LABEL_STUDIO_API_KEY ({error.status_code})") from None
            raise NotDelivered(f"Label Studio answered {error.status_code}") from None
        except (httpx.HTTPError, OSError) as error:
            raise NotDelivered(f"Label Studio cannot be reached: {type(error).__name__}") from None
        return "pushed"

    def _settle(self, job: str) -> None:
        self._queue.cancel_push(job)
        self._again.pop(job, None)

    def _studio(self) -> Any:
        if self._client is None:
            self._client = label_studio_client(self._settings)
        return self._client
