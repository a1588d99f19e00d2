"""What a memory believes of a frame, place by place, and the masks that fit it.

A belief is (h, w) float32 in [0, 1], the grid that the memory's features have: how much of each place is the object's.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

from video.masks import CRUMB_PX, MAIN_SHARE, Mask, components, deepest_point, resize_map
from video.tracking.memory_bank import Grid
from video.types import Candidate, Prompt

_MEANT = 0.5  # mean belief under a smaller part, from which on it is a piece of the object and no crumb


@dataclass(frozen=True, eq=False)
class MaskEvidence:
    """What speaks for a mask. mask: (H, W) bool.

    fit: overlap of the mask with what the memory says of this frame, in [0, 1]. closeness: mean cosine of what is under
    it to what is remembered of the object. guess: the segmenter's score.
    """

    mask: Mask
    fit: float
    closeness: float
    guess: float


def weigh(candidate: Candidate, belief: Grid, closeness: Grid, unit: float) -> MaskEvidence:
    """What speaks for a candidate. closeness: (h, w) cosines to what is remembered of the object.

    unit: the share of a place that counts as all of it.
    """
    h, w = belief.shape
    share = np.minimum(resize_map(candidate.mask, (w, h)) / unit, 1.0)
    total = float(share.sum())
    fit = 2 * float(np.minimum(share, belief).sum()) / max(1e-6, total + float(belief.sum()))
    return MaskEvidence(candidate.mask, fit, float((closeness * share).sum()) / max(1e-6, total), candidate.score)


def largest_part(belief: Grid) -> Grid:
    """The belief without all parts but the one that holds most of it."""
    parts = components(belief >= 0.5)
    if len(parts) < 2:
        return belief
    best = max(parts, key=lambda p: float(belief[p].sum()))
    others = np.logical_or.reduce([p for p in parts if p is not best])
    return np.where(cv2.dilate(others.astype(np.uint8), np.ones((3, 3), np.uint8)) > 0, np.float32(0), belief)


def prompt_of(belief: Grid) -> Prompt:
    """A belief as a mask to be refined, four times finer, and a click where it is deepest."""
    h, w = belief.shape
    prior = np.clip(cv2.resize(belief, (4 * w, 4 * h), interpolation=cv2.INTER_CUBIC), 0, 1)
    # Between the places' middles a belief of one place that is just even may come out below one half.
    point = deepest_point(components(prior >= min(0.5, float(prior.max())))[0])
    return Prompt(points=np.array([point]), labels=np.ones(1, np.int64), prior=np.asarray(prior, np.float32))


def supported(mask: Mask, belief: Grid) -> Mask:
    """The mask without crumbs: its largest part, those that are not much smaller, and those that are believed in.

    What is seen of a thing behind a pole may be a tail on its other side.
    """
    parts = components(mask, least_px=CRUMB_PX)
    if len(parts) < 2:
        return parts[0] if parts else mask
    kept = [p for p in parts if p.sum() >= MAIN_SHARE * parts[0].sum() or _mean_under(p, belief) >= _MEANT]
    return np.asarray(np.logical_or.reduce(kept), np.bool_)


def _mean_under(part: Mask, belief: Grid) -> float:
    share = resize_map(part, (belief.shape[1], belief.shape[0]))
    return float((share * belief).sum() / share.sum())
