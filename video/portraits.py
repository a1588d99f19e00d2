"""A thing's portrait: the shape of its colours on a frame where it is known, and where in another frame that is again.

Flow knows only what it followed. What came out from behind something, or what a mask ran over to, is told by looking
again at what was known: template matching (normalised correlation, Lewis 1995, "Fast normalized cross-correlation") of
the map of colours that are the thing's rather than its surroundings', so that neither an even colour nor another ground
is in the way. It knows a thing that turns or bends no longer, and then says nothing.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from video.looks import Looks
from video.masks import Mask, box_of

_SIDE_PX = 32.0  # of a thing, at which it is matched: enough to tell shapes, small enough for each frame of a clip
_SIZES = (0.8, 0.9, 1.0, 1.1, 1.25)  # times its size then
_AROUND = 0.2  # of its size on each side: where it is not belongs to its shape
_APART = 0.5  # of its size, from which on two matches are two places
_FINE_PX = 480  # short side of a frame whose colours are told one by one
_LEAST = 0.4  # of its colours that must be there
_BEYOND = 3  # a third of it may lie beyond the frame's edge


@dataclass(frozen=True, eq=False)
class Match:
    """score: correlation in [-1, 1]; size: times that of the portrait; corner: (x, y) pixels, of its padded box."""

    score: float
    size: float
    corner: tuple[float, float]


@dataclass(frozen=True, eq=False)
class Portrait:
    """mask: (H, W) bool. box: xyxy in pixels, padded; scale: of the frame when matched; shape: (h, w) of `box` then."""

    looks: Looks
    mask: Mask
    box: tuple[float, float, float, float]
    scale: float
    shape: NDArray[np.float32]

    @classmethod
    def of(cls, image: NDArray[np.uint8], mask: Mask) -> Portrait | None:
        """Of (H, W, 3) uint8 RGB under a mask of that size; None where there is nothing to go by."""
        looks, inside = Looks.of(image, mask), box_of(mask)
        if looks is None or inside is None:
            return None
        h, w = mask.shape
        x0, y0, x1, y1 = inside[0] * w, inside[1] * h, inside[2] * w, inside[3] * h
        scale = min(1.0, _SIDE_PX / float(np.sqrt((x1 - x0) * (y1 - y0))))
        more_x, more_y = _AROUND * (x1 - x0), _AROUND * (y1 - y0)
        box = (x0 - more_x, y0 - more_y, x1 + more_x, y1 + more_y)
        own = _own(looks, image, scale)
        left, top, right, bottom = (round(c * scale) for c in box)
        edge = max(right - left, bottom - top)
        framed = cv2.copyMakeBorder(own, edge, edge, edge, edge, cv2.BORDER_CONSTANT, value=0.0)
        shape = np.asarray(framed[top + edge : bottom + edge, left + edge : right + edge], np.float32)
        # Nothing in it, or all of it: no shape.
        return cls(looks, mask, box, scale, shape) if min(shape.shape) >= 4 and shape.std() > 0.1 else None

    def find(self, image: NDArray[np.uint8], *, most: int = 3) -> list[Match]:
        """The places of (H, W, 3) uint8 RGB that are most like it, best first, each apart from the others."""
        own = _own(self.looks, image, self.scale)
        found: list[Match] = []
        for size in _SIZES:
            shape = cv2.resize(self.shape, None, fx=size, fy=size, interpolation=cv2.INTER_LINEAR)
            h, w = shape.shape
            y, x = h // _BEYOND, w // _BEYOND
            framed = cv2.copyMakeBorder(own, y, y, x, x, cv2.BORDER_CONSTANT, value=0.0)
            if framed.shape[0] < h or framed.shape[1] < w:
                continue
            fits = cv2.matchTemplate(framed, shape, cv2.TM_CCOEFF_NORMED)
            # Where there is nothing of it, nothing correlates, and OpenCV says anything.
            sums = cv2.boxFilter(framed, -1, (w, h), anchor=(0, 0), normalize=False, borderType=cv2.BORDER_CONSTANT)
            much = sums[: fits.shape[0], : fits.shape[1]] >= _LEAST * shape.sum()
            fits = np.where(much & np.isfinite(fits), fits, np.float32(-1))
            for _ in range(most):
                _, score, _, (column, row) = cv2.minMaxLoc(fits)
                found.append(Match(float(score), size, ((column - x) / self.scale, (row - y) / self.scale)))
                fits[max(0, row - h // 2) : row + h // 2 + 1, max(0, column - w // 2) : column + w // 2 + 1] = -1.0
        apart = _APART * (self.box[2] - self.box[0]), _APART * (self.box[3] - self.box[1])
        kept: list[Match] = []
        for match in sorted(found, key=lambda m: -m.score):
            far = [abs(np.subtract(self._middle(match), self._middle(other))) / apart for other in kept]
            if all(f.max() > 1 for f in far):
                kept.append(match)
        return kept[:most]

    def place(self, match: Match) -> Mask:
        """(H, W) bool: the mask as it lies where it was found."""
        h, w = self.mask.shape
        # Pixel (0, 0) has its centre at 0.
        shift = [c - 0.5 - match.size * (b - 0.5) for c, b in zip(match.corner, self.box[:2], strict=True)]
        how = np.array([[match.size, 0, shift[0]], [0, match.size, shift[1]]], np.float64)
        return np.asarray(cv2.warpAffine(self.mask.astype(np.float32), how, (w, h)) >= 0.5, np.bool_)

    def _middle(self, match: Match) -> tuple[float, float]:
        x0, y0, x1, y1 = self.box
        return match.corner[0] + match.size * (x1 - x0) / 2, match.corner[1] + match.size * (y1 - y0) / 2


def _own(looks: Looks, image: NDArray[np.uint8], scale: float) -> NDArray[np.float32]:
    """(h, w) float32 in [0, 1], the frame at a scale: how much each place has the thing's colours; none has no new."""
    h, w = image.shape[:2]
    size = max(8, round(w * scale)), max(8, round(h * scale))
    fine = min(1.0, max(scale, _FINE_PX / min(h, w)))  # colours mix when a picture shrinks, shares of them do not
    if fine < 1:
        fine_size = max(8, round(w * fine)), max(8, round(h * fine))
        image = np.asarray(cv2.resize(image, fine_size, interpolation=cv2.INTER_AREA), np.uint8)
    return np.asarray(cv2.resize(looks.ownership(image), size, interpolation=cv2.INTER_AREA), np.float32)
