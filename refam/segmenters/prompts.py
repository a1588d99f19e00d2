"""From what is known of an object to what SAM2 understands, and from its answers to the one that fits.

SAM2 was trained on clicks, boxes and its own masks, never on heatmaps. A heatmap becomes clicks: at its peak and in the
middle of what rises above several levels, one at a time and two at a time. Every click has three answers, and what
decides is how much of the map lies inside, the model's own guess, and how sharp its answer is. Measured and left out,
because they cost more than they gave: the heatmap's box, the heatmap as a dense prompt, and clicks that say no on its
other modes (`make bench-masks` prints it).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import cv2
import numpy as np
import torch
from numpy.typing import NDArray

from refam.segmenters.grabcut import LEVELS, is_sharp
from video.masks import Mask, box_of, components, deepest_point, resize_map
from video.types import Prompt

PAIR_LEVEL = 0.65  # two clicks at once: they ask for the whole, where one may ask for a part
Point = tuple[float, float]


def questions(prompt: Prompt) -> list[Prompt]:
    """What to ask for a prompt; nothing for a heatmap that is zero everywhere."""
    prior = prompt.prior
    told = len(prompt.points) > 0 or prompt.box is not None
    if prior is None or prior.max() <= 0:
        return [_without_prior(prompt)] if told else []
    if is_sharp(prior) or (len(prompt.points) and prompt.box is None):  # clicks in a belief about this very object
        return _about_mask(prompt, np.asarray(prior, np.float32))
    if told:
        return [_without_prior(prompt)]
    return [clicks(points) for points in _points_of(np.asarray(prior, np.float32))]


def clicks(on: Sequence[Point], off: Sequence[Point] = ()) -> Prompt:
    """Normalised (x, y) on and off the object."""
    return Prompt(points=np.array([*on, *off], np.float64), labels=np.array([1] * len(on) + [0] * len(off), np.int64))


def worth(logits: torch.Tensor, mask: Mask, guess: float, prompt: Prompt) -> float:
    """In [0, 1]: how well an answer fits. logits: (h, w), as the model gave them; mask: (H, W), at the image's size.

    guess: the model's guess of its IoU. A mask or clicks that were given are to be kept, a heatmap only to be covered:
    what lies beneath the mask is compared with all of it, and an answer whose outline hangs on the threshold counts
    less (SAM's stability score, Kirillov et al. 2023).
    """
    fit = guess * _hits(mask, prompt)
    if prompt.prior is None:
        return float(np.clip(fit, 0, 1))
    if is_sharp(prompt.prior) or len(prompt.points) or prompt.box is not None:
        return float(np.clip(fit * soft_overlap(prompt.prior, mask), 0, 1))
    return float(np.clip(fit * np.sqrt(stability(logits) * covered(prompt.prior, mask)), 0, 1))


def covered(prior: NDArray[np.float32], mask: Mask) -> float:
    """In [0, 1]: twice what a soft map, (h, w) in [0, 1], holds inside a mask, over what there is of both.

    Unlike the overlap it does not ask a blurred map to be as high as the mask all over.
    """
    h, w = prior.shape
    share = resize_map(mask, (w, h))
    total = float(prior.sum() + share.sum())
    return 0.0 if total <= 0 else 2 * float((prior * share).sum()) / total


def soft_overlap(prior: NDArray[np.float32], mask: Mask) -> float:
    """In [0, 1]: Dice coefficient of a soft prior and a mask, on the prior's grid."""
    h, w = prior.shape
    share = resize_map(mask, (w, h))
    total = float(prior.sum() + share.sum())
    return 0.0 if total <= 0 else float(2 * np.minimum(prior, share).sum() / total)


def stability(logits: torch.Tensor, *, offset: float = 1.0) -> float:
    """In [0, 1]: IoU of the masks that thresholds `offset` above and below 0 give."""
    return float((logits > offset).sum()) / max(1.0, float((logits > -offset).sum()))


def _points_of(heatmap: NDArray[np.float32]) -> Iterator[list[Point]]:
    h, w = heatmap.shape
    y, x = np.unravel_index(int(heatmap.argmax()), heatmap.shape)
    yield [(float(x + 0.5) / w, float(y + 0.5) / h)]
    for level in LEVELS:
        part = next(p for p in components(heatmap >= level * heatmap.max()) if p[y, x])
        middle = deepest_point(part)
        if middle is not None:
            yield [middle]
            if level == PAIR_LEVEL and (other := _far_point(part, middle)) is not None:
                yield [middle, other]


def _far_point(part: Mask, point: Point) -> Point | None:
    """The pixel well inside a mask, (h, w), that is farthest from a point of it; None where that is the same."""
    depth = cv2.distanceTransform(np.pad(part, 1).astype(np.uint8), cv2.DIST_L2, cv2.DIST_MASK_PRECISE)[1:-1, 1:-1]
    ys, xs = np.nonzero(depth >= 0.5 * depth.max())
    h, w = part.shape
    away = np.hypot(xs + 0.5 - point[0] * w, ys + 0.5 - point[1] * h)
    farthest = int(away.argmax())
    return (float(xs[farthest] + 0.5) / w, float(ys[farthest] + 0.5) / h) if away[farthest] >= 1 else None


def _about_mask(prompt: Prompt, prior: NDArray[np.float32]) -> list[Prompt]:
    """A mask to be refined: as box and click, with the mask itself as a dense prompt, and without the box."""
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


def _hits(mask: Mask, prompt: Prompt) -> float:
    """The share of the given points that the mask has on the right side; 1 without points."""
    if not len(prompt.points):
        return 1.0
    h, w = mask.shape
    right = [
        mask[min(int(y * h), h - 1), min(int(x * w), w - 1)] == bool(label)
        for (x, y), label in zip(prompt.points, prompt.labels, strict=True)
    ]
    return float(np.mean(right))
