"""What is known of a job. `JobSpec` is written once, `JobRecord` by whoever has the job in hand; neither holds a
secret.
"""

from __future__ import annotations

from enum import IntEnum, StrEnum
from typing import Any

from pydantic import BaseModel, ConfigDict

from backend.labelstudio.request import PredictRequest


class Priority(IntEnum):
    """Who waits: nobody at all, somebody who opened a page, somebody who just typed."""

    BATCH = 0
    PAGE = 50
    INTERACTIVE = 100


class JobState(StrEnum):
    """Where a job is. The last three are final until somebody asks again."""

    QUEUED = "queued"
    RUNNING = "running"
    DONE = "done"
    FAILED = "failed"
    CANCELLED = "cancelled"

    @property
    def final(self) -> bool:
        """Whether nothing more will happen by itself."""
        return self in (JobState.DONE, JobState.FAILED, JobState.CANCELLED)


class JobSpec(BaseModel):
    """What to do. task_id: Label Studio's, None for a task that has none. label_config: the project's XML."""

    model_config = ConfigDict(frozen=True, serialize_by_alias=True)

    id: str
    task_id: int | None
    project: str
    work: PredictRequest
    label_config: str
    model_version: str

    @property
    def words(self) -> str:
        """What is looked for, as a person would say it."""
        return "; ".join(target.words or target.label for target in self.work.targets)


class JobRecord(BaseModel):
    """How far it is. Times are Unix seconds; fraction in [0, 1] of the whole job.

    attempt: counts every start, also those after a crash, a retry or a second request. crashes, retries: of this
    request. left_s: None where nothing honest can be said yet. stages_s: seconds that each stage took.
    request: the id of the request that asked for it, as the log has it.
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
    notes: tuple[str, ...] = ()
    score: float | None = None
    stages_s: dict[str, float] = {}

    def but(self, **changes: Any) -> JobRecord:
        """The same with these fields changed."""
        return self.model_copy(update=changes)
