"""What a pre-annotation is worth: a simulated annotator's strokes, beside what a person needs alone.

Four ways to come to boxes that are right on every frame: one box per frame by hand; the fewest keyframes by hand (the
optimum, which no person finds at once); our first answer, mended keyframe by keyframe; and the same, asking again where
a long stretch is wrong, with the track held to what was drawn.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, cast

import cv2
import numpy as np
from numpy.typing import NDArray

from backend.feedback.annotator import EditorTruth, Keyframes, StrokeCount, by_hand, mend
from backend.jobs.runner import add_user_prompts
from backend.labelstudio.controls.base import KEYFRAME_IOU
from backend.labelstudio.controls.video_rectangle import box_sequence
from backend.labelstudio.edits import UserKeyframe
from backend.labelstudio.request import PredictRequest
from refam.evaluation.synthetic import as_clip
from refam.pipeline.pipeline import Pipeline, PipelineError
from refam.pipeline.stage_cache import StageCache
from refam.pipeline.types import FramePrompt, Target
from refam.tiny.scenes import draw_clip
from video.io.reader import open_sequence
from video.masks import deepest_point

if TYPE_CHECKING:
    from video.io.reader import Clip

FPS = 24.0
_SEED = 20261123  # of drawn clips; nothing was fitted on these
_MOST = 200  # strokes, then the annotator gives up


@dataclass(frozen=True, eq=False)
class StrokeCase:
    """One object of one clip. masks: (N, H, W) bool, the truth. target: what is asked first."""

    name: str
    clip: Clip
    masks: NDArray[np.bool_]
    target: Target

    def truth(self) -> EditorTruth:
        """The boxes of the masks. The clip's rate is the editor's, so the frames are the same."""
        return EditorTruth.of_masks(self.masks)


@dataclass(frozen=True)
class Cost:
    """Strokes for one object, each way. asked: 1 for the words or the click. frames: those that show it."""

    name: str
    frames: int
    hand: int
    asked: int
    mended: StrokeCount
    rerun: StrokeCount


def drawn_cases(count: int, *, n_frames: int = 90) -> Iterator[StrokeCase]:
    """Drawn clips of three things that bounce and cross, each asked for by its words; `count` objects in all.

    A case's clip can be read until the next case is taken.
    """
    for number in range(count):
        drawn = draw_clip(_SEED + number, size=(480, 270), n_frames=n_frames, fps=FPS, speed=0.9)
        k = number % len(drawn.expressions)
        words = drawn.expressions[k]
        with as_clip(drawn.frames, fps=FPS) as clip:
            yield StrokeCase(f"{number}: {words}", clip, drawn.masks[k], Target(words, words))


def davis_cases(root: Path, names: Sequence[str], *, step: int = 1) -> Iterator[StrokeCase]:
    """Clips laid out as DAVIS (JPEGImages/<clip>/*.jpg, Annotations/<clip>/*.png), asked for by one click.

    The click is where the first frame's true mask is deepest. step: take every n-th frame.
    """
    for name in names:
        files = sorted((root / "JPEGImages" / name).glob("*.jpg"))[::step]
        masks = np.stack([_mask(root / "Annotations" / name / f"{file.stem}.png") for file in files])
        shown = int(masks.any((1, 2)).argmax())
        click = deepest_point(masks[shown])
        if click is None:
            raise ValueError(f"{name}: no mask shows an object")
        target = Target(name, prompts=(FramePrompt(shown, points=(click,), labels=(1,)),))
        yield StrokeCase(name, cast("Clip", open_sequence(files, fps=FPS)), masks, target)


def cost(case: StrokeCase, pipeline: Pipeline, *, memo: Path, keyframe_iou: float = KEYFRAME_IOU) -> Cost:
    """Counts the strokes. memo: a folder for finished stages, as the backend keeps them between two questions."""
    truth = case.truth()
    kept = StageCache(memo, case.name)

    def answer(fixed: tuple[UserKeyframe, ...]) -> Keyframes:
        work = PredictRequest(case.name, case.name, FPS, (case.target,), (case.name,), (fixed,))
        try:
            (result,) = pipeline.run(case.clip, add_user_prompts(work, case.clip), cache=kept)
        except PipelineError:  # nothing was found: the annotator begins with an empty region
            return []
        sequence = box_sequence(result.track, case.clip, fps=FPS, edits=fixed, keyframe_iou=keyframe_iou)
        return [dict(keyframe) for keyframe in sequence]

    first = answer(())
    return Cost(
        name=case.name,
        frames=int(truth.visible.sum()),
        hand=by_hand(truth),
        asked=1,
        mended=mend(first, truth, rerun=None, most=_MOST),
        rerun=mend(first, truth, rerun=answer, most=_MOST),
    )


def table(costs: Sequence[Cost]) -> str:
    """Markdown: strokes for each object and all together."""
    lines = [
        "| | frames (one box each) | fewest keyframes by hand | first answer wrong on | mended | re-run |",
        "|---|---|---|---|---|---|",
    ]
    for c in costs:
        lines.append(
            f"| {c.name} | {c.frames} | {c.hand} | {c.mended.wrong_at_first} | {_said(c.mended)} | {_said(c.rerun)} |"
        )
    totals = [sum(v) for v in zip(*((c.frames, c.hand, c.mended.strokes, c.rerun.strokes) for c in costs), strict=True)]
    lines.append(f"| **all** | {totals[0]} | {totals[1]} | | {totals[2]} | **{totals[3]}** |")
    asked = sum(c.asked for c in costs)
    lines += [
        "",
        f"corrections: {totals[3] / totals[1]:.2f} of the fewest keyframes by hand, {totals[3] / totals[0]:.3f} of a "
        f"box per frame (without re-running {totals[2] / totals[1]:.2f} and {totals[2] / totals[0]:.3f}); "
        f"with the {asked} words or clicks that asked: {(totals[3] + asked) / totals[1]:.2f}",
        f"{sum(not c.mended.wrong_at_first for c in costs)} of {len(costs)} first answers need no stroke",
    ]
    return "\n".join(lines)


def _said(tally: StrokeCount) -> str:
    return f"{tally.strokes}" + (f" ({tally.left} frames still wrong)" if tally.left else "")


def _mask(path: Path) -> NDArray[np.bool_]:
    read = cv2.imread(str(path), cv2.IMREAD_GRAYSCALE)
    if read is None:
        raise ValueError(f"{path}: no mask is there")
    return np.asarray(read > 127, np.bool_)
