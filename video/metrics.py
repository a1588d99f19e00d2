"""Quality measures of masks, points and tracks (DAVIS, RefCOCO, CLEAR MOT), and confidence intervals of figures.

Sources: Perazzi et al., "A Benchmark Dataset and Evaluation Methodology for Video Object Segmentation", CVPR 2016
(J, F); Kazemzadeh et al., "ReferItGame", EMNLP 2014, and its successors (precision@X);
Bernardin & Stiefelhagen, "Evaluating Multiple Object Tracking Performance", EURASIP JIVP 2008 (identity switches);
Wilson, "Probable inference, the law of succession, and statistical inference", JASA 1927.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import stats
from scipy.optimize import linear_sum_assignment

from video.masks import Mask

TOLERANCE = 0.008  # DAVIS: how far a boundary may be off, of the frame's diagonal


def region_similarity(mask: Mask, truth: Mask, *, void: Mask | None = None) -> float:
    """Return DAVIS's J: intersection over union, in [0, 1]; 1 where both are empty.

    Args:
        mask: (H, W) bool.
        truth: (H, W) bool.
        void: (H, W) bool, pixels that do not count.
    """
    inter, union = _overlap(mask, truth, void)
    return inter / union if union else 1.0


def boundary_accuracy(mask: Mask, truth: Mask, *, void: Mask | None = None, tolerance: float = TOLERANCE) -> float:
    """Return DAVIS's F, in [0, 1]: the harmonic mean of the precision and the recall of the boundary.

    A boundary pixel is correct if a pixel of the other boundary lies within ceil(tolerance x diagonal) pixels
    (Euclidean). Without a boundary in either mask F is 1, with one in only one of them 0.

    Args:
        mask: (H, W) bool.
        truth: (H, W) bool.
        void: (H, W) bool, pixels that do not count.
        tolerance: Of the frame's diagonal.
    """
    _overlap(mask, truth, void)
    if void is not None:
        mask, truth = mask & ~void, truth & ~void
    ours, theirs = _boundary(mask), _boundary(truth)
    n_ours, n_theirs = int(ours.sum()), int(theirs.sum())
    if n_ours == 0 or n_theirs == 0:
        return 1.0 if n_ours == n_theirs else 0.0
    reach = math.ceil(tolerance * math.hypot(*mask.shape))
    span = np.arange(-reach, reach + 1)
    disk = (span[:, None] ** 2 + span[None, :] ** 2 <= reach**2).astype(np.uint8)
    precision = float((ours & (cv2.dilate(theirs.view(np.uint8), disk) > 0)).sum()) / n_ours
    recall = float((theirs & (cv2.dilate(ours.view(np.uint8), disk) > 0)).sum()) / n_theirs
    return 2 * precision * recall / (precision + recall) if precision + recall else 0.0


def _boundary(mask: Mask) -> Mask:
    """Return the pixels unlike their neighbour to the right, below or to the lower right, beyond the frame's edge none.

    This is DAVIS's definition (seg2bmap, after Berkeley's), by which half of the boundary lies outside the object.
    """
    edge = np.zeros_like(mask)
    edge[:, :-1] |= mask[:, :-1] ^ mask[:, 1:]
    edge[:-1, :] |= mask[:-1, :] ^ mask[1:, :]
    edge[:-1, :-1] |= mask[:-1, :-1] ^ mask[1:, 1:]
    return edge


def _overlap(mask: Mask, truth: Mask, void: Mask | None = None) -> tuple[int, int]:
    for name, one in (("mask", mask), ("truth", truth), ("void", void)):
        if one is not None and (one.ndim != 2 or one.dtype != np.bool_ or one.shape != mask.shape):
            raise ValueError(f"{name} must be (H, W) bool and of {mask.shape} as the mask, got {one.shape} {one.dtype}")
    inter, union = mask & truth, mask | truth
    if void is not None:
        inter, union = inter & ~void, union & ~void
    return int(np.count_nonzero(inter)), int(np.count_nonzero(union))


def point_hit(point: tuple[float, float], truth: Mask) -> bool:
    """Return whether a normalised (x, y) lies on the truth, (H, W) bool.

    Raises:
        ValueError: If the point is not normalised.
    """
    x, y = point
    if not (0 <= x <= 1 and 0 <= y <= 1):
        raise ValueError(f"a point must be normalised, both coordinates in [0, 1], got {point}")
    h, w = truth.shape
    return bool(truth[min(h - 1, int(y * h)), min(w - 1, int(x * w))])


def precision_at(ious: ArrayLike, threshold: float) -> float:
    """Return precision@X: the share of IoUs that reach a threshold.

    Raises:
        ValueError: If there are no IoUs.
    """
    values = np.asarray(ious, np.float64)
    if values.size == 0:
        raise ValueError("there is no share of no masks")
    return float((values >= threshold).mean())


def identity_switches(frames: Iterable[NDArray[np.floating]], *, threshold: float = 0.5) -> int:
    """Count CLEAR MOT's identity switches: how often a true object is on another track than the last one it was on.

    On each frame objects and tracks are matched one to one, at IoU >= threshold: first as many as can stay matched as
    on the frame before, then by the largest sum of IoU. TrackEval counts in the same way, except that its frame before
    is the last one on which anything is annotated and tracked.

    Args:
        frames: For each frame in order, (G, P) IoUs of G true objects with P tracks, 0 where either is not visible.
        threshold: The least IoU of a match.
    """
    before: dict[int, int] = {}
    last: dict[int, int] = {}
    switches = 0
    for similarity in frames:
        if similarity.ndim != 2:
            raise ValueError(f"a frame must be (G, P) IoUs, got shape {similarity.shape}")
        worth = np.where(similarity >= threshold, similarity, 0.0).astype(np.float64)
        for truth, track in before.items():
            worth[truth, track] += (worth[truth, track] > 0) * (1.0 + min(similarity.shape))
        rows, columns = linear_sum_assignment(-worth)
        before = {int(g): int(p) for g, p in zip(rows, columns, strict=True) if worth[g, p] > 0}
        switches += sum(last.get(g, p) != p for g, p in before.items())
        last |= before
    return switches


@dataclass(frozen=True)
class Estimate:
    """A measured figure with its 95 % confidence interval.

    Args:
        value: The figure.
        low: The lower end of the interval.
        high: The upper end of the interval.
        count: The number of measurements.
    """

    value: float
    low: float
    high: float
    count: int

    def __str__(self) -> str:
        return f"{self.value:.3f}" + (f" ({self.low:.3f} - {self.high:.3f})" if math.isfinite(self.low) else "")


_Z = float(stats.norm.ppf(0.975))


def estimate_share(hits: Sequence[bool] | NDArray[np.bool_]) -> Estimate:
    """Estimate a share, such as the accuracy of points, with Wilson's 95 % interval.

    Raises:
        ValueError: If there are no measurements.
    """
    n = len(hits)
    if n == 0:
        raise ValueError("there is no share of nothing")
    p = float(np.mean(hits))
    centre, spread = p + _Z**2 / (2 * n), _Z * math.sqrt(p * (1 - p) / n + _Z**2 / (4 * n * n))
    low, high = (centre - spread) / (1 + _Z**2 / n), (centre + spread) / (1 + _Z**2 / n)
    return Estimate(p, max(0.0, low), min(1.0, high), n)


def estimate_mean(
    values: Sequence[float] | NDArray[np.floating], *, within: tuple[float, float] = (-math.inf, math.inf)
) -> Estimate:
    """Estimate a mean with its 95 % interval by Student's t. For a paired difference, pass the differences.

    Args:
        values: The measurements.
        within: The least and the greatest possible value. They are the interval of a single measurement.

    Raises:
        ValueError: If there are no measurements.
    """
    n = len(values)
    if n == 0:
        raise ValueError("there is no mean of nothing")
    m = float(np.mean(values))
    if n == 1:
        return Estimate(m, *within, 1)
    half = float(stats.t.ppf(0.975, n - 1)) * float(np.std(values, ddof=1)) / math.sqrt(n)
    return Estimate(m, max(within[0], m - half), min(within[1], m + half), n)


@dataclass(frozen=True)
class Auroc:
    """The area under the ROC curve with its standard error."""

    value: float
    error: float

    def __str__(self) -> str:
        half = 1.96 * self.error
        return f"{self.value:.3f} ({max(0, self.value - half):.3f} - {min(1, self.value + half):.3f})"


def auroc(scores: ArrayLike, correct: ArrayLike) -> Auroc:
    """Compute the AUROC of scores: the probability that a correct item has a higher score than a wrong one.

    Source: Mann and Whitney 1947; Hanley and McNeil 1982 for its standard error.

    Args:
        scores: (n,), larger means more likely correct.
        correct: (n,) bool.

    Raises:
        ValueError: If all are correct or none is.
    """
    scores, correct = np.asarray(scores, np.float64), np.asarray(correct, np.bool_)
    n, m = int(correct.sum()), int((~correct).sum())
    if n == 0 or m == 0:
        raise ValueError(f"{n} correct and {m} wrong: both kinds are needed to tell them apart")
    ranks = stats.rankdata(scores)
    a = float(ranks[correct].sum() - n * (n + 1) / 2) / (n * m)
    q1, q2 = a / (2 - a), 2 * a * a / (1 + a)
    variance = (a * (1 - a) + (n - 1) * (q1 - a * a) + (m - 1) * (q2 - a * a)) / (n * m)
    return Auroc(a, math.sqrt(max(0.0, variance)))
