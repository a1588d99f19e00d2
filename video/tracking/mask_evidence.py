"""Which of a segmenter's masks agrees with what the memory says about an object, and what is kept of it."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

from video.masks import CRUMB_PX, MAIN_SHARE, Mask, components, deepest_point, distance_to, resize_map
from video.tracking.memory_bank import Grid
from video.types import Candidate, Prompt

_WHOLE_SHARE = 0.75  # of its area: from it on nothing of an object is missing
_MAX_STRANGER_SHARE = 0.5  # of the object's area: a larger part may be the object itself
_MIN_STRANGER_DISTANCE = 0.6  # of the object's size (square root of its area)
_MIN_PART_PROBABILITY = 0.5  # mean probability from which on a small part of a mask belongs to the object


@dataclass(frozen=True, eq=False)
class MaskEvidence:
    """A candidate mask and what speaks for it.

    Args:
        mask: (H, W) bool.
        fit: In [0, 1]: the overlap (Dice) of the mask with the probability map.
        similarity: The mean cosine of the features under the mask to the memory of the object.
        segmenter_score: The segmenter's score, in [0, 1].
        continuity: In [0, 1]: how well colours and area agree with those at the last look; 0 if they are not known.
        loose_continuity: In [0, 1]: the same for an area up to twice as large, or for a mask at the place to which flow
            has carried the object.
        has_other_colors: Whether the colours are clearly others than at the last look.
    """

    mask: Mask
    fit: float
    similarity: float
    segmenter_score: float
    continuity: float = 0.0
    loose_continuity: float = 0.0
    has_other_colors: bool = False


def weigh_candidate(candidate: Candidate, probability: Grid, similarity: Grid, full_share: float) -> MaskEvidence:
    """Compare a candidate with the memory.

    Args:
        candidate: The mask and its score.
        probability: (h, w) float32 in [0, 1], the object's probability map.
        similarity: (h, w) float32, the cosine of each cell to the memory of the object.
        full_share: The share of a cell that counts as all of it.
    """
    h, w = probability.shape
    share = np.minimum(resize_map(candidate.mask, (w, h)) / full_share, 1.0)
    total = float(share.sum())
    fit = 2 * float(np.minimum(share, probability).sum()) / max(1e-6, total + float(probability.sum()))
    return MaskEvidence(candidate.mask, fit, float((similarity * share).sum()) / max(1e-6, total), candidate.score)


def keep_main_part(probability: Grid) -> Grid:
    """Return a probability map without all its connected parts but the one with the largest sum."""
    parts = components(probability >= 0.5)
    if len(parts) < 2:
        return probability
    main = max(parts, key=lambda p: float(probability[p].sum()))
    others = np.logical_or.reduce([p for p in parts if p is not main])
    return np.where(cv2.dilate(others.astype(np.uint8), np.ones((3, 3), np.uint8)) > 0, np.float32(0), probability)


def prompt_from_probability(probability: Grid) -> Prompt:
    """Turn a probability map into a mask prompt, four times finer, and a point where the object is thickest."""
    h, w = probability.shape
    prior = np.clip(cv2.resize(probability, (4 * w, 4 * h), interpolation=cv2.INTER_CUBIC), 0, 1)
    # A single cell of just 0.5 may be interpolated to values below 0.5 everywhere.
    point = deepest_point(components(prior >= min(0.5, float(prior.max())))[0])
    return Prompt(points=np.array([point]), labels=np.ones(1, np.int64), prior=np.asarray(prior, np.float32))


def drop_unlikely_parts(mask: Mask, probability: Grid) -> Mask:
    """Return a mask without its small parts of low probability.

    A small part may belong to the object: of a dog behind a pole, the tail may be all that is visible on the other
    side.

    Args:
        mask: (H, W) bool.
        probability: (h, w) float32 in [0, 1].
    """
    parts = components(mask, least_px=CRUMB_PX)
    if len(parts) < 2:
        return parts[0] if parts else mask
    kept = [
        part
        for part in parts
        if part.sum() >= MAIN_SHARE * parts[0].sum() or _mean_under(part, probability) >= _MIN_PART_PROBABILITY
    ]
    return np.asarray(np.logical_or.reduce(kept), np.bool_)


def drop_new_far_parts(mask: Mask, before: Mask, whole_area: float) -> Mask:
    """Return a mask without small parts that are new and far from an object of which nothing is missing.

    What belongs to an object comes out near it, was part of it before, or was hidden and left the rest smaller. What
    else appears at a distance looks like the object, as the next one of several cups.

    Args:
        mask: (H, W) bool.
        before: (H, W) bool, where the object was expected, as flow carried it here.
        whole_area: Pixels of the object when it was last fully visible.
    """
    main, *others = components(mask) or [mask]
    if not others or main.sum() < _WHOLE_SHARE * whole_area:
        return mask
    size = float(np.sqrt(main.sum()))
    distance = distance_to(main)
    strangers = [
        part
        for part in others
        if part.sum() < _MAX_STRANGER_SHARE * main.sum()
        and distance[part].min() > _MIN_STRANGER_DISTANCE * size
        and not (part & before).any()
    ]
    return mask & ~np.logical_or.reduce(strangers) if strangers else mask


def _mean_under(part: Mask, probability: Grid) -> float:
    share = resize_map(part, (probability.shape[1], probability.shape[0]))
    return float((share * probability).sum() / share.sum())
