"""From a prompt to the prompts that SAM2 understands, and from its masks to a score.

SAM2 was trained on points, boxes and its own masks, never on heatmaps. A heatmap becomes point prompts: at its peak and
in the middle of what rises above several levels, one at a time and two at a time; for models whose words fit many
things, also at its other modes. SAM2 answers a single point with three masks; they are ranked by how much of the
heatmap they cover, by the model's IoU prediction, by their stability score and, for models whose attention marks a part
of its object, by how whole they are (`video.masks.wholeness`). The heatmap's bounding box, the heatmap as a mask
prompt, and negative points on its other modes cost more than they gain (`make bench-masks` prints it).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import cv2
import numpy as np
import torch
from numpy.typing import NDArray

from refam.segmenters.grabcut import LEVELS, is_mask
from video.masks import Mask, box_of, components, deepest_point, point_accuracy, resize_map, wholeness
from video.types import Prompt

_MODE_DISTANCE = 0.05  # of the heatmap's longer side: modes that are closer are one
_MOST_MODES = 12
PAIR_LEVEL = 0.65  # the level of a heatmap at which two points prompt together: for the whole, not for a part
Point = tuple[float, float]


def expand_prompt(prompt: Prompt) -> list[Prompt]:
    """Return the prompts that SAM2 is to be asked with for one prompt; none for a heatmap that is zero everywhere."""
    prior = prompt.prior
    has_hints = len(prompt.points) > 0 or prompt.box is not None
    if prior is None or prior.max() <= 0:
        return [_without_prior(prompt)] if has_hints else []
    if is_mask(prior) or (len(prompt.points) and prompt.box is None):  # points that correct this very mask
        return _refine_mask(prompt, np.asarray(prior, np.float32))
    if has_hints:
        return [_without_prior(prompt)]
    heatmap = np.asarray(prior, np.float32)
    points = [*_heatmap_points(heatmap), *([mode] for mode in _other_modes(heatmap, prompt.mask_choice.mode_level))]
    return [point_prompt(some) for some in points]


def point_prompt(positive: Sequence[Point], negative: Sequence[Point] = ()) -> Prompt:
    """Return a prompt of points on and off the object, (x, y) as fractions of the image."""
    return Prompt(
        points=np.array([*positive, *negative], np.float64),
        labels=np.array([1] * len(positive) + [0] * len(negative), np.int64),
    )


def score_mask(logits: torch.Tensor, mask: Mask, predicted_iou: float, prompt: Prompt) -> float:
    """Score how well one of SAM2's masks fits a prompt.

    A mask or points in the prompt are to be kept, a heatmap only to be covered.

    Args:
        logits: (h, w), as the model gave them.
        mask: (H, W) bool, at the image's size.
        predicted_iou: The model's IoU prediction.
        prompt: The original prompt.

    Returns:
        The IoU prediction times the share of points on the right side, times the agreement with the prior if there is
        one. In [0, 1].
    """
    score = predicted_iou * point_accuracy(mask, prompt.points, prompt.labels)
    if prompt.prior is None:
        return float(np.clip(score, 0, 1))
    if is_mask(prompt.prior) or len(prompt.points) or prompt.box is not None:
        return float(np.clip(score * soft_dice(prompt.prior, mask), 0, 1))
    return float(np.clip(score * np.sqrt(stability_score(logits) * prior_coverage(prompt.prior, mask)), 0, 1))


def rank_mask(score: float, mask: Mask, prompt: Prompt) -> float:
    """Return by what a mask is chosen among those that SAM2 gives for a prompt.

    Args:
        score: As `score_mask` returns it.
        mask: (H, W) bool.
        prompt: The original prompt; its `mask_choice` says how far a larger mask is preferred.
    """
    return score * wholeness(mask, prompt.mask_choice.whole_bias)


def prior_coverage(prior: NDArray[np.float32], mask: Mask) -> float:
    """Return twice what a soft map holds inside a mask over the sum of both, in [0, 1].

    Unlike `soft_dice` it does not ask a blurred map to be as high as the mask all over.

    Args:
        prior: (h, w) float32 in [0, 1].
        mask: (H, W) bool.
    """
    h, w = prior.shape
    share = resize_map(mask, (w, h))
    total = float(prior.sum() + share.sum())
    return 0.0 if total <= 0 else 2 * float((prior * share).sum()) / total


def soft_dice(prior: NDArray[np.float32], mask: Mask) -> float:
    """Return the Dice coefficient, in [0, 1], of a soft map (h, w) and a mask (H, W), on the map's grid."""
    h, w = prior.shape
    share = resize_map(mask, (w, h))
    total = float(prior.sum() + share.sum())
    return 0.0 if total <= 0 else float(2 * np.minimum(prior, share).sum() / total)


def stability_score(logits: torch.Tensor, *, offset: float = 1.0) -> float:
    """Return SAM's stability score (Kirillov et al. 2023): the IoU of the masks at the thresholds +offset and -offset.

    It is in [0, 1], and low for a mask whose outline depends on the threshold.
    """
    return float((logits > offset).sum()) / max(1.0, float((logits > -offset).sum()))


def _heatmap_points(heatmap: NDArray[np.float32]) -> Iterator[list[Point]]:
    """Yield the points to prompt with: the peak, and at each level the middle of the part that holds it."""
    h, w = heatmap.shape
    y, x = np.unravel_index(int(heatmap.argmax()), heatmap.shape)
    yield [(float(x + 0.5) / w, float(y + 0.5) / h)]
    for level in LEVELS:
        part = next(p for p in components(heatmap >= level * heatmap.max()) if p[y, x])
        middle = deepest_point(part)
        if middle is not None:
            yield [middle]
            if level == PAIR_LEVEL and (other := _farthest_point(part, middle)) is not None:
                yield [middle, other]


def _other_modes(heatmap: NDArray[np.float32], level: float) -> list[Point]:
    """Return the local maxima of a heatmap, without the highest, that have at least this share of its height."""
    if level >= 1:
        return []
    longer = max(heatmap.shape)
    smooth = cv2.GaussianBlur(heatmap, (0, 0), longer / 100)
    width = 2 * max(1, round(longer * _MODE_DISTANCE / 2)) + 1
    is_top = (smooth >= cv2.dilate(smooth, np.ones((width, width), np.uint8))) & (smooth >= level * smooth.max())
    ys, xs = np.nonzero(is_top)
    kept: list[tuple[int, int]] = []
    for i in np.argsort(-smooth[ys, xs], kind="stable"):
        y, x = int(ys[i]), int(xs[i])
        if all(np.hypot(x - other_x, y - other_y) > _MODE_DISTANCE * longer for other_y, other_x in kept):
            kept.append((y, x))
    h, w = heatmap.shape
    return [((x + 0.5) / w, (y + 0.5) / h) for y, x in kept[1 : _MOST_MODES + 1]]


def _farthest_point(part: Mask, point: Point) -> Point | None:
    """Return the pixel well inside a mask, (h, w), that is farthest from a point; None if that is the same pixel."""
    depth = cv2.distanceTransform(np.pad(part, 1).astype(np.uint8), cv2.DIST_L2, cv2.DIST_MASK_PRECISE)[1:-1, 1:-1]
    ys, xs = np.nonzero(depth >= 0.5 * depth.max())
    h, w = part.shape
    distance = np.hypot(xs + 0.5 - point[0] * w, ys + 0.5 - point[1] * h)
    farthest = int(distance.argmax())
    if distance[farthest] < 1:
        return None
    return float(xs[farthest] + 0.5) / w, float(ys[farthest] + 0.5) / h


def _refine_mask(prompt: Prompt, prior: NDArray[np.float32]) -> list[Prompt]:
    """Return the prompts that refine a mask: box and point, the same with the mask as a mask prompt, and no box."""
    mask = prior >= 0.5
    box, middle = prompt.box or box_of(mask), deepest_point(mask)
    if box is None or middle is None:
        return []
    points, labels = prompt.points, prompt.labels
    if not len(points):
        points, labels = np.array([middle]), np.ones(1, np.int64)
    return [
        Prompt(points=points, labels=labels, box=box),
        Prompt(points=points, labels=labels, box=box, prior=prior),
        Prompt(points=points, labels=labels, prior=prior),
    ]


def _without_prior(prompt: Prompt) -> Prompt:
    return Prompt(points=prompt.points, labels=prompt.labels, box=prompt.box)
