"""How the demo asks for predictions, and for how long it waits for each."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest

from backend.demo.labelling import PATIENCE_S, JobWatch, LabelledTask, ask_by_box, ask_by_words, look, wait_for
from backend.demo.real_clips import load_real_clips
from backend.jobs.models import JobRecord, JobState, Priority

CLIP = load_real_clips()[1]


class FakeStudio:
    """Notes what is stored and deleted; its answers are given in order."""

    def __init__(self, *results: list[dict[str, Any]] | None) -> None:
        self._results = list(results)
        self.stored: list[dict[str, Any]] = []
        self.drafts: dict[int, list[Any]] = {}
        self.asked: list[Any] = []

    def retrieve_predictions(self, project: int, tasks: Sequence[int]) -> None:
        self.asked.append((project, list(tasks)))

    def predictions(self, task: int) -> list[dict[str, Any]]:
        return [prediction for prediction in self.stored if prediction["task"] == task]

    def store_prediction(self, task: int, result: Any, **fields: Any) -> None:
        self.stored.append({"task": task, "result": list(result), **fields})

    def save_draft(self, task: int, result: Any) -> int:
        self.drafts[5] = list(result)
        return 5

    def predict_interactively(self, model: int, task: int, result: Any) -> dict[str, Any] | None:
        assert [region["origin"] for region in self.drafts[5]] == ["manual"]
        self.asked.append((model, task, result[0]["value"]["text"]))
        regions = self._results.pop(0)
        return None if regions is None else {"result": regions, "score": 0.9, "model_version": "v"}

    def api(self, method: str, path: str) -> None:
        assert (method, path) == ("DELETE", "/api/drafts/5/")
        del self.drafts[5]


def job(task: int = 7, **fields: Any) -> JobRecord:
    return JobRecord(id=f"j{task}", title="it", task_id=task, project="1.1", urgency=Priority.INTERACTIVE, **fields)


class Backend:
    """Jobs on a clock of their own. step: changes the jobs, and is given the minutes that have passed."""

    def __init__(self, *jobs: JobRecord) -> None:
        self.jobs, self.now_s = list(jobs), 0.0
        self.said: list[str] = []

    def wait(self, task: LabelledTask, step: Any) -> Any:
        def sleep(seconds: float) -> None:
            self.now_s += 60.0
            assert self.now_s < 1e5, "it waits for ever"
            step(self, round(self.now_s / 60))

        watch = JobWatch(lambda: self.jobs, clock=lambda: self.now_s)
        return wait_for(task, watch, say=self.said.append, sleep=sleep)


def rise(backend: Backend, minute: int) -> None:
    """A percent every ten minutes, until it is done."""
    done = minute >= 1000
    backend.jobs = [job(state=JobState.DONE if done else JobState.RUNNING, fraction=minute // 10 / 100)]


def rise_to_68(backend: Backend, minute: int) -> None:
    backend.jobs = [job(state=JobState.RUNNING, fraction=min(minute, 68) / 100)]


def fail(backend: Backend, minute: int) -> None:
    backend.jobs = [job(state=JobState.FAILED, error="it cannot be read")]


def run_another_first(backend: Backend, minute: int) -> None:
    """The job waits for two hours in the queue while another goes on, then it is done."""
    other = job(3, state=JobState.RUNNING, fraction=min(minute / 120, 1))
    backend.jobs = [job(state=JobState.DONE if minute > 120 else JobState.QUEUED), other]


def task_of(stored: bool = True) -> LabelledTask:
    return LabelledTask(7, "juggler.mp4", lambda: stored)


@pytest.mark.parametrize("step", [rise, run_another_first])
def test_a_job_is_waited_for_as_long_as_any_goes_on(step: Any) -> None:
    backend = Backend(job())
    assert backend.wait(task_of(), step) is None
    assert backend.now_s > 2 * PATIENCE_S
    assert backend.said[0] == "  juggler.mp4: it is 0% done"


@pytest.mark.parametrize(
    ("step", "why", "final"),
    [(rise_to_68, "it is 68% done, and was no further for 15 minutes", False), (fail, "it cannot be read", True)],
)
def test_a_task_that_is_not_ready_has_a_reason(step: Any, why: str, final: bool) -> None:
    missing = Backend(job()).wait(task_of(), step)
    assert (missing.why, missing.final) == (why, final)


def test_a_result_that_label_studio_does_not_get_is_not_waited_for_without_end() -> None:
    missing = Backend(job(state=JobState.DONE, fraction=1.0)).wait(task_of(stored=False), lambda *_: None)
    assert not missing.final


def test_a_backend_that_was_not_asked_is_not_waited_for() -> None:
    missing = look(task_of(), JobWatch(list))
    assert missing is not None
    assert (missing.why, missing.final) == ("the backend was not asked: see its log", True)


def test_words_are_asked_for_by_label_studio() -> None:
    studio = FakeStudio()
    (task, _) = ask_by_words(studio, 2, [(7, "dog.mp4"), (8, "scene.mp4")])  # type: ignore[arg-type]
    assert studio.asked == [(2, [7, 8])]
    assert not task.take()
    studio.store_prediction(7, [])
    assert task.take()


def test_the_answer_replaces_the_drawn_box_once_it_is_finished() -> None:
    track = {**CLIP.drawn_region(), "origin": "prediction"}
    studio = FakeStudio(None, None, [track])
    task = ask_by_box(studio, 3, 7, CLIP)  # type: ignore[arg-type]
    assert studio.asked == [(3, 7, [CLIP.words])]
    assert not task.take()
    assert not studio.stored
    assert [task.take(), task.take()] == [True, True]
    assert not studio.drafts
    assert studio.stored == [{"task": 7, "result": [track], "score": 0.9, "model_version": "v"}]
    assert len(studio.asked) == 3
