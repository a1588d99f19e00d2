"""Combines the heatmaps of several frames of a clip, and those of several expressions.

Each heatmap is carried to its neighbours along the optical flow, so that a moving object is averaged with itself.
Averaging at fixed places would smear objects that move farther than their own size. Where the flow cannot be trusted (a
cut, an occlusion, large motion), a neighbour has no weight.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import cv2
import numpy as np
from numpy.typing import NDArray

from video.masks import pixel_at, resize_map
from video.optical_flow import Field, OpticalFlow, compose_flows, flow_confidence, warp
from video.types import Heatmap

if TYPE_CHECKING:
    from video.io.reader import Clip

_PEAK_BLUR = 1 / 32  # of the grid's short side, before the peak is found
_FADE = 0.7  # a neighbour's weight falls by this factor for each planned frame of distance
# How much of the others' maps is subtracted. Two expressions for one object then keep half of each map, which changes
# neither.
CONTRAST_SHARE = 0.5


@dataclass(frozen=True, eq=False)
class MotionLink:
    """The motion between two planned frames a and b, b the later one, on small grids (h, w).

    Args:
        forward: (h, w, 2) float32, the flow from a to b on a's pixels.
        backward: (h, w, 2) float32, the flow from b to a on b's pixels.
        forward_confidence: (h, w) float32 in [0, 1], the confidence of `forward`.
        backward_confidence: (h, w) float32 in [0, 1], the confidence of `backward`.
    """

    forward: Field
    backward: Field
    forward_confidence: NDArray[np.float32]
    backward_confidence: NDArray[np.float32]


@dataclass(frozen=True, eq=False)
class FusedHeatmaps:
    """The result of `fuse_heatmaps`.

    Args:
        heatmaps: The smoothed heatmaps, as many as went in.
        agreement: (n,) in [0, 1], how far each agrees with its neighbours.
        anchor: The index of the most reliable one.
    """

    heatmaps: tuple[Heatmap, ...]
    agreement: NDArray[np.float64]
    anchor: int


def link_frames(
    clip: Clip, planned: Sequence[int] | NDArray[np.int64], *, steps: int = 8, short_side_px: int = 180
) -> list[MotionLink]:
    """Compute the motion between neighbouring planned frames.

    Args:
        clip: The clip.
        planned: m frames, ascending.
        steps: The flow between two planned frames is composed of at most so many flows between frames in between, so
            that the cost is bounded for any clip. Longer steps have a lower confidence.
        short_side_px: The resolution of the flow.

    Returns:
        m - 1 links.

    Raises:
        ValueError: If the frames do not ascend.
        ReadingError: If frames cannot be read.
    """
    planned = [int(i) for i in planned]
    if any(b <= a for a, b in itertools.pairwise(planned)):
        raise ValueError(f"planned frames must ascend, got {planned}")
    hops = [
        np.unique(np.linspace(a, b, min(b - a, steps) + 1).round().astype(int)).tolist()
        for a, b in itertools.pairwise(planned)
    ]
    flow = OpticalFlow(short_side_px=short_side_px)
    wanted = sorted({i for hop in hops for i in hop})
    small: dict[int, NDArray[np.uint8]] = {}
    for indices, images in clip.batches(wanted):
        small |= {int(i): flow.prepare(image) for i, image in zip(indices, images, strict=True)}
    return [compose_link([small[i] for i in hop], flow) for hop in hops]


def compose_link(frames: Sequence[NDArray[np.uint8]], flow: OpticalFlow) -> MotionLink:
    """Return the link from the first to the last of some prepared images, composed of the flows between them.

    Raises:
        ValueError: If there are fewer than two images.
    """
    if len(frames) < 2:
        raise ValueError(f"a link needs two frames at least, got {len(frames)}")
    pairs = list(itertools.pairwise(frames))
    forward, backward = [flow(a, b) for a, b in pairs], [flow(b, a) for a, b in pairs]
    ahead, back = forward[0], backward[-1]
    for step in forward[1:]:
        ahead = compose_flows(ahead, step)
    for step in backward[-2::-1]:
        back = compose_flows(back, step)
    confidence = _same_brightness(frames[0], frames[-1], ahead) * flow_confidence(ahead, back)
    return MotionLink(
        ahead, back, confidence, _same_brightness(frames[-1], frames[0], back) * flow_confidence(back, ahead)
    )


def _same_brightness(a: NDArray[np.uint8], b: NDArray[np.uint8], flow: Field) -> NDArray[np.float32]:
    """Return where b, carried to a, has a's brightness, (h, w) float32 in [0, 1].

    Across a cut it has not, even where the flow is consistent.
    """
    difference = cv2.blur(np.abs(warp(b, flow) - a.astype(np.float32)), (5, 5))
    return np.asarray(np.exp(-0.5 * np.square(difference / 20.0)), np.float32)


def fuse_heatmaps(heatmaps: Sequence[Heatmap], links: Sequence[MotionLink], *, reach: int = 2) -> FusedHeatmaps:
    """Smooth heatmaps along the motion, measure their agreement and choose the most reliable one.

    Args:
        heatmaps: n heatmaps of one shape.
        links: n - 1 links; links[i] joins heatmaps[i] and heatmaps[i + 1].
        reach: Each heatmap is averaged with up to so many neighbours on either side. A neighbour's weight is its
            confidence, times a factor for its distance, times the confidence of the flow at each pixel.
    """
    smoothed, agreement = _average(heatmaps, links, reach=reach)
    return FusedHeatmaps(smoothed, agreement, select_anchor(smoothed, agreement))


def select_anchor(heatmaps: Sequence[Heatmap], agreement: NDArray[np.float64]) -> int:
    """Return the index of the most reliable heatmap, by `anchor_scores`; the first of equal ones.

    Raises:
        ValueError: If there are no heatmaps.
    """
    if not heatmaps:
        raise ValueError("there is no anchor among no heatmaps")
    return int(np.argmax(anchor_scores(heatmaps, agreement)))


def anchor_scores(heatmaps: Sequence[Heatmap], agreement: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return how reliable each heatmap is, (n,) in [0, 1]: its confidence, weighted by its agreement."""
    return np.array([h.confidence for h in heatmaps]) * (0.3 + 0.7 * agreement)


def _average(
    heatmaps: Sequence[Heatmap], links: Sequence[MotionLink], *, reach: int
) -> tuple[tuple[Heatmap, ...], NDArray[np.float64]]:
    """Return the smoothed heatmaps and their agreement; see `fuse_heatmaps`."""
    n = len(heatmaps)
    if len(links) != max(0, n - 1):
        raise ValueError(f"{n} heatmaps need {max(0, n - 1)} links, got {len(links)}")
    if len({h.grid.shape for h in heatmaps}) > 1:
        raise ValueError(f"heatmaps must have one shape, got {sorted({h.grid.shape for h in heatmaps})}")
    out, agreement = [], np.full(n, 0.5)
    for i, own in enumerate(heatmaps):
        weight = 0.1 + own.confidence
        total, weights = weight * own.grid, np.full(own.grid.shape, weight, np.float32)
        support = own.confidence * total
        similarity_sum = confidence_sum = 0.0
        for j in range(max(0, i - reach), min(n, i + reach + 1)):
            if j == i:
                continue
            grid, confidence = _warp_grid(heatmaps[j].grid, links, i, j)
            vote = _FADE ** (abs(i - j) - 1) * (0.1 + heatmaps[j].confidence) * confidence
            total, weights = total + vote * grid, weights + vote
            support = support + heatmaps[j].confidence * vote * grid
            similarity_sum += float(confidence.mean()) * _cosine(own.grid, grid, confidence)
            confidence_sum += float(confidence.mean())
        if confidence_sum > 0.05:
            agreement[i] = similarity_sum / confidence_sum
        out.append(_to_heatmap(own, np.asarray(total / weights, np.float32), support / weights))
    return tuple(out), np.clip(agreement, 0, 1)


def _warp_grid(
    grid: NDArray[np.float32], links: Sequence[MotionLink], i: int, j: int
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Return heatmap j's grid as it would look in frame i, and the confidence of that, both at the grid's shape."""
    size = (grid.shape[1], grid.shape[0])
    steps = [(links[k].forward, links[k].forward_confidence) for k in range(i, j)]
    if j < i:
        steps = [(links[k].backward, links[k].backward_confidence) for k in range(i - 1, j - 1, -1)]
    motion, confidence = steps[0]
    for step, step_confidence in steps[1:]:
        confidence = confidence * warp(step_confidence, motion)
        motion = compose_flows(motion, step)
    # The heatmap is coarser than the flow: warp it at the flow's resolution, then average down.
    fine = warp(resize_map(grid, (motion.shape[1], motion.shape[0])), motion)
    return resize_map(fine, size), resize_map(confidence, size)


def _cosine(a: NDArray[np.float32], b: NDArray[np.float32], weight: NDArray[np.float32]) -> float:
    norm = float(np.sqrt((weight * a * a).sum() * (weight * b * b).sum()))
    return 0.0 if norm <= 1e-9 else float((weight * a * b).sum() / norm)


def _to_heatmap(own: Heatmap, grid: NDArray[np.float32], support: NDArray[np.floating]) -> Heatmap:
    """Return the heatmap of an averaged grid, whose confidence is the support at its peak.

    A confidence that is a probability stays one: neighbours that point elsewhere lower it, and none raises it beyond
    the greatest of them.

    support: (h, w), the weighted mean confidence of the heatmaps that point at each place.
    """
    top = float(grid.max())
    if top <= 1e-9:
        return replace(own, grid=np.zeros_like(grid), confidence=0.0)
    grid = np.clip(grid / top, 0, 1)
    # Heatmaps that follow edges are flat inside an object, and their maximum is often at its rim. A place farther
    # inside is a better point.
    blurred = cv2.GaussianBlur(grid, (0, 0), min(grid.shape) * _PEAK_BLUR)
    y, x = np.unravel_index(int(blurred.argmax()), grid.shape)
    peak = (float(x + 0.5) / grid.shape[1], float(y + 0.5) / grid.shape[0])
    return replace(own, grid=grid, peak=peak, confidence=float(np.clip(support[y, x], 0, 1)))


def contrast_heatmaps(searches: Sequence[Sequence[Heatmap]], *, share: float = CONTRAST_SHARE) -> list[list[Heatmap]]:
    """Subtract from each heatmap what other expressions point at on the same frame.

    What is left is scaled to a maximum of 1, and its peak is found again. Confidences stay. A heatmap of which nothing
    would be left stays as it is.

    Args:
        searches: For each expression its heatmaps by frame; all have the same frames and, on a frame, the same shape.
        share: How much of the others' maximum is subtracted, in [0, 1).

    Returns:
        Heatmaps in the same order.

    Raises:
        ValueError: If frames or shapes differ, or the share is out of range.
    """
    if not 0 <= share < 1:
        raise ValueError(f"share must be in [0, 1), got {share}")
    if len({tuple((h.frame, h.grid.shape) for h in row) for row in searches}) > 1:
        raise ValueError("all searches must have maps of the same frames, of one shape each")
    return [
        [_subtract(own, [row[i] for k, row in enumerate(searches) if k != n], share) for i, own in enumerate(search)]
        for n, search in enumerate(searches)
    ]


def _subtract(own: Heatmap, others: Sequence[Heatmap], share: float) -> Heatmap:
    if not others:
        return own
    grid = np.clip(own.grid - share * np.max([other.grid for other in others], axis=0), 0, None)
    top = float(grid.max())
    if top <= 1e-6:
        return own
    y, x = np.unravel_index(int(grid.argmax()), grid.shape)
    # The old peak stays if it is still about as high: it is well inside the object, the maximum often at its rim.
    h, w = grid.shape
    before = grid[pixel_at(grid.shape, own.peak)]
    peak = own.peak if before >= 0.9 * top else (float(x + 0.5) / w, float(y + 0.5) / h)
    return replace(own, grid=np.asarray(grid / top, np.float32), peak=peak)
