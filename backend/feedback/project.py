"""What is read from a project in Label Studio: its corrected objects, and its tasks that wait for a person."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import httpx
import numpy as np

from backend.feedback.annotator import EditorTruth, interpolate_sequence
from backend.feedback.compare import region_label
from backend.feedback.next_tasks import WaitingTask, select_waiting_tasks
from backend.labelstudio.client import label_studio_client
from backend.labelstudio.config_xml import LabelConfigError
from backend.labelstudio.controls.video_rectangle import VideoRectangleControl, interpolate_boxes
from backend.labelstudio.edits import region_words
from backend.labelstudio.label_config import LabelConfig, parse_label_config
from backend.labelstudio.request import FALLBACK_FIELDS, task_expressions
from backend.labelstudio.timeline import editor_frame_count, frame_aspect, region_rate
from backend.settings import Settings
from refam.text.labelled import split_label
from video.errors import Skipped, UserError, leave_out
from video.formats.base import get_field

if TYPE_CHECKING:
    from video.io.reader import Clip

_REFUSED = {401: "the token is refused", 403: "the token may not see it", 404: "there is no such project"}


class FeedbackError(UserError):
    """The project cannot be read, or its corrections are not enough."""


@dataclass(frozen=True)
class CorrectedObject:
    """One object of one video as a person submitted it.

    Attributes:
        task: Number of the task.
        video: Address of the video in the task.
        fps: Rate of the editor's frame grid.
        words: The expression that refers to the object.
        label: Its label.
        sequence: The region's keyframes.
    """

    task: int
    video: str
    fps: float
    words: str
    label: str
    sequence: tuple[Mapping[str, Any], ...]

    def truth(self, clip: Clip) -> EditorTruth:
        """Return the object's boxes by editor frame of its video."""
        n = editor_frame_count(clip.duration_s, self.fps)
        boxes, visible = interpolate_sequence(self.sequence, n, aspect=frame_aspect(clip, clip.size))
        return EditorTruth(boxes, np.asarray(visible, np.bool_))


@contextmanager
def open_project(settings: Settings, project: int) -> Iterator[tuple[Any, LabelConfig]]:
    """Yield Label Studio's client and the project's label config.

    Raises:
        FeedbackError: If Label Studio cannot be reached or refuses, also within the block.
    """
    from label_studio_sdk.core.api_error import ApiError

    client = label_studio_client(settings)
    if client is None:
        raise FeedbackError("set LABEL_STUDIO_URL and LABEL_STUDIO_API_KEY, of somebody who may see the project")
    try:
        yield client, parse_label_config(client.projects.get(id=project).label_config)
    except ApiError as error:
        raise FeedbackError(f"project {project}: {_REFUSED.get(error.status_code or 0, error.status_code)}") from None
    except httpx.HTTPError as error:
        raise FeedbackError(f"{settings.label_studio_url} cannot be reached: {type(error).__name__}") from None
    except LabelConfigError as error:
        raise FeedbackError(f"project {project}: {error}") from None


def read_waiting_tasks(settings: Settings, project: int) -> list[WaitingTask]:
    """Return the project's tasks that have a prediction and no annotation. Raises FeedbackError."""
    with open_project(settings, project) as (client, config):
        tasks = list(client.tasks.list(project=project, fields="all", page_size=500))
        predictions = list(client.predictions.list(project=project))
    fields = (*config.word_fields, *FALLBACK_FIELDS)
    return select_waiting_tasks(tasks, predictions, video_field=config.media_field, word_fields=fields)


def read_corrected_objects(settings: Settings, project: int, *, skipped: Skipped = None) -> list[CorrectedObject]:
    """Return all objects with words in the project's submitted annotations.

    Args:
        settings: How to reach Label Studio.
        project: The project's number.
        skipped: If given, a task whose annotation is malformed is left out, and a sentence that names it appended here.

    Raises:
        FeedbackError: If the project cannot be read, or holds no boxes on video.
    """
    with open_project(settings, project) as (client, config):
        tasks = list(client.tasks.list(project=project, fields="all", page_size=200))
    if not isinstance(config.control, VideoRectangleControl):
        kind = "pictures" if config.on_pictures else "outlines"
        raise FeedbackError(f"project {project} is one of {kind}; settings are chosen by boxes on video")
    corrected: list[CorrectedObject] = []
    for task in tasks:
        with leave_out(skipped):
            corrected += task_corrected_objects(task, config)
    return corrected


def task_corrected_objects(task: Any, config: LabelConfig) -> Iterator[CorrectedObject]:
    """Yield the objects with words in a task's newest annotation that was not skipped.

    A region holds the words that it was found with. One that a person drew takes the task's words if it is the only
    region and the words name one object.

    Raises:
        FeedbackError, FormatError: If what was submitted is malformed; the text names the task.
    """
    data = task.data if isinstance(task.data, Mapping) else {}
    video = data.get(config.media_field)
    submitted = [a for a in task.annotations or [] if isinstance(a, Mapping) and not a.get("was_cancelled")]
    if not submitted:
        return
    if not isinstance(video, str) or not video.strip():
        raise FeedbackError(
            f'task {task.id}: the field "{config.media_field}" must be a video\'s address, got {video!r}'
        )
    newest = max(submitted, key=lambda a: a["id"] if isinstance(a.get("id"), int) else 0)
    where = f"task {task.id}, annotation {newest.get('id')}"
    result = newest.get("result") or []
    if not isinstance(result, list):
        raise FeedbackError(f"{where}: result must be a list of regions, got {result!r:.80}")
    regions = [r for r in result if isinstance(r, Mapping) and r.get("type") == "videorectangle"]
    try:
        fps = config.fps(data)
        expressions = task_expressions(data, config) if len(regions) == 1 else []
        task_words = split_label(expressions[0])[1] if len(expressions) == 1 else None
    except UserError as error:
        raise FeedbackError(f"task {task.id}: {error}") from None
    for region in regions:
        value = get_field(region, "value", dict, f"{where}: a region")
        sequence = get_field(value, "sequence", list, f"{where}: a region")
        interpolate_boxes(sequence, 1, where, aspect=1.0)  # raises FormatError where an item is no keyframe
        words = region_words(region) or task_words
        if words and sequence:
            yield CorrectedObject(
                int(task.id), video, region_rate(value, fps), words, region_label(region), tuple(sequence)
            )
