"""Masks without any weights: colour models and a graph cut (GrabCut, Rother et al. 2004, OpenCV) from any prompt.

Each prompt is read as one or more hypotheses of where the object is; each is cut out on a crop of bounded
size, and the results are ranked by how well they agree with the prompt and with the edges in the picture.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from video.masks import (
    Box,
    Mask,
    box_iou,
    box_mask,
    box_of,
    components,
    fill_holes,
    iou,
    pad_box,
    resize_map,
    rim_prior,
)
from video.types import Candidate, Prompt

LEVELS = (0.5, 0.65, 0.8)  # of a heatmap's height, at which it is cut: lower ones reach into neighbours
_ALIKE = (20, 10, 10)  # of 256: lightness changes within a thing more than its hue
_RIM_PX = 2  # of the crop: taken as background, unless the crop ends where the frame ends


@dataclass(frozen=True, eq=False)
class Hypothesis:
    """Where the object may be, on a grid over the whole frame.

    belief: (h, w) float32 in [0, 1]. Below `low` is surely outside, from `mid` on probably inside, from
    `high` on surely inside.
    """

    belief: NDArray[np.float32]
    low: float
    mid: float
    high: float
    reach: float  # how far around the probable part one looks, in parts of its size


@dataclass(frozen=True)
class GrabCutSegmenter:
    """A `Segmenter` that needs no weights.

    side_px: longest side of the crop that is cut; larger ones are shrunk. iterations: of GrabCut.
    """

    name: str = "grabcut"
    side_px: int = 256
    iterations: int = 3

    def segment(self, image: NDArray[np.uint8], prompt: Prompt, *, frame: int = 0) -> list[Candidate]:
        """image: (H, W, 3) uint8 RGB. Candidates, best first; the same call gives the same answer.

        Empty when nothing stands out where the prompt points. Raises ValueError for anything but an RGB
        image.
        """
        if image.ndim != 3 or image.shape[2] != 3 or image.dtype != np.uint8:
            raise ValueError(f"image must be (H, W, 3) uint8 RGB, got {image.shape} {image.dtype}")
        h, w = image.shape[:2]
        found: list[Candidate] = []
        for hypothesis in _hypotheses(prompt, (w, h)):
            mask = self._cut(image, prompt, hypothesis)
            if mask is None or any(iou(mask, other.mask) > 0.95 for other in found):
                continue
            found.append(Candidate(frame=frame, mask=mask, score=_score(image, mask, prompt, hypothesis)))
        return sorted((c for c in found if c.score > 0), key=lambda c: -c.score)

    def _cut(self, image: NDArray[np.uint8], prompt: Prompt, hypothesis: Hypothesis) -> Mask | None:
        h, w = image.shape[:2]
        rect = _region(hypothesis, (w, h))
        if rect is None:
            return None
        x0, y0, x1, y1 = rect
        scale = min(1.0, self.side_px / max(x1 - x0, y1 - y0))
        size = (max(8, round((x1 - x0) * scale)), max(8, round((y1 - y0) * scale)))
        crop = np.asarray(cv2.resize(image[y0:y1, x0:x1], size, interpolation=cv2.INTER_AREA), np.uint8)
        belief = _crop_of(hypothesis.belief, rect, (w, h), size)
        trimap = _trimap(belief, hypothesis, rect, (w, h))
        _open_holes(crop, trimap)
        _pin(crop, trimap, prompt, rect, (w, h))
        core = trimap == cv2.GC_FGD if (trimap == cv2.GC_FGD).any() else trimap == cv2.GC_PR_FGD
        cut = grab_cut(crop, trimap, iterations=self.iterations)
        if cut is None:
            return None
        tidy = _tidy(cut, core, belief >= hypothesis.mid)
        if not tidy.any():
            return None
        mask = np.zeros((h, w), np.bool_)
        mask[y0:y1, x0:x1] = resize_map(tidy, (x1 - x0, y1 - y0)) >= 0.5
        return mask if mask.any() else None


def grab_cut(image: NDArray[np.uint8], trimap: NDArray[np.uint8], *, iterations: int) -> Mask | None:
    """(h, w) bool from an RGB image and OpenCV's four labels, or None where there is too little of either side."""
    inside = np.count_nonzero((trimap == cv2.GC_FGD) | (trimap == cv2.GC_PR_FGD))
    if inside < 5 or trimap.size - inside < 5:  # five colour clusters on either side
        return None
    cv2.setRNGSeed(0)  # its k-means draws from OpenCV's own generator
    labels = trimap.copy()
    models = np.zeros((1, 65)), np.zeros((1, 65))
    lab = cv2.cvtColor(image, cv2.COLOR_RGB2LAB)  # nearer to what eyes call different
    labels, _, _ = cv2.grabCut(lab, labels, None, *models, iterations, cv2.GC_INIT_WITH_MASK)  # type: ignore[call-overload]
    return np.asarray((labels == cv2.GC_FGD) | (labels == cv2.GC_PR_FGD), np.bool_)


def _hypotheses(prompt: Prompt, size: tuple[int, int]) -> Iterator[Hypothesis]:
    w, h = size
    if prompt.prior is not None:
        prior = np.asarray(prompt.prior, np.float32)
        if prior.max() <= 0:
            return
        if is_sharp(prior):
            if np.isin(prior, (0, 1)).all():  # a bare mask: its rim is what is to be found
                prior = rim_prior(resize_map(prior, size) >= 0.5)
            yield Hypothesis(prior, 0.04, 0.5, 0.96, 0.3)
            return
        for mid in LEVELS:
            yield Hypothesis(_of_peak(prior, mid), 0.08, mid, 2.0, 0.8)
    elif prompt.box is not None:
        grid = box_mask(prompt.box, size).astype(np.float32)
        yield Hypothesis(grid, 0.5, 0.5, 2.0, 0.35)
        yield Hypothesis(_dome(prompt.box, size), 0.01, 0.3, 0.8, 0.35)
    else:
        inside = np.asarray(prompt.points)[np.asarray(prompt.labels) == 1]
        y, x = np.mgrid[0:h, 0:w].astype(np.float32)
        distance = np.min([np.hypot(x + 0.5 - px * w, y + 0.5 - py * h) for px, py in inside], axis=0)
        for radius in (0.05, 0.1, 0.2, 0.35):
            belief = np.exp(-0.5 * np.square(distance / (radius * min(w, h))))
            yield Hypothesis(belief.astype(np.float32), 0.01, 0.6, 2.0, 1.5)


def is_sharp(prior: NDArray[np.float32]) -> bool:
    """True for a mask (most of what is not zero is near one), False for a heatmap, whose weight fades slowly."""
    some = prior > 0.05
    return bool(some.any()) and float((prior[some] > 0.95).mean()) >= 0.4


def _of_peak(prior: NDArray[np.float32], mid: float) -> NDArray[np.float32]:
    """The belief with every other part that reaches mid taken away, so that look-alikes stay out."""
    _, labels = cv2.connectedComponents((prior >= mid).astype(np.uint8), connectivity=8)
    peak = np.unravel_index(int(prior.argmax()), prior.shape)
    return np.where((labels > 0) & (labels != labels[peak]), np.float32(0), prior)


def _dome(box: Box, size: tuple[int, int]) -> NDArray[np.float32]:
    """1 in the middle of the box, 0 from its inscribed ellipse's corner on: a box's middle is surely the object."""
    x0, y0, x1, y1 = box
    w, h = size
    x = ((np.arange(w) + 0.5) / w - (x0 + x1) / 2) / ((x1 - x0) / 2)
    y = ((np.arange(h) + 0.5) / h - (y0 + y1) / 2) / ((y1 - y0) / 2)
    r = np.hypot(x[None], y[:, None])
    inside = (np.abs(x) <= 1)[None] & (np.abs(y) <= 1)[:, None]
    return np.where(inside, np.clip(1 - r * 0.7, 0.02, 1), 0).astype(np.float32)


def _region(hypothesis: Hypothesis, size: tuple[int, int]) -> tuple[int, int, int, int] | None:
    box = box_of(hypothesis.belief >= hypothesis.mid)
    if box is None:
        return None
    w, h = size
    x0, y0, x1, y1 = pad_box(box, hypothesis.reach, least=0.03)
    rect = (int(x0 * w), int(y0 * h), min(w, int(np.ceil(x1 * w))), min(h, int(np.ceil(y1 * h))))
    return rect if rect[2] - rect[0] >= 4 and rect[3] - rect[1] >= 4 else None


def _crop_of(
    belief: NDArray[np.float32],
    rect: tuple[int, int, int, int],
    frame: tuple[int, int],
    size: tuple[int, int],
) -> NDArray[np.float32]:
    """The part of a map over the whole frame that lies in a pixel rectangle, at the crop's size."""
    h, w = belief.shape
    x0, y0, x1, y1 = rect
    x = ((np.arange(size[0]) + 0.5) / size[0] * (x1 - x0) + x0) / frame[0] * w - 0.5
    y = ((np.arange(size[1]) + 0.5) / size[1] * (y1 - y0) + y0) / frame[1] * h - 0.5
    grid = np.meshgrid(x.astype(np.float32), y.astype(np.float32))
    return np.asarray(
        cv2.remap(belief, grid[0], grid[1], cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE), np.float32
    )


def _trimap(
    belief: NDArray[np.float32],
    hypothesis: Hypothesis,
    rect: tuple[int, int, int, int],
    frame: tuple[int, int],
) -> NDArray[np.uint8]:
    trimap = np.full(belief.shape, cv2.GC_PR_BGD, np.uint8)
    trimap[belief >= hypothesis.mid] = cv2.GC_PR_FGD
    trimap[belief >= hypothesis.high] = cv2.GC_FGD
    trimap[belief < hypothesis.low] = cv2.GC_BGD
    rim = np.zeros(belief.shape, np.bool_)
    rim[:, :_RIM_PX] |= rect[0] > 0
    rim[:_RIM_PX] |= rect[1] > 0
    rim[:, -_RIM_PX:] |= rect[2] < frame[0]
    rim[-_RIM_PX:] |= rect[3] < frame[1]
    trimap[rim & (belief < hypothesis.mid)] = cv2.GC_BGD
    return trimap


def _open_holes(crop: NDArray[np.uint8], trimap: NDArray[np.uint8]) -> None:
    """Probable inside in the background's colours starts as background: else a ring's hole is never let go.

    Only where that leaves most of the inside; an object in the background's colours is left to the graph cut.
    """
    inside = trimap == cv2.GC_PR_FGD
    alien = inside & like_outside(crop, inside | (trimap == cv2.GC_FGD), trimap == cv2.GC_BGD)
    if alien.sum() < 0.6 * inside.sum():
        trimap[alien] = cv2.GC_PR_BGD


def _pin(
    crop: NDArray[np.uint8],
    trimap: NDArray[np.uint8],
    prompt: Prompt,
    rect: tuple[int, int, int, int],
    frame: tuple[int, int],
) -> None:
    """What a person said is not up for debate: their points, and that nothing lies outside their box.

    A point off the object takes what is of one colour around it along, unless a point on the object lies there too.
    """
    h, w = trimap.shape
    x0, y0, x1, y1 = rect
    x = ((np.arange(w) + 0.5) / w * (x1 - x0) + x0) / frame[0]
    y = ((np.arange(h) + 0.5) / h * (y1 - y0) + y0) / frame[1]
    if prompt.box is not None:
        bx0, by0, bx1, by1 = prompt.box
        outside = ~(((x >= bx0) & (x <= bx1))[None] & ((y >= by0) & (y <= by1))[:, None])
        trimap[outside] = cv2.GC_BGD
    seeds = [
        ((int(np.abs(x - px).argmin()), int(np.abs(y - py).argmin())), bool(label))
        for (px, py), label in zip(prompt.points, prompt.labels, strict=True)
        if x0 <= px * frame[0] <= x1 and y0 <= py * frame[1] <= y1
    ]
    for at in (at for at, label in seeds if not label):
        alike = _of_one_colour(crop, at)
        if not any(alike[other[1], other[0]] for other, label in seeds if label):
            trimap[alike] = cv2.GC_BGD
    for at, label in seeds:
        cv2.circle(trimap, at, max(1, min(h, w) // 50), int(cv2.GC_FGD if label else cv2.GC_BGD), -1)


def _of_one_colour(crop: NDArray[np.uint8], at: tuple[int, int]) -> Mask:
    """(h, w) bool: what is connected with the pixel (x, y) and within some levels of its colour in CIE Lab."""
    h, w = crop.shape[:2]
    filled = np.zeros((h + 2, w + 2), np.uint8)
    lab = cv2.cvtColor(crop, cv2.COLOR_RGB2LAB)
    flags = 4 | cv2.FLOODFILL_FIXED_RANGE | cv2.FLOODFILL_MASK_ONLY | (1 << 8)
    cv2.floodFill(lab, filled, at, (0, 0, 0), _ALIKE, _ALIKE, flags)
    return filled[1:-1, 1:-1] > 0


def _tidy(cut: Mask, core: Mask, probable: Mask) -> Mask:
    """The parts that the seeds lie in, without specks and pinholes."""
    least = max(4, int(0.01 * cut.sum()))
    parts = [p for p in components(cut, least_px=least) if (p & core).any() or (p & probable).sum() > 0.5 * p.sum()]
    if not parts:
        return np.zeros_like(cut)
    weights = [int((p & probable).sum()) for p in parts]
    keep = np.logical_or.reduce([p for p, n in zip(parts, weights, strict=True) if n >= 0.1 * max(weights)])
    return fill_holes(np.asarray(keep, np.bool_), most_px=max(2, int(0.01 * keep.sum())))


def _score(image: NDArray[np.uint8], mask: Mask, prompt: Prompt, hypothesis: Hypothesis) -> float:
    """In [0, 1]: agreement with what was asked x contrast across the outline."""
    size = (mask.shape[1], mask.shape[0])
    if prompt.prior is not None:
        belief = resize_map(hypothesis.belief, size)
        fit = 2 * float(belief[mask].sum()) / (float(belief.sum()) + float(mask.sum()))
        fit = min(1.0, fit * 1.25)  # a heatmap fades, so even a perfect mask cannot reach 1
    elif prompt.box is not None:
        box = box_of(mask)
        fit = float(box_iou(box, prompt.box)) if box else 0.0
    else:
        # A point says nothing of the size: of equally good outlines the larger (the whole, not a part) is better.
        fit = 0.75 + 0.15 * min(1.0, float(mask.mean()) / 0.03) if mask.mean() < 0.5 else 0.3
    if len(prompt.points):
        h, w = mask.shape
        hits = [
            mask[min(int(y * h), h - 1), min(int(x * w), w - 1)] == bool(label)
            for (x, y), label in zip(prompt.points, prompt.labels, strict=True)
        ]
        fit *= float(np.mean(hits))
    return float(np.clip(fit * (0.4 + 0.6 * edge_contrast(image, mask)) * purity(image, mask), 0, 1))


def edge_contrast(image: NDArray[np.uint8], mask: Mask) -> float:
    """In [0, 1]: how different the colours just inside and just outside the outline are, in CIE Lab."""
    window = _window(mask)
    if window is None:
        return 0.0
    part = mask[window].astype(np.uint8)
    lab = cv2.cvtColor(image[window], cv2.COLOR_RGB2LAB).astype(np.float32)
    kernel = np.ones((5, 5), np.uint8)
    ones = part.astype(np.float32)
    inner = part - np.asarray(cv2.erode(part, kernel), np.uint8)
    outer = np.asarray(cv2.dilate(part, kernel), np.uint8) - part
    if not inner.any() or not outer.any():
        return 0.0
    near_in = _blur(lab * ones[..., None]) / np.maximum(_blur(ones), 1e-3)[..., None]
    near_out = _blur(lab * (1 - ones)[..., None]) / np.maximum(_blur(1 - ones), 1e-3)[..., None]
    rim = np.asarray(inner | outer) > 0
    difference = np.linalg.norm(near_in - near_out, axis=-1)[rim]
    sharp = 1 - np.exp(-difference / 20)
    return float(0.5 * sharp.mean() + 0.5 * np.quantile(sharp, 0.2))  # a leak shows in the weakest stretch


def purity(image: NDArray[np.uint8], mask: Mask) -> float:
    """In [0, 1]: the share of a mask that is not in the colours of what surrounds it."""
    window = _window(mask)
    if window is None:
        return 0.0
    part = mask[window]
    around = cv2.dilate(part.astype(np.uint8), np.ones((15, 15), np.uint8)).astype(bool) & ~part
    return 1 - float(like_outside(image[window], part, around)[part].mean())


def like_outside(image: NDArray[np.uint8], inside: Mask, outside: Mask) -> Mask:
    """(h, w) bool: pixels whose colour is more than twice as common in `outside` as in `inside`."""
    if not inside.any() or not outside.any():
        return np.zeros(inside.shape, np.bool_)
    lab = cv2.cvtColor(image, cv2.COLOR_RGB2LAB)
    bins, limits = [12, 16, 16], [0, 256, 0, 256, 0, 256]
    shares = []
    for part in (inside, outside):
        counts = np.asarray(cv2.calcHist([lab], [0, 1, 2], part.astype(np.uint8), bins, limits), np.float32)
        spread = [cv2.blur(counts.swapaxes(0, axis), (1, 3)).swapaxes(0, axis) for axis in range(3)]
        counts = np.sum(spread, axis=0) + 1e-9  # neighbouring shades are not another colour
        shares.append(counts / counts.sum())
    ratio = shares[1] / (shares[0] + 1e-6)
    index = lab.astype(np.int32) * np.array(bins) // 256
    return np.asarray(ratio[index[..., 0], index[..., 1], index[..., 2]] > 2.0, np.bool_)


def _window(mask: Mask) -> tuple[slice, slice] | None:
    box = box_of(mask)
    if box is None:
        return None
    h, w = mask.shape
    x0, y0, x1, y1 = pad_box(box, 0.1, least=0.02)
    return slice(int(y0 * h), int(np.ceil(y1 * h))), slice(int(x0 * w), int(np.ceil(x1 * w)))


def _blur(grid: NDArray[np.float32]) -> NDArray[np.float32]:
    return np.asarray(cv2.blur(grid, (7, 7)), np.float32)
