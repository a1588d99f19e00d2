"""What people made of a project's videos, as examples to choose settings by."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from backend.feedback.annotator import EditorTruth, drawn
from backend.feedback.compare import label_of
from backend.feedback.project import FeedbackError, asking
from backend.labelstudio.controls.video_rectangle import VideoRectangleControl
from backend.labelstudio.edits import region_words
from backend.labelstudio.label_config import LabelConfig
from backend.labelstudio.request import task_expressions
from backend.labelstudio.timeline import editor_frame_count
from backend.settings import Settings


@dataclass(frozen=True)
class Example:
    """One object of one video as a person left it. sequence: its keyframes; fps: of the editor's grid."""

    task: int
    video: str
    fps: float
    words: str
    label: str
    sequence: tuple[Mapping[str, Any], ...]

    def truth(self, duration_s: float) -> EditorTruth:
        """By editor frame."""
        boxes, visible = drawn(self.sequence, editor_frame_count(duration_s, self.fps))
        return EditorTruth(boxes, np.asarray(visible, np.bool_))


def examples(settings: Settings, project: int) -> list[Example]:
    """All objects with words in the project's submitted annotations. Raises FeedbackError."""
    with asking(settings, project) as (studio, config):
        tasks = list(studio.tasks.list(project=project, fields="all", page_size=200))
    if not isinstance(config.control, VideoRectangleControl):
        what = "pictures" if config.on_pictures else "outlines"
        raise FeedbackError(f"project {project} is one of {what}; settings are chosen by boxes on video")
    return [e for task in tasks for e in of_task(task, config)]


def of_task(task: Any, config: LabelConfig) -> Iterator[Example]:
    """The objects of a task's newest annotation that was not skipped.

    A region says which words it was found with; one that a person drew takes the task's, if it is the only one and they
    name one object. Others have no words to learn from.
    """
    data = task.data if isinstance(task.data, Mapping) else {}
    video = data.get(config.media_field)
    submitted = [a for a in task.annotations or [] if isinstance(a, Mapping) and not a.get("was_cancelled")]
    if not submitted or not isinstance(video, str):
        return
    newest = max(submitted, key=lambda a: int(a.get("id") or 0))
    regions = [r for r in newest.get("result") or [] if isinstance(r, Mapping) and r.get("type") == "videorectangle"]
    asked = task_expressions(data, config) if len(regions) == 1 else []
    said = asked[0] if len(asked) == 1 else None
    for region in regions:
        value = region.get("value")
        sequence = value.get("sequence") if isinstance(value, Mapping) else None
        words = region_words(region) or said
        if words and sequence:
            yield Example(int(task.id), video, config.fps(data), words, label_of(region), tuple(sequence))
