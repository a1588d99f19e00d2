"""Which tasks a person should look at next: where most strokes are expected, spread over the videos."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from backend.feedback.compare import RegionFate, label_of
from backend.feedback.store import StoredCorrection

_ENOUGH = 5  # corrected regions of a label, to go by that label's own strokes
_AGAIN = 0.5  # what a further task of the same video counts


@dataclass(frozen=True)
class WaitingTask:
    """A task that nobody has annotated yet, with its prediction. regions: label and score of each, in [0, 1]."""

    task: int
    video: str
    words: str
    regions: tuple[tuple[str, float], ...]


@dataclass(frozen=True)
class TaskSuggestion:
    """A task to look at. chance: that any of its regions needs a correction; strokes: how many are expected."""

    waiting: WaitingTask
    chance: float
    strokes: float


def strokes_by_label(rows: Iterable[StoredCorrection]) -> dict[str, float]:
    """Mean strokes of a region that needed correction, by label; under "" over all labels, 1 where none is known.

    A region of ours that a person deleted or moved counts; one that the person added was not predicted.
    """
    spent: defaultdict[str, list[int]] = defaultdict(list)
    for row in rows:
        c = row.correction
        if c.strokes and c.fate is not RegionFate.ADDED:
            spent[c.label].append(c.strokes)
            spent[""].append(c.strokes)
    found = {label: float(np.mean(n)) for label, n in spent.items() if label == "" or len(n) >= _ENOUGH}
    return {"": 1.0} | found


def suggest(waiting: Sequence[WaitingTask], costs: Mapping[str, float], *, count: int) -> list[TaskSuggestion]:
    """The tasks that pay most, first; of one video each further task counts half of the one before.

    A prediction without regions (nothing was found) has to be drawn by hand: it counts as one that surely needs it.
    """
    rated = []
    for one in waiting:
        regions = one.regions or (("", 0.0),)
        chance = 1 - float(np.prod([score for _, score in regions]))
        strokes = sum((1 - score) * costs.get(label, costs[""]) for label, score in regions)
        rated.append(TaskSuggestion(one, chance, strokes))
    chosen: list[TaskSuggestion] = []
    seen: Counter[str] = Counter()
    while rated and len(chosen) < count:
        best = max(rated, key=lambda s: (s.strokes * _AGAIN ** seen[s.waiting.video], -s.waiting.task))
        rated.remove(best)
        seen[best.waiting.video] += 1
        chosen.append(best)
    return chosen


def waiting_of(
    tasks: Iterable[Any], predictions: Iterable[Any], *, video_field: str, word_fields: Sequence[str]
) -> list[WaitingTask]:
    """From what the server lists: tasks without annotations, each with its newest prediction; others are left out."""
    newest: dict[int, Any] = {}
    for prediction in predictions:
        known = newest.get(prediction.task)
        if known is None or prediction.id > known.id:
            newest[prediction.task] = prediction
    found = []
    for task in tasks:
        prediction = newest.get(task.id)
        if prediction is None or task.total_annotations:
            continue
        data = task.data if isinstance(task.data, Mapping) else {}
        words = next((str(data[f]) for f in word_fields if data.get(f)), "")
        regions = [
            r for r in prediction.result or [] if isinstance(r, Mapping) and isinstance(r.get("score"), int | float)
        ]
        scored = tuple((label_of(r), float(np.clip(r["score"], 0, 1))) for r in regions)
        found.append(WaitingTask(int(task.id), str(data.get(video_field) or ""), words, scored))
    return found
