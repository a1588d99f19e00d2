"""What is known of a job. `JobSpec` is written once, `JobRecord` by the worker that runs it; neither holds a secret."""

from __future__ import annotations

import hashlib
from enum import IntEnum, StrEnum
from typing import Any

from pydantic import BaseModel, ConfigDict

from backend.labelstudio.request import PredictRequest


class Priority(IntEnum):
    """Who waits for a job: nobody, somebody who opened a task's page, somebody who typed."""

    BATCH = 0
    PAGE = 50
    INTERACTIVE = 100


class JobState(StrEnum):
    """Where a job is. The last three are final until somebody submits it again."""

    QUEUED = "queued"
    RUNNING = "running"
    DONE = "done"
    FAILED = "failed"
    CANCELLED = "cancelled"

    @property
    def final(self) -> bool:
        """Whether nothing more happens by itself."""
        return self in (JobState.DONE, JobState.FAILED, JobState.CANCELLED)


def content_id(*parts: object) -> str:
    """Return a job's id, a hash of the representations of what it is about: the same content is the same job."""
    return hashlib.sha256(repr(parts).encode()).hexdigest()[:16]


class JobSpec(BaseModel):
    """What to do.

    Attributes:
        id: A hash of all the rest: the same request is the same job.
        task_id: Label Studio's; None for a task that has none.
        project: Label Studio's name of the project, such as "60.1795".
        work: The request: media, targets, edits.
        label_config: The project's XML.
        model_version: Which the prediction will carry.
    """

    model_config = ConfigDict(frozen=True, serialize_by_alias=True)

    id: str
    task_id: int | None
    project: str
    work: PredictRequest
    label_config: str
    model_version: str

    @property
    def words(self) -> str:
        """The expressions of all targets, for people."""
        return "; ".join(target.words or target.label for target in self.work.targets) or "frames of the editor"


class JobRecord(BaseModel):
    """How far a job is. Times are Unix seconds. Its fields are the JSON of /jobs.

    Attributes:
        title: The words that are looked for.
        urgency: Its priority.
        request: The id of the HTTP request that submitted it, as in the log.
        attempt: Counts every start, also those after a crash, a retry or a second submission.
        crashes, retries: Of this submission.
        fraction: Of the whole job, in [0, 1].
        left_s: Seconds to its end; None where they cannot be estimated yet.
        error: Why it failed, was cancelled or is retried.
        refused: Whether it could not even become a job: there is nothing to try again.
        stages_s: Seconds that each stage took.
    """

    model_config = ConfigDict(frozen=True)

    id: str
    title: str
    task_id: int | None
    project: str
    urgency: Priority
    request: str = ""
    state: JobState = JobState.QUEUED
    attempt: int = 1
    crashes: int = 0
    retries: int = 0
    worker: str = ""
    stage: str = ""
    fraction: float = 0.0
    left_s: float | None = None
    submitted_at: float = 0.0
    started_at: float | None = None
    finished_at: float | None = None
    retry_at: float | None = None
    error: str | None = None
    refused: bool = False
    notes: tuple[str, ...] = ()
    score: float | None = None
    stages_s: dict[str, float] = {}

    def but(self, **changes: Any) -> JobRecord:
        """Return the record with these fields changed."""
        return self.model_copy(update=changes)
