"""Pushes predictions that were finished after Label Studio had stopped waiting.

Before a push Label Studio is asked whether the task still exists and whether it has a prediction of this model version
already: none is stored twice, none for a task that was deleted meanwhile.
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
_PUSH_LIMIT_S = 120.0  # a push that has not ended by then never will
_FIRST_WAIT_S, _LONGEST_WAIT_S = 5.0, 600.0


class NotDelivered(Exception):  # noqa: N818
    """Label Studio did not take a prediction this time; the message says why, without secrets."""


@dataclass
class _Backoff:
    """When a push that failed is tried again (Unix seconds), and how long that wait was."""

    at: float
    wait_s: float


class PredictionPusher:
    """Stores finished predictions through label-studio-sdk, which takes either kind of token.

    Args:
        settings: Label Studio's address and token; without them nothing is pushed.
        queue: Which predictions are to be pushed.
        clock: Returns the time in Unix seconds.

    Attributes:
        problem: Why pushing does not work at present, as a sentence; None when it does.
    """

    def __init__(self, settings: Settings, queue: JobQueue, *, clock: Callable[[], float] = time.time) -> None:
        self._settings, self._queue, self._clock = settings, queue, clock
        self._backoffs: dict[str, _Backoff] = {}
        self._client: Any = None
        self.problem: str | None = None

    def push_finished(self) -> None:
        """Push what is finished and no longer waited for. To be called every few seconds."""
        now = self._clock()
        for job, until in self._queue.scheduled_pushes():
            backoff = self._backoffs.get(job)
            if now < until + GRACE_S or (backoff is not None and now < backoff.at):
                continue
            record = self._queue.record(job)
            if record is None or record.state in (JobState.FAILED, JobState.CANCELLED):
                self._queue.cancel_push(job)
            elif record.state is not JobState.DONE:
                continue
            elif self._settings.can_push and self._queue.claim_delivery(job, "pushing"):
                self._push_claimed(record)
            elif delivered := self._queue.delivered(job):
                how, when = delivered
                if how != "pushing":
                    self._end(job)
                elif now - when > _PUSH_LIMIT_S:  # its process was killed; `push` stores nothing twice
                    self._queue.set_delivered(job, None)

    def push(self, record: JobRecord) -> str:
        """Store a finished prediction in Label Studio.

        Returns:
            What became of it, in words.

        Raises:
            NotDelivered: Label Studio cannot be reached, or refused it.
        """
        from label_studio_sdk.core.api_error import ApiError

        prediction = self._queue.prediction(record.id)
        if prediction is None or record.task_id is None:
            return "nothing to push"
        try:
            studio = self._studio()
            try:
                studio.tasks.get(id=str(record.task_id))
            except ApiError as error:
                if error.status_code == 404:
                    return "not pushed: the task was deleted"
                raise
            stored = studio.predictions.list(task=record.task_id)
            if any(p.model_version == prediction["model_version"] for p in stored):
                return "not pushed: the task has a prediction of this version"
            studio.predictions.create(task=record.task_id, **prediction)
        except ApiError as error:
            if error.status_code in (401, 403):
                self._client = None  # the token may have been renewed elsewhere
                raise NotDelivered(f"Label Studio refused LABEL_STUDIO_API_KEY ({error.status_code})") from None
            raise NotDelivered(f"Label Studio answered {error.status_code}") from None
        except (httpx.HTTPError, OSError) as error:
            raise NotDelivered(f"Label Studio cannot be reached: {type(error).__name__}") from None
        return "pushed"

    def _push_claimed(self, record: JobRecord) -> None:
        try:
            outcome = self.push(record)
        except NotDelivered as error:
            last = self._backoffs.get(record.id)
            wait_s = min(_LONGEST_WAIT_S, 2 * last.wait_s if last else _FIRST_WAIT_S)
            self._backoffs[record.id] = _Backoff(self._clock() + wait_s, wait_s)
            self._queue.set_delivered(record.id, None)
            self.problem = f"finished predictions cannot be pushed: {error}"
            log.warning("job %s cannot be pushed: %s; again in %.0f s", record.id, error, wait_s)
            return
        self.problem = None
        self._queue.set_delivered(record.id, outcome)
        self._end(record.id)
        log.info("job %s (task %s): %s", record.id, record.task_id, outcome)

    def _end(self, job: str) -> None:
        self._queue.cancel_push(job)
        self._backoffs.pop(job, None)

    def _studio(self) -> Any:
        if self._client is None:
            self._client = label_studio_client(self._settings)
        return self._client
