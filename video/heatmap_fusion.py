"""What several heatmaps of one clip say together: smoothing along the motion, agreement, and the surest frame.

Each heatmap is carried to its neighbours along the optical flow, so that what moves is averaged with itself.
Plain averaging at fixed places smears whatever moves farther than its own size. Where the flow cannot be
trusted (a cut, an occlusion, motion too large) a neighbour simply has no say.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import cv2
import numpy as np
from numpy.typing import NDArray

from video.masks import resize_map
from video.optical_flow import Field, OpticalFlow, compose_flows, flow_confidence, warp
from video.types import Heatmap

if TYPE_CHECKING:
    from video.io.reader import Clip

_PEAK_BLUR = 1 / 32  # of the grid's short side, before the peak is looked for
_FADE = 0.7  # a neighbour's say for each planned frame of distance


@dataclass(frozen=True, eq=False)
class MotionLink:
    """The motion between two planned frames a and b (b the later one), on small grids (h, w).

    ahead, back: (h, w, 2) flow a to b on a's pixels and b to a on b's. trust_ahead, trust_back: (h, w) in [0,
    1].
    """

    ahead: Field
    back: Field
    trust_ahead: NDArray[np.float32]
    trust_back: NDArray[np.float32]


@dataclass(frozen=True, eq=False)
class FusedHeatmaps:
    """heatmaps: smoothed, as many as came in. agreement: (n,) in [0, 1], each with its neighbours. anchor: index."""

    heatmaps: tuple[Heatmap, ...]
    agreement: NDArray[np.float64]
    anchor: int


def link_frames(
    clip: Clip, planned: Sequence[int] | NDArray[np.int64], *, steps: int = 8, short_side_px: int = 180
) -> list[MotionLink]:
    """The motion between each two neighbours of `planned` (ascending frame indices): len(planned) - 1 links.

    steps: at most this many hops from one to the next, so the work is bounded however long the clip is: flow
    is computed between small frames in between and composed. Farther hops are less sure, and the trust says
    so.
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
    """The link from the first to the last of some prepared frames, composed of the motions between them."""
    if len(frames) < 2:
        raise ValueError(f"a link needs two frames at least, got {len(frames)}")
    pairs = list(itertools.pairwise(frames))
    forward, backward = [flow(a, b) for a, b in pairs], [flow(b, a) for a, b in pairs]
    ahead, back = forward[0], backward[-1]
    for step in forward[1:]:
        ahead = compose_flows(ahead, step)
    for step in backward[-2::-1]:
        back = compose_flows(back, step)
    sure = _alike(frames[0], frames[-1], ahead) * flow_confidence(ahead, back)
    return MotionLink(ahead, back, sure, _alike(frames[-1], frames[0], back) * flow_confidence(back, ahead))


def _alike(a: NDArray[np.uint8], b: NDArray[np.uint8], flow: Field) -> NDArray[np.float32]:
    """(h, w) in [0, 1]: whether b, carried to a, has a's brightness. Across a cut even a consistent flow has not."""
    difference = cv2.blur(np.abs(warp(b, flow) - a.astype(np.float32)), (5, 5))
    return np.asarray(np.exp(-0.5 * np.square(difference / 20.0)), np.float32)


def fuse_heatmaps(heatmaps: Sequence[Heatmap], links: Sequence[MotionLink], *, reach: int = 2) -> FusedHeatmaps:
    """Smooths, compares and chooses in one go. links[i] joins heatmaps[i] and heatmaps[i + 1]."""
    smoothed, agreement = _vote(heatmaps, links, reach=reach)
    return FusedHeatmaps(smoothed, agreement, select_anchor(smoothed, agreement))


def smooth(heatmaps: Sequence[Heatmap], links: Sequence[MotionLink], *, reach: int = 2) -> list[Heatmap]:
    """Each heatmap averaged with up to `reach` neighbours on either side, carried along the motion.

    A neighbour weighs by its confidence, its distance, and, pixel by pixel, by how far the flow can be
    trusted.
    """
    return list(_vote(heatmaps, links, reach=reach)[0])


def select_anchor(heatmaps: Sequence[Heatmap], agreement: NDArray[np.float64]) -> int:
    """The index of the surest heatmap: confident, and in agreement with its neighbours. The first of equal ones."""
    if not heatmaps:
        raise ValueError("there is no anchor among no heatmaps")
    return int(np.argmax(anchor_scores(heatmaps, agreement)))


def anchor_scores(heatmaps: Sequence[Heatmap], agreement: NDArray[np.float64]) -> NDArray[np.float64]:
    """(n,) in [0, 1]: confidence times agreement; what `select_anchor` takes the greatest of."""
    return np.array([h.confidence for h in heatmaps]) * (0.3 + 0.7 * agreement)


def _vote(
    heatmaps: Sequence[Heatmap], links: Sequence[MotionLink], *, reach: int
) -> tuple[tuple[Heatmap, ...], NDArray[np.float64]]:
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
        likeness = heard = 0.0
        for j in range(max(0, i - reach), min(n, i + reach + 1)):
            if j == i:
                continue
            grid, sure = _carry(heatmaps[j].grid, links, i, j)
            say = _FADE ** (abs(i - j) - 1) * (0.1 + heatmaps[j].confidence) * sure
            total, weights = total + say * grid, weights + say
            support = support + heatmaps[j].confidence * say * grid
            likeness += float(sure.mean()) * _cosine(own.grid, grid, sure)
            heard += float(sure.mean())
        if heard > 0.05:
            agreement[i] = likeness / heard
        out.append(_as_heatmap(own, np.asarray(total / weights, np.float32), support / weights))
    return tuple(out), np.clip(agreement, 0, 1)


def _carry(
    grid: NDArray[np.float32], links: Sequence[MotionLink], i: int, j: int
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Heatmap j's grid as it would look in frame i, and the trust in that, both at the grid's shape."""
    size = (grid.shape[1], grid.shape[0])
    steps = [(links[k].ahead, links[k].trust_ahead) for k in range(i, j)]
    if j < i:
        steps = [(links[k].back, links[k].trust_back) for k in range(i - 1, j - 1, -1)]
    motion, sure = steps[0]
    for step, step_sure in steps[1:]:
        sure = sure * warp(step_sure, motion)
        motion = compose_flows(motion, step)
    # The map is coarser than the flow: warp it at the flow's resolution, then average down.
    fine = warp(resize_map(grid, (motion.shape[1], motion.shape[0])), motion)
    return resize_map(fine, size), resize_map(sure, size)


def _cosine(a: NDArray[np.float32], b: NDArray[np.float32], weight: NDArray[np.float32]) -> float:
    norm = float(np.sqrt((weight * a * a).sum() * (weight * b * b).sum()))
    return 0.0 if norm <= 1e-9 else float((weight * a * b).sum() / norm)


def _as_heatmap(own: Heatmap, grid: NDArray[np.float32], support: NDArray[np.floating]) -> Heatmap:
    """support: (h, w), how sure of each place its voters are, in the mean; at the peak it is the confidence.

    So a confidence that is a probability stays one: voters who point elsewhere lower it, none can raise it beyond the
    surest of them.
    """
    top = float(grid.max())
    if top <= 1e-9:
        return replace(own, grid=np.zeros_like(grid), confidence=0.0)
    grid = np.clip(grid / top, 0, 1)
    # Maps that follow edges are level inside an object, and their largest cell is often at its rim: a little way in is
    # a better place to point at.
    level = cv2.GaussianBlur(grid, (0, 0), min(grid.shape) * _PEAK_BLUR)
    y, x = np.unravel_index(int(level.argmax()), grid.shape)
    peak = (float(x + 0.5) / grid.shape[1], float(y + 0.5) / grid.shape[0])
    return Heatmap(own.frame, grid, peak, float(np.clip(support[y, x], 0, 1)))


SHARE = 0.5  # of the others' maps: two searches for one thing take half of each other, which changes neither


def contrast_heatmaps(searches: Sequence[Sequence[Heatmap]], *, share: float = SHARE) -> list[list[Heatmap]]:
    """[search][frame]: from each map that `share` of the highest of the others' on the same frame is taken.

    Maps of one frame must have one shape. What is left is scaled to a maximum of 1 again, its peak found anew; a map of
    which nothing would be left stays as it is, and so does the confidence of all. Raises ValueError on frames or shapes
    that differ.
    """
    if not 0 <= share < 1:
        raise ValueError(f"share must be in [0, 1), got {share}")
    if len({tuple((h.frame, h.grid.shape) for h in row) for row in searches}) > 1:
        raise ValueError("all searches must have maps of the same frames, of one shape each")
    return [
        [_less(own, [row[i] for k, row in enumerate(searches) if k != n], share) for i, own in enumerate(search)]
        for n, search in enumerate(searches)
    ]


def _less(own: Heatmap, others: Sequence[Heatmap], share: float) -> Heatmap:
    if not others:
        return own
    grid = np.clip(own.grid - share * np.max([other.grid for other in others], axis=0), 0, None)
    top = float(grid.max())
    if top <= 1e-6:
        return own
    y, x = np.unravel_index(int(grid.argmax()), grid.shape)
    # The old peak stays where it is still as high as any: it lies well inside, the largest cell often at a rim.
    h, w = grid.shape
    before = grid[min(int(own.peak[1] * h), h - 1), min(int(own.peak[0] * w), w - 1)]
    peak = own.peak if before >= 0.9 * top else (float(x + 0.5) / w, float(y + 0.5) / h)
    return replace(own, grid=np.asarray(grid / top, np.float32), peak=peak)
