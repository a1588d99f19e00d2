"""Which tasks are suggested next."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from backend.feedback.compare import Correction, RegionFate
from backend.feedback.next_tasks import WaitingTask, mean_strokes_by_label, select_waiting_tasks, suggest_tasks
from backend.feedback.store import StoredCorrection


def _waiting(task, video, *scores, label="Car"):
    return WaitingTask(task, video, "words", tuple((label, s) for s in scores))


def test_tasks_with_most_strokes_come_first_and_videos_take_turns():
    some = [
        _waiting(1, "a.mp4", 0.2),
        _waiting(2, "a.mp4", 0.3),
        _waiting(3, "b.mp4", 0.5),
        _waiting(4, "c.mp4", 0.9, 0.9),
        _waiting(5, "d.mp4"),
    ]
    found = suggest_tasks(some, {"": 2.0}, count=4)
    # .35 of the second task of the same video counts less than .5 of another's.
    assert [s.waiting.task for s in found] == [5, 1, 3, 2]
    by = {s.waiting.task: s for s in suggest_tasks(some, {"": 2.0}, count=9)}
    assert (by[4].probability, by[4].strokes) == pytest.approx((0.19, 0.4))
    assert (by[5].probability, by[5].strokes) == (1.0, 2.0), "nothing was found: it has to be drawn"


def test_mean_strokes_by_label_needs_enough_corrections():
    def row(label, strokes, fate=RegionFate.MOVED):
        return StoredCorrection(1, 1, 1, "a", 24.0, "m", 0.0, Correction("r", fate, label, False, "w", 0.5, strokes))

    assert mean_strokes_by_label([]) == {"": 1.0}
    rows = [row("Car", 4)] * 5 + [row("Bus", 10)] + [row("Car", 0, RegionFate.KEPT), row("Car", 50, RegionFate.ADDED)]
    assert mean_strokes_by_label(rows) == {"": 5.0, "Car": 4.0}


def test_waiting_tasks_have_a_prediction_and_no_annotation():
    def task(id, annotations=0):
        return SimpleNamespace(id=id, total_annotations=annotations, data={"video": f"{id}.mp4", "prompt": "the dog"})

    def prediction(id, task, score):
        region = {"value": {"labels": ["Dog"]}, "score": score}
        return SimpleNamespace(id=id, task=task, result=[region, {"value": {}}, "no region"])

    found = select_waiting_tasks(
        [task(1), task(2, annotations=1), task(3)],
        [prediction(10, 1, 0.4), prediction(11, 1, 0.7), prediction(12, 2, 0.5)],
        video_field="video",
        word_fields=("prompt",),
    )
    assert found == [WaitingTask(1, "1.mp4", "the dog", (("Dog", 0.7),))]
