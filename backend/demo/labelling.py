"""Have the backend label the demo's tasks, and wait for each as long as the backend's jobs go on."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

from backend.demo.local_studio import LocalStudio
from backend.demo.real_clips import RealClip
from backend.jobs.models import JobRecord, JobState

PATIENCE_S = 900.0  # without any progress; words that a busy machine reads for the first time take minutes
_POLL_S = 1.0
_SAY_EVERY_S = 60.0


@dataclass(frozen=True)
class LabelledTask:
    """A task whose prediction the backend was asked for.

    Attributes:
        number: Label Studio's number of the task.
        name: The video, for people.
        take: Called once the job is done: returns whether the prediction is stored, which it may have to do itself.
    """

    number: int
    name: str
    take: Callable[[], bool]


@dataclass(frozen=True)
class NotReady:
    """Why a task has no prediction.

    Attributes:
        why: For people.
        final: Whether none will come.
    """

    why: str
    final: bool


class JobWatch:
    """The backend's jobs, and how long ago one of them went on.

    Args:
        jobs: Returns all jobs, the newest first.
        clock: Seconds that only grow.
    """

    def __init__(self, jobs: Callable[[], Sequence[JobRecord]], *, clock: Callable[[], float] = time.monotonic) -> None:
        self._jobs, self.clock = jobs, clock
        self._seen: Sequence[object] = []
        self._changed_s = clock()

    def of_task(self, task: int) -> JobRecord | None:
        """Return the newest job of a task; None if there is none."""
        return next((job for job in self._jobs() if job.task_id == task), None)

    def idle_s(self) -> float:
        """Return for how many seconds no call of this has found any job changed."""
        now = [(job.id, job.state, job.attempt, job.stage, job.fraction) for job in self._jobs()]
        if now != self._seen:
            self._seen, self._changed_s = now, self.clock()
        return self.clock() - self._changed_s


def ask_by_words(studio: LocalStudio, project: int, tasks: Sequence[tuple[int, str]]) -> list[LabelledTask]:
    """Have Label Studio ask for predictions; those that miss the deadline are pushed later.

    Args:
        studio: The Label Studio.
        project: The project.
        tasks: Number and video of each task.
    """
    studio.retrieve_predictions(project, [number for number, _ in tasks])
    return [LabelledTask(number, name, partial(_has_prediction, studio, number)) for number, name in tasks]


def ask_by_box(studio: LocalStudio, model: int, task: int, clip: RealClip) -> LabelledTask:
    """Draw the clip's first box in a task, ask the model as an annotator does, and store what it answers.

    Args:
        studio: The Label Studio.
        model: The number of the project's model.
        task: The task of the clip, without predictions.
        clip: The clip.
    """
    draft = studio.save_draft(task, [clip.drawn_region()])
    take = partial(_store_answer, studio, model, task, clip.words, draft)
    take()
    return LabelledTask(task, clip.path.name, take)


def look(task: LabelledTask, jobs: JobWatch) -> NotReady | None:
    """Return None if a task's prediction is stored; else why it is not."""
    job = jobs.of_task(task.number)
    if job is None:
        return NotReady("the backend was not asked: see its log", final=True)
    if job.state in (JobState.FAILED, JobState.CANCELLED):
        return NotReady(job.error or job.state, final=True)
    if job.state is JobState.DONE and task.take():
        return None
    return NotReady(f"it is {job.fraction:.0%} done", final=False)


def wait_for(
    task: LabelledTask, jobs: JobWatch, *, say: Callable[[str], None], sleep: Callable[[float], None] = time.sleep
) -> NotReady | None:
    """Wait until a task has its prediction: as long as any job goes on, since its own may have to wait for others.

    Args:
        task: The task.
        jobs: The backend's jobs.
        say: Takes a line now and then that says how far the task is.
        sleep: Waits for so many seconds.

    Returns:
        None once the prediction is stored; else why it is not.
    """
    said_s = jobs.clock()
    while (missing := look(task, jobs)) is not None and not missing.final:
        if jobs.idle_s() > PATIENCE_S:
            return NotReady(f"{missing.why}, and was no further for {PATIENCE_S / 60:.0f} minutes", final=False)
        if jobs.clock() - said_s >= _SAY_EVERY_S:
            said_s = jobs.clock()
            say(f"  {task.name}: {missing.why}")
        sleep(_POLL_S)
    return missing


def _has_prediction(studio: LocalStudio, task: int) -> bool:
    return bool(studio.predictions(task))


def _store_answer(studio: LocalStudio, model: int, task: int, words: str, draft: int) -> bool:
    """Ask for the track of the drawn box and store it. One that misses the deadline is finished in the queue."""
    if studio.predictions(task):
        return True
    typed = {"id": "words", "type": "textarea", "from_name": "words", "to_name": "video", "value": {"text": [words]}}
    answer = studio.predict_interactively(model, task, [typed])
    if answer is None:
        return False
    studio.store_prediction(task, answer["result"], score=answer["score"], model_version=answer["model_version"])
    studio.api("DELETE", f"/api/drafts/{draft}/")
    return True
