"""Segmentation without weights: colour models and a graph cut (GrabCut, Rother et al. 2004, OpenCV) from any prompt.

A prompt becomes one or more foreground priors. Each is segmented on a crop of bounded size, and the masks are ranked by
their agreement with the prompt and with the edges in the image.
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
    point_accuracy,
    resize_map,
    rim_prior,
)
from video.types import Candidate, Prompt

LEVELS = (0.5, 0.65, 0.8)  # thresholds of a heatmap; lower ones reach into neighbouring objects
_COLOR_TOLERANCE = (20, 10, 10)  # of 256, in CIE Lab: lightness changes within an object more than its hue
_RIM_PX = 2  # of the crop: background, unless the crop ends where the frame ends


@dataclass(frozen=True, eq=False)
class ForegroundPrior:
    """How probable each pixel is the object's, on a grid over the whole frame.

    Attributes:
        probability: (h, w) float32 in [0, 1].
        low: Below it a pixel is certainly background.
        mid: From it on a pixel is probably foreground.
        high: From it on a pixel is certainly foreground.
        margin: How far the crop reaches around the probable foreground, as a share of its size.
    """

    probability: NDArray[np.float32]
    low: float
    mid: float
    high: float
    margin: float


@dataclass(frozen=True)
class GrabCutSegmenter:
    """A `Segmenter` that needs no weights.

    Args:
        name: What the model version calls it.
        side_px: The longest side of the crop that is segmented; larger ones are reduced.
        iterations: Of GrabCut.
    """

    name: str = "grabcut"
    side_px: int = 256
    iterations: int = 3

    def segment(self, image: NDArray[np.uint8], prompt: Prompt, *, frame: int = 0) -> list[Candidate]:
        """Outline an object in an image. The same call gives the same masks.

        Args:
            image: (H, W, 3) uint8 RGB.
            prompt: Points, a box, a heatmap or a mask.
            frame: What `Candidate.frame` says.

        Returns:
            Candidates, best first; none where nothing stands out.

        Raises:
            ValueError: For anything but an RGB image.
        """
        if image.ndim != 3 or image.shape[2] != 3 or image.dtype != np.uint8:
            raise ValueError(f"image must be (H, W, 3) uint8 RGB, got {image.shape} {image.dtype}")
        h, w = image.shape[:2]
        candidates: list[Candidate] = []
        for prior in _foreground_priors(prompt, (w, h)):
            mask = self._segment(image, prompt, prior)
            if mask is None or any(iou(mask, other.mask) > 0.95 for other in candidates):
                continue
            candidates.append(Candidate(frame=frame, mask=mask, score=_score(image, mask, prompt, prior)))
        return sorted((c for c in candidates if c.score > 0), key=lambda c: -c.score)

    def _segment(self, image: NDArray[np.uint8], prompt: Prompt, prior: ForegroundPrior) -> Mask | None:
        h, w = image.shape[:2]
        rect = _crop_rect(prior, (w, h))
        if rect is None:
            return None
        x0, y0, x1, y1 = rect
        scale = min(1.0, self.side_px / max(x1 - x0, y1 - y0))
        size = (max(8, round((x1 - x0) * scale)), max(8, round((y1 - y0) * scale)))
        crop = np.asarray(cv2.resize(image[y0:y1, x0:x1], size, interpolation=cv2.INTER_AREA), np.uint8)
        probability = _crop_map(prior.probability, rect, (w, h), size)
        trimap = _make_trimap(probability, prior, rect, (w, h))
        _open_holes(crop, trimap)
        _apply_prompt(crop, trimap, prompt, rect, (w, h))
        core = trimap == cv2.GC_FGD if (trimap == cv2.GC_FGD).any() else trimap == cv2.GC_PR_FGD
        cut = grab_cut(crop, trimap, iterations=self.iterations)
        if cut is None:
            return None
        cleaned = _clean(cut, core, probability >= prior.mid)
        if not cleaned.any():
            return None
        mask = np.zeros((h, w), np.bool_)
        mask[y0:y1, x0:x1] = resize_map(cleaned, (x1 - x0, y1 - y0)) >= 0.5
        return mask if mask.any() else None


def grab_cut(image: NDArray[np.uint8], trimap: NDArray[np.uint8], *, iterations: int) -> Mask | None:
    """Run GrabCut.

    Args:
        image: (h, w, 3) uint8 RGB.
        trimap: (h, w) uint8, OpenCV's four labels.
        iterations: Of GrabCut.

    Returns:
        (h, w) bool; None if there is too little foreground or background for its colour models.
    """
    inside = np.count_nonzero((trimap == cv2.GC_FGD) | (trimap == cv2.GC_PR_FGD))
    if inside < 5 or trimap.size - inside < 5:  # five colour clusters on either side
        return None
    cv2.setRNGSeed(0)  # its k-means draws from OpenCV's random generator
    labels = trimap.copy()
    models = np.zeros((1, 65)), np.zeros((1, 65))
    lab = cv2.cvtColor(image, cv2.COLOR_RGB2LAB)  # distances nearer to what eyes see
    labels, _, _ = cv2.grabCut(lab, labels, None, *models, iterations, cv2.GC_INIT_WITH_MASK)  # type: ignore[call-overload]
    return np.asarray((labels == cv2.GC_FGD) | (labels == cv2.GC_PR_FGD), np.bool_)


def _foreground_priors(prompt: Prompt, size: tuple[int, int]) -> Iterator[ForegroundPrior]:
    """Yield the foreground priors of a prompt, for a frame of (width, height)."""
    w, h = size
    if prompt.prior is not None:
        prior = np.asarray(prompt.prior, np.float32)
        if prior.max() <= 0:
            return
        if is_mask(prior):
            if np.isin(prior, (0, 1)).all():  # a hard mask: its outline is to be found
                prior = rim_prior(resize_map(prior, size) >= 0.5)
            yield ForegroundPrior(prior, 0.04, 0.5, 0.96, 0.3)
            return
        for mid in LEVELS:
            yield ForegroundPrior(_keep_peak(prior, mid), 0.08, mid, 2.0, 0.8)
    elif prompt.box is not None:
        grid = box_mask(prompt.box, size).astype(np.float32)
        yield ForegroundPrior(grid, 0.5, 0.5, 2.0, 0.35)
        yield ForegroundPrior(_ellipse(prompt.box, size), 0.01, 0.3, 0.8, 0.35)
    else:
        inside = np.asarray(prompt.points)[np.asarray(prompt.labels) == 1]
        y, x = np.mgrid[0:h, 0:w].astype(np.float32)
        distance = np.min([np.hypot(x + 0.5 - px * w, y + 0.5 - py * h) for px, py in inside], axis=0)
        for radius in (0.05, 0.1, 0.2, 0.35):
            probability = np.exp(-0.5 * np.square(distance / (radius * min(w, h))))
            yield ForegroundPrior(probability.astype(np.float32), 0.01, 0.6, 2.0, 1.5)


def is_mask(prior: NDArray[np.float32]) -> bool:
    """Return whether a prior is a mask, of which most is near 1, and not a heatmap, which fades slowly."""
    support = prior > 0.05
    return bool(support.any()) and float((prior[support] > 0.95).mean()) >= 0.4


def _keep_peak(prior: NDArray[np.float32], mid: float) -> NDArray[np.float32]:
    """Return a heatmap without the other parts that reach `mid`, so that look-alikes stay out."""
    _, labels = cv2.connectedComponents((prior >= mid).astype(np.uint8), connectivity=8)
    peak = np.unravel_index(int(prior.argmax()), prior.shape)
    return np.where((labels > 0) & (labels != labels[peak]), np.float32(0), prior)


def _ellipse(box: Box, size: tuple[int, int]) -> NDArray[np.float32]:
    """Return a map that falls from 1 in the middle of a box, which is certainly the object, to its edges."""
    x0, y0, x1, y1 = box
    w, h = size
    x = ((np.arange(w) + 0.5) / w - (x0 + x1) / 2) / ((x1 - x0) / 2)
    y = ((np.arange(h) + 0.5) / h - (y0 + y1) / 2) / ((y1 - y0) / 2)
    r = np.hypot(x[None], y[:, None])
    inside = (np.abs(x) <= 1)[None] & (np.abs(y) <= 1)[:, None]
    return np.where(inside, np.clip(1 - r * 0.7, 0.02, 1), 0).astype(np.float32)


def _crop_rect(prior: ForegroundPrior, size: tuple[int, int]) -> tuple[int, int, int, int] | None:
    """Return the crop, x0, y0, x1, y1 in pixels, around the probable foreground; None if it is too small."""
    box = box_of(prior.probability >= prior.mid)
    if box is None:
        return None
    w, h = size
    x0, y0, x1, y1 = pad_box(box, prior.margin, least=0.03)
    rect = (int(x0 * w), int(y0 * h), min(w, int(np.ceil(x1 * w))), min(h, int(np.ceil(y1 * h))))
    return rect if rect[2] - rect[0] >= 4 and rect[3] - rect[1] >= 4 else None


def _crop_map(
    grid: NDArray[np.float32],
    rect: tuple[int, int, int, int],
    frame: tuple[int, int],
    size: tuple[int, int],
) -> NDArray[np.float32]:
    """Return the part of a map over the whole frame that lies in a pixel rectangle, at the crop's (width, height)."""
    h, w = grid.shape
    x0, y0, x1, y1 = rect
    x = ((np.arange(size[0]) + 0.5) / size[0] * (x1 - x0) + x0) / frame[0] * w - 0.5
    y = ((np.arange(size[1]) + 0.5) / size[1] * (y1 - y0) + y0) / frame[1] * h - 0.5
    at = np.meshgrid(x.astype(np.float32), y.astype(np.float32))
    return np.asarray(cv2.remap(grid, at[0], at[1], cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE), np.float32)


def _make_trimap(
    probability: NDArray[np.float32],
    prior: ForegroundPrior,
    rect: tuple[int, int, int, int],
    frame: tuple[int, int],
) -> NDArray[np.uint8]:
    """Return OpenCV's four labels, (h, w) uint8, of the crop's probabilities."""
    trimap = np.full(probability.shape, cv2.GC_PR_BGD, np.uint8)
    trimap[probability >= prior.mid] = cv2.GC_PR_FGD
    trimap[probability >= prior.high] = cv2.GC_FGD
    trimap[probability < prior.low] = cv2.GC_BGD
    rim = np.zeros(probability.shape, np.bool_)
    rim[:, :_RIM_PX] |= rect[0] > 0
    rim[:_RIM_PX] |= rect[1] > 0
    rim[:, -_RIM_PX:] |= rect[2] < frame[0]
    rim[-_RIM_PX:] |= rect[3] < frame[1]
    trimap[rim & (probability < prior.mid)] = cv2.GC_BGD
    return trimap


def _open_holes(crop: NDArray[np.uint8], trimap: NDArray[np.uint8]) -> None:
    """Label probable foreground in the background's colours as background, so that a ring's hole can open.

    Only if most of the foreground is left; an object in the background's colours is left to the graph cut.
    """
    inside = trimap == cv2.GC_PR_FGD
    holes = inside & background_colored(crop, inside | (trimap == cv2.GC_FGD), trimap == cv2.GC_BGD)
    if holes.sum() < 0.6 * inside.sum():
        trimap[holes] = cv2.GC_PR_BGD


def _apply_prompt(
    crop: NDArray[np.uint8],
    trimap: NDArray[np.uint8],
    prompt: Prompt,
    rect: tuple[int, int, int, int],
    frame: tuple[int, int],
) -> None:
    """Label as certain what a prompt says: its points, and that nothing lies outside its box.

    A point off the object also labels the area of its colour around it, unless a point on the object lies there.
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
        area = _same_color_area(crop, at)
        if not any(area[other[1], other[0]] for other, label in seeds if label):
            trimap[area] = cv2.GC_BGD
    for at, label in seeds:
        cv2.circle(trimap, at, max(1, min(h, w) // 50), int(cv2.GC_FGD if label else cv2.GC_BGD), -1)


def _same_color_area(crop: NDArray[np.uint8], at: tuple[int, int]) -> Mask:
    """Return the area, (h, w) bool, that is connected with the pixel (x, y) and of a similar colour."""
    h, w = crop.shape[:2]
    filled = np.zeros((h + 2, w + 2), np.uint8)
    lab = cv2.cvtColor(crop, cv2.COLOR_RGB2LAB)
    flags = 4 | cv2.FLOODFILL_FIXED_RANGE | cv2.FLOODFILL_MASK_ONLY | (1 << 8)
    cv2.floodFill(lab, filled, at, (0, 0, 0), _COLOR_TOLERANCE, _COLOR_TOLERANCE, flags)
    return filled[1:-1, 1:-1] > 0


def _clean(cut: Mask, core: Mask, probable: Mask) -> Mask:
    """Return the parts of a cut that hold foreground, without specks and pinholes."""
    least = max(4, int(0.01 * cut.sum()))
    parts = [p for p in components(cut, least_px=least) if (p & core).any() or (p & probable).sum() > 0.5 * p.sum()]
    if not parts:
        return np.zeros_like(cut)
    weights = [int((p & probable).sum()) for p in parts]
    keep = np.logical_or.reduce([p for p, n in zip(parts, weights, strict=True) if n >= 0.1 * max(weights)])
    return fill_holes(np.asarray(keep, np.bool_), most_px=max(2, int(0.01 * keep.sum())))


def _score(image: NDArray[np.uint8], mask: Mask, prompt: Prompt, prior: ForegroundPrior) -> float:
    """Return the agreement with the prompt times the contrast across the outline, in [0, 1]."""
    size = (mask.shape[1], mask.shape[0])
    if prompt.prior is not None:
        probability = resize_map(prior.probability, size)
        fit = 2 * float(probability[mask].sum()) / (float(probability.sum()) + float(mask.sum()))
        fit = min(1.0, fit * 1.25)  # a heatmap fades, so even a perfect mask cannot reach 1
    elif prompt.box is not None:
        box = box_of(mask)
        fit = float(box_iou(box, prompt.box)) if box else 0.0
    else:
        # A point says nothing about the size: of equally good masks the larger one (the whole, not a part) is better.
        fit = 0.75 + 0.15 * min(1.0, float(mask.mean()) / 0.03) if mask.mean() < 0.5 else 0.3
    fit *= point_accuracy(mask, prompt.points, prompt.labels)
    return float(np.clip(fit * (0.4 + 0.6 * edge_contrast(image, mask)) * color_purity(image, mask), 0, 1))


def edge_contrast(image: NDArray[np.uint8], mask: Mask) -> float:
    """Return how much the colours just inside and just outside a mask's outline differ in CIE Lab, in [0, 1]."""
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
    return float(0.5 * sharp.mean() + 0.5 * np.quantile(sharp, 0.2))  # a leak shows where the contrast is weakest


def color_purity(image: NDArray[np.uint8], mask: Mask) -> float:
    """Return the share of a mask, in [0, 1], that does not have the colours of its surroundings."""
    window = _window(mask)
    if window is None:
        return 0.0
    part = mask[window]
    around = cv2.dilate(part.astype(np.uint8), np.ones((15, 15), np.uint8)).astype(bool) & ~part
    return 1 - float(background_colored(image[window], part, around)[part].mean())


def background_colored(image: NDArray[np.uint8], inside: Mask, outside: Mask) -> Mask:
    """Return the pixels, (h, w) bool, whose colour is more than twice as common in `outside` as in `inside`."""
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
    """Return the rows and columns of a mask's box with a margin; None for an empty mask."""
    box = box_of(mask)
    if box is None:
        return None
    h, w = mask.shape
    x0, y0, x1, y1 = pad_box(box, 0.1, least=0.02)
    return slice(int(y0 * h), int(np.ceil(y1 * h))), slice(int(x0 * w), int(np.ceil(x1 * w)))


def _blur(grid: NDArray[np.float32]) -> NDArray[np.float32]:
    return np.asarray(cv2.blur(grid, (7, 7)), np.float32)
