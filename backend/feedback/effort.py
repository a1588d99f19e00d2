"""How much annotation effort a prediction saves: the strokes of a simulated annotator, beside those without one.

There are four ways to boxes that are right on every frame: one box on every frame by hand; the fewest keyframes by hand
(the optimum, which no person finds at once); the prediction, corrected keyframe by keyframe; and the same, with the
model run again from the corrected keyframes where a long span is wrong.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, cast

import cv2
import numpy as np
from numpy.typing import NDArray

from backend.feedback.annotator import EditorTruth, KeyframeItems, StrokeCount, correct_sequence, fewest_manual_strokes
from backend.jobs.runner import add_user_prompts
from backend.labelstudio.controls.video_rectangle import box_sequence
from backend.labelstudio.edits import UserKeyframe
from backend.labelstudio.request import PredictRequest
from refam.evaluation.synthetic import as_clip
from refam.pipeline.pipeline import Pipeline, PipelineError
from refam.pipeline.stage_cache import StageCache
from refam.pipeline.types import FramePrompt, Target
from refam.tiny.scenes import draw_clip
from video.io.reader import open_sequence
from video.keyframes import KEYFRAME_IOU
from video.masks import deepest_point

if TYPE_CHECKING:
    from video.io.reader import Clip

FPS = 24.0
_SEED = 20261123  # of drawn clips; nothing was fitted on these
_MAX_STROKES = 200  # after which the annotator gives up


@dataclass(frozen=True, eq=False)
class EffortCase:
    """One object of one clip.

    Attributes:
        name: Of the clip and the object.
        clip: The clip; its rate is the editor's.
        masks: (N, H, W) bool, the true masks.
        target: What the first prediction is made from.
    """

    name: str
    clip: Clip
    masks: NDArray[np.bool_]
    target: Target

    def truth(self) -> EditorTruth:
        """Return the boxes of the masks, by editor frame."""
        return EditorTruth.from_masks(self.masks)


@dataclass(frozen=True)
class AnnotationEffort:
    """The strokes for one object.

    Attributes:
        name: Of the case.
        frames: Number of frames that show the object, so of boxes without keyframes.
        manual: The fewest strokes without a prediction.
        prompts: Words typed or clicks made for the first prediction: 1.
        corrected: Strokes to correct the prediction by hand.
        rerun: Strokes to correct it with the model run again.
    """

    name: str
    frames: int
    manual: int
    prompts: int
    corrected: StrokeCount
    rerun: StrokeCount


def drawn_cases(count: int, *, n_frames: int = 90) -> Iterator[EffortCase]:
    """Yield `count` objects of drawn clips, each of three shapes that bounce and cross, to be found by their words.

    The clip of a case can be read until the next case is requested.
    """
    for number in range(count):
        scene = draw_clip(_SEED + number, size=(480, 270), n_frames=n_frames, fps=FPS, speed=0.9)
        k = number % len(scene.expressions)
        words = scene.expressions[k]
        with as_clip(scene.frames, fps=FPS) as clip:
            yield EffortCase(f"{number}: {words}", clip, scene.masks[k], Target(words, words))


def davis_cases(root: Path, names: Sequence[str], *, step: int = 1) -> Iterator[EffortCase]:
    """Yield clips laid out as DAVIS (JPEGImages/CLIP/*.jpg, Annotations/CLIP/*.png), to be found by one click.

    The click is at the deepest point of the first true mask that is not empty.

    Args:
        root: The dataset's folder.
        names: The clips.
        step: Take every n-th frame.

    Raises:
        ValueError: If a mask is missing, or none shows an object.
    """
    for name in names:
        files = sorted((root / "JPEGImages" / name).glob("*.jpg"))[::step]
        masks = np.stack([_read_mask(root / "Annotations" / name / f"{file.stem}.png") for file in files])
        first_visible = int(masks.any((1, 2)).argmax())
        click = deepest_point(masks[first_visible])
        if click is None:
            raise ValueError(f"{name}: no mask shows an object")
        target = Target(name, prompts=(FramePrompt(first_visible, points=(click,), labels=(1,)),))
        yield EffortCase(name, cast("Clip", open_sequence(files, fps=FPS)), masks, target)


def measure_effort(
    case: EffortCase, pipeline: Pipeline, *, cache_dir: Path, keyframe_iou: float = KEYFRAME_IOU
) -> AnnotationEffort:
    """Count the strokes that one object takes.

    Args:
        case: The object.
        pipeline: The pipeline that predicts.
        cache_dir: A folder for finished stages, as the backend keeps them between two predictions of a task.
        keyframe_iou: The IoU that boxes between keyframes must keep.
    """
    truth = case.truth()
    cache = StageCache(cache_dir, case.name)

    def predict(fixed: tuple[UserKeyframe, ...]) -> KeyframeItems:
        request = PredictRequest(case.name, case.name, FPS, (case.target,), (case.name,), (fixed,))
        try:
            (result,) = pipeline.run(case.clip, add_user_prompts(request, case.clip), cache=cache)
        except PipelineError:  # the object was not found: the annotator begins with an empty region
            return []
        sequence = box_sequence(result.track, case.clip, fps=FPS, edits=fixed, keyframe_iou=keyframe_iou)
        return [dict(keyframe) for keyframe in sequence]

    first = predict(())
    return AnnotationEffort(
        name=case.name,
        frames=int(truth.visible.sum()),
        manual=fewest_manual_strokes(truth),
        prompts=1,
        corrected=correct_sequence(first, truth, rerun=None, max_strokes=_MAX_STROKES),
        rerun=correct_sequence(first, truth, rerun=predict, max_strokes=_MAX_STROKES),
    )


def effort_table(efforts: Sequence[AnnotationEffort]) -> str:
    """Return Markdown: the strokes for each object and for all."""
    lines = [
        "| | frames (one box each) | fewest keyframes by hand | first answer wrong on | mended | re-run |",
        "|---|---|---|---|---|---|",
    ]
    for e in efforts:
        lines.append(
            f"| {e.name} | {e.frames} | {e.manual} | {e.corrected.frames_wrong_at_first} | {_format(e.corrected)} "
            f"| {_format(e.rerun)} |"
        )
    rows = [(e.frames, e.manual, e.corrected.strokes, e.rerun.strokes) for e in efforts]
    totals = [sum(column) for column in zip(*rows, strict=True)]
    lines.append(f"| **all** | {totals[0]} | {totals[1]} | | {totals[2]} | **{totals[3]}** |")
    prompts = sum(e.prompts for e in efforts)
    lines += [
        "",
        f"corrections: {totals[3] / totals[1]:.2f} of the fewest keyframes by hand, {totals[3] / totals[0]:.3f} of a "
        f"box per frame (without re-running {totals[2] / totals[1]:.2f} and {totals[2] / totals[0]:.3f}); "
        f"with the {prompts} words or clicks that asked: {(totals[3] + prompts) / totals[1]:.2f}",
        f"{sum(not e.corrected.frames_wrong_at_first for e in efforts)} of {len(efforts)} first answers need no stroke",
    ]
    return "\n".join(lines)


def _format(count: StrokeCount) -> str:
    return f"{count.strokes}" + (f" ({count.frames_left} frames still wrong)" if count.frames_left else "")


def _read_mask(path: Path) -> NDArray[np.bool_]:
    image = cv2.imread(str(path), cv2.IMREAD_GRAYSCALE)
    if image is None:
        raise ValueError(f"{path}: no mask is there")
    return np.asarray(image > 127, np.bool_)
