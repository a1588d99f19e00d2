"""Which mask a single click means: the whole thing that it lies on, or a part of it.

A click is ambiguous: a segmenter may answer with a part, a larger part and the whole. It is asked twice more: with a
second point, on what the whole adds to the part, and with both points. The whole is meant if the segmenter is at least
as sure of the mask for both points as of either of the masks for one point; otherwise they are two things. If the mask
for both points is none of the answers to the click, it is something larger, in front of which the object is: then the
whole is searched among the smaller answers.

Motion against the background counts more (`refam.pipeline.part_motion`): what moves without the rest is a thing of its
own, unless the segmenter is surer of the whole at once; and what moves with the rest is taken for a part of it, unless
the segmenter clearly says otherwise.

Several points, or a box, say more than a click and are not treated here.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from refam.pipeline.part_motion import PartMotion, compare_motion, subtract_camera_motions
from video.masks import Mask, contains, deepest_point, iou
from video.relative_motion import displacements_around
from video.types import Candidate, Prompt, Segmenter

if TYPE_CHECKING:
    from video.io.reader import Clip

Point = tuple[float, float]

_PART_SHARE = 0.8  # of the whole's area; larger masks are other outlines of the same thing
_SAME_IOU = 0.7  # from it on two masks show the same thing
_LEAST_COVERAGE = 0.5  # of the part by a mask that holds it
_SURE_SCORE = 0.5  # of an answer to the click: from it on the object is among the answers

# How sure the segmenter must be of the whole, relative to its parts, where both move alike; otherwise as sure. With any
# value from 0.6 to 0.95 the masks are the same on 132 clicks in seven DAVIS clips and 121 in clips composed of them.
_COMMON_MOTION_MARGIN = 0.9


def choose_click_mask(
    clip: Clip, frame: int, image: NDArray[np.uint8], point: Point, segmenter: Segmenter
) -> Candidate | None:
    """Outline the thing that a person clicked on.

    Costs two more prompts on the same image, and optical flow to the frames around it, if the segmenter's answers
    differ; otherwise nothing.

    Args:
        clip: The video; in separate pictures no motion is known.
        frame: The frame that was clicked on.
        image: Its pixels, (H, W, 3) uint8 RGB.
        point: The click, normalised (x, y).
        segmenter: What outlines things.

    Returns:
        The mask with its score; None if the segmenter finds nothing.
    """
    candidates = _segment(segmenter, image, [point], frame)
    under_click = [c for c in candidates if contains(c.mask, point)]
    if not under_click:
        return candidates[0] if candidates else None
    return _choose(clip, frame, image, point, segmenter, under_click)


def _choose(
    clip: Clip,
    frame: int,
    image: NDArray[np.uint8],
    point: Point,
    segmenter: Segmenter,
    under_click: Sequence[Candidate],
) -> Candidate:
    """Choose among the answers that hold the click, (x, y); see `choose_click_mask`."""
    whole = max(under_click, key=_area)
    parts = sorted((c for c in under_click if _area(c) < _PART_SHARE * _area(whole)), key=_area, reverse=True)
    best = max(under_click, key=_score)
    if not parts:
        return best
    part = max(parts, key=_score)
    motions = subtract_camera_motions(whole.mask, displacements_around(clip, frame))
    for moving in (
        p for p in parts if p.score >= whole.score
    ):  # flow errs on fast things, half of which may seem still
        if compare_motion(moving.mask, whole.mask, motions) is PartMotion.ALONE:
            return moving
    is_together = compare_motion(part.mask, whole.mask, motions) is PartMotion.WITH_THE_REST
    joint, apart = _outline_whole(segmenter, image, point, whole, parts, part)
    if joint is None or joint.score < (_COMMON_MOTION_MARGIN if is_together else 1) * max(part.score, apart):
        return best
    if iou(joint.mask, whole.mask) >= _SAME_IOU or best.score < _SURE_SCORE:
        return joint
    return _choose(clip, frame, image, point, segmenter, parts)


def _outline_whole(
    segmenter: Segmenter,
    image: NDArray[np.uint8],
    point: Point,
    whole: Candidate,
    parts: Sequence[Candidate],
    part: Candidate,
) -> tuple[Candidate | None, float]:
    """Outline the whole by two points, and see what the second point means by itself.

    Args:
        segmenter: What outlines things.
        image: (H, W, 3) uint8 RGB.
        point: The click, normalised (x, y).
        whole: The largest mask for it.
        parts: The smaller ones.
        part: The one of them that the whole is compared with.

    Returns:
        The mask for the click and a point on what the whole adds to its parts, None if there is none; and the highest
        score of a mask for that point alone that leaves the part out, 0 if there is none.
    """
    rest = whole.mask & ~np.logical_or.reduce([p.mask for p in parts])
    other = deepest_point(rest) or deepest_point(whole.mask)
    if other is None:
        raise RuntimeError("a candidate without pixels")
    both = [c for c in _segment(segmenter, image, [point, other], whole.frame) if contains(c.mask, point)]
    if not both:
        return None, 0.0
    largest = max(both, key=_area)
    joint = max((c for c in both if iou(c.mask, largest.mask) >= _SAME_IOU), key=_score)
    apart = [
        c.score
        for c in _segment(segmenter, image, [other], whole.frame)
        if _coverage(part.mask, c.mask) < _LEAST_COVERAGE
    ]
    return joint, max(apart, default=0.0)


def _segment(segmenter: Segmenter, image: NDArray[np.uint8], points: Sequence[Point], frame: int) -> list[Candidate]:
    """Return the segmenter's candidates for points on the object, those without pixels left out."""
    prompt = Prompt(points=np.array(points, np.float64).reshape(-1, 2), labels=np.ones(len(points), np.int64))
    return [c for c in segmenter.segment(image, prompt, frame=frame) if c.mask.any()]


def _area(candidate: Candidate) -> int:
    return int(np.count_nonzero(candidate.mask))


def _score(candidate: Candidate) -> float:
    return candidate.score


def _coverage(part: Mask, mask: Mask) -> float:
    """Return the share of a part's pixels that are in a mask."""
    return float(np.count_nonzero(part & mask) / np.count_nonzero(part))
