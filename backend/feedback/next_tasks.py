"""Which tasks a person should annotate next: those where most strokes are expected, spread over the videos."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from backend.feedback.compare import RegionFate, region_label
from backend.feedback.store import StoredCorrection

_MIN_REGIONS = 5  # corrected regions of a label from which its own mean is used
_SAME_VIDEO_WEIGHT = 0.5  # of each further task of the same video


@dataclass(frozen=True)
class WaitingTask:
    """A task with a prediction that nobody has annotated yet.

    Attributes:
        task: Number of the task.
        video: Address of its video.
        words: Its expressions.
        regions: Label and score in [0, 1] of each predicted region.
    """

    task: int
    video: str
    words: str
    regions: tuple[tuple[str, float], ...]


@dataclass(frozen=True)
class TaskSuggestion:
    """A task to annotate.

    Attributes:
        waiting: The task.
        probability: The probability that any of its regions needs a correction.
        strokes: The expected number of strokes.
    """

    waiting: WaitingTask
    probability: float
    strokes: float


def mean_strokes_by_label(corrections: Iterable[StoredCorrection]) -> dict[str, float]:
    """Return the mean strokes of a region that needed correction, by label.

    The key "" holds the mean over all labels, 1 if there are no corrections. Predicted regions that a person moved or
    deleted count; one that a person added was not predicted.
    """
    strokes: defaultdict[str, list[int]] = defaultdict(list)
    for stored in corrections:
        correction = stored.correction
        if correction.strokes and correction.fate is not RegionFate.ADDED:
            strokes[correction.label].append(correction.strokes)
            strokes[""].append(correction.strokes)
    means = {label: float(np.mean(n)) for label, n in strokes.items() if label == "" or len(n) >= _MIN_REGIONS}
    return {"": 1.0} | means


def suggest_tasks(
    waiting: Sequence[WaitingTask], strokes_by_label: Mapping[str, float], *, count: int
) -> list[TaskSuggestion]:
    """Rank tasks by expected strokes; each further task of the same video counts half of the one before.

    A prediction without regions, where nothing was found, counts as one region that surely needs a correction.

    Args:
        waiting: The tasks to choose from.
        strokes_by_label: See `mean_strokes_by_label`.
        count: How many tasks to return.
    """
    candidates = []
    for task in waiting:
        regions = task.regions or (("", 0.0),)
        probability = 1 - float(np.prod([score for _, score in regions]))
        strokes = sum((1 - score) * strokes_by_label.get(label, strokes_by_label[""]) for label, score in regions)
        candidates.append(TaskSuggestion(task, probability, strokes))
    chosen: list[TaskSuggestion] = []
    per_video: Counter[str] = Counter()

    def rank(suggestion: TaskSuggestion) -> tuple[float, int]:
        weight = _SAME_VIDEO_WEIGHT ** per_video[suggestion.waiting.video]
        return suggestion.strokes * weight, -suggestion.waiting.task

    while candidates and len(chosen) < count:
        best = max(candidates, key=rank)
        candidates.remove(best)
        per_video[best.waiting.video] += 1
        chosen.append(best)
    return chosen


def select_waiting_tasks(
    tasks: Iterable[Any], predictions: Iterable[Any], *, video_field: str, word_fields: Sequence[str]
) -> list[WaitingTask]:
    """Return the tasks that have a prediction and no annotation, each with its newest prediction.

    Args:
        tasks: Tasks as Label Studio's client lists them.
        predictions: Predictions as the client lists them.
        video_field: The field of a task's data with the address of its video.
        word_fields: The fields that may hold its words, in order of precedence.
    """
    newest: dict[int, Any] = {}
    for prediction in predictions:
        other = newest.get(prediction.task)
        if other is None or prediction.id > other.id:
            newest[prediction.task] = prediction
    waiting = []
    for task in tasks:
        prediction = newest.get(task.id)
        if prediction is None or task.total_annotations:
            continue
        data = task.data if isinstance(task.data, Mapping) else {}
        words = next((str(data[f]) for f in word_fields if data.get(f)), "")
        regions = [
            r for r in prediction.result or [] if isinstance(r, Mapping) and isinstance(r.get("score"), int | float)
        ]
        scored = tuple((region_label(r), float(np.clip(r["score"], 0, 1))) for r in regions)
        waiting.append(WaitingTask(int(task.id), str(data.get(video_field) or ""), words, scored))
    return waiting
