"""A thing's portrait: the shape of its colours on a frame where it is known, and where in another frame that is again.

Flow knows only what it followed. What came out from behind something, or what a mask ran over to, is told by looking
again at what was known: template matching (normalised correlation, Lewis 1995, "Fast normalized cross-correlation") of
the map of colours that are the thing's rather than its surroundings', so that neither an even colour nor another ground
is in the way. What touches something of its own colours has no such shape; there each place is looked at closely, for
the thing's own colours pixel by pixel and for an outline around them. It knows a thing that turns or bends no longer,
and then says nothing.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from video.masks import Mask, box_of, resize_mask
from video.tracking.appearance import ColorModel

_SIDE_PX = 32.0  # of a thing, at which it is matched: enough to tell shapes, small enough for each frame of a clip
_SIZES = (0.8, 0.9, 1.0, 1.1, 1.25)  # times its size then
_AROUND = 0.2  # of its size on each side: where it is not belongs to its shape
_APART = 0.5  # of its size, from which on two matches are two places
_FINE_PX = 480  # short side of a frame whose colours are told one by one
_LEAST = 0.4  # of its colours that must be there
_BEYOND = 3  # a third of it may lie beyond the frame's edge
_CLOSE_PX = 64.0  # of a thing, at which it is compared pixel by pixel
_FRAME_PX, _SLACK_PX = 6, 5  # around it then, and how far from where it was matched it may lie
_ALIKE = 24.0  # of 256, in each of CIE Lab's channels: the same colour
_NOWHERE = -999.0  # a colour like no other
_OUTLINED = 0.8  # of its outline that must be there, or it may be a part of something larger


@dataclass(frozen=True, eq=False)
class TemplateMatch:
    """score: correlation in [-1, 1]; size: times that of the portrait; corner: (x, y) pixels, of its padded box."""

    score: float
    size: float
    corner: tuple[float, float]


@dataclass(frozen=True, eq=False)
class ObjectTemplate:
    """mask: (H, W) bool. box: xyxy in pixels, padded; scale: of the frame when matched; shape: (h, w) of `box` then."""

    looks: ColorModel
    mask: Mask
    box: tuple[float, float, float, float]
    scale: float
    shape: NDArray[np.float32]
    close: _Close

    @classmethod
    def of(cls, image: NDArray[np.uint8], mask: Mask) -> ObjectTemplate | None:
        """Of (H, W, 3) uint8 RGB under a mask of that size; None where there is nothing to go by."""
        looks, inside = ColorModel.of(image, mask), box_of(mask)
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
        if min(shape.shape) < 4 or shape.std() <= 0.1:
            return None
        return cls(looks, mask, box, scale, shape, _Close.of(image, mask, (x0, y0, x1, y1)))

    def find(self, image: NDArray[np.uint8], *, most: int = 3) -> list[TemplateMatch]:
        """The places of (H, W, 3) uint8 RGB that are most like it, best first, each apart from the others."""
        own = _own(self.looks, image, self.scale)
        found: list[TemplateMatch] = []
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
                found.append(TemplateMatch(float(score), size, ((column - x) / self.scale, (row - y) / self.scale)))
                fits[max(0, row - h // 2) : row + h // 2 + 1, max(0, column - w // 2) : column + w // 2 + 1] = -1.0
        apart = _APART * (self.box[2] - self.box[0]), _APART * (self.box[3] - self.box[1])
        kept: list[TemplateMatch] = []
        for match in sorted(found, key=lambda m: -m.score):
            far = [abs(np.subtract(self._middle(match), self._middle(other))) / apart for other in kept]
            if all(f.max() > 1 for f in far):
                kept.append(match)
        return kept[:most]

    def closely(self, image: NDArray[np.uint8], match: TemplateMatch) -> TemplateMatch:
        """The match, put right to the pixel. Its score is how much of the thing is there, in [0, 1].

        That is the share of its pixels that have their colours, times the share of its outline that is to be seen:
        nothing of it hangs on what lies around. 0 where too little of the outline is.
        """
        padding = match.size * _AROUND / (1 + 2 * _AROUND)
        more = padding * (self.box[2] - self.box[0]), padding * (self.box[3] - self.box[1])
        score, (x, y) = self.close.there(image, (match.corner[0] + more[0], match.corner[1] + more[1]), match.size)
        return TemplateMatch(score, match.size, (x - more[0], y - more[1]))

    def place(self, match: TemplateMatch) -> Mask:
        """(H, W) bool: the mask as it lies where it was found."""
        h, w = self.mask.shape
        # Pixel (0, 0) has its centre at 0.
        shift = [c - 0.5 - match.size * (b - 0.5) for c, b in zip(match.corner, self.box[:2], strict=True)]
        how = np.array([[match.size, 0, shift[0]], [0, match.size, shift[1]]], np.float64)
        return np.asarray(cv2.warpAffine(self.mask.astype(np.float32), how, (w, h)) >= 0.5, np.bool_)

    def _middle(self, match: TemplateMatch) -> tuple[float, float]:
        x0, y0, x1, y1 = self.box
        return match.corner[0] + match.size * (x1 - x0) / 2, match.corner[1] + match.size * (y1 - y0) / 2


@dataclass(frozen=True, eq=False)
class _Close:
    """A thing pixel by pixel, at a scale of the frame, with a margin.

    picture: (h, w, 3) float32 CIE Lab. inside: (h, w) bool. core: surely it; ring: surely not, but near. core_colours:
    (h, w, 3) of the nearest pixel of the core. outline: share of the ring that has another colour than the core there.
    """

    picture: NDArray[np.float32]
    inside: Mask
    core: Mask
    ring: Mask
    core_colours: NDArray[np.float32]
    outline: float
    scale: float
    rest: tuple[float, float]  # by which its box begins right of and below a pixel, at that scale

    @classmethod
    def of(cls, image: NDArray[np.uint8], mask: Mask, box: tuple[float, float, float, float]) -> _Close:
        """box: of the mask, xyxy in pixels."""
        scale = min(1.0, _CLOSE_PX / float(np.sqrt((box[2] - box[0]) * (box[3] - box[1]))))
        left, top, right, bottom = (round(c * scale) for c in box)
        rows, columns = slice(top, bottom + 2 * _FRAME_PX), slice(left, right + 2 * _FRAME_PX)
        picture = _framed(_lab(image, scale), _FRAME_PX)[rows, columns]
        small = resize_mask(mask, _size(image, scale))
        inside = _framed(small.astype(np.float32), _FRAME_PX, 0.0)[rows, columns]
        core = cv2.erode(inside, np.ones((3, 3), np.uint8)) > 0
        core = core if core.any() else inside > 0
        ring = (cv2.dilate(inside, np.ones((9, 9), np.uint8)) > 0) & (
            cv2.dilate(inside, np.ones((3, 3), np.uint8)) == 0
        )
        _, nearest = cv2.distanceTransformWithLabels(
            (~core).astype(np.uint8), cv2.DIST_L2, 5, labelType=cv2.DIST_LABEL_PIXEL
        )
        colours = np.zeros((int(nearest.max()) + 1, 3), np.float32)
        colours[nearest[core]] = picture[core]
        core_colours = colours[nearest]
        outline = float(_unlike(picture, core_colours)[ring].mean())
        rest = box[0] * scale - left, box[1] * scale - top
        return cls(picture, inside > 0, core, ring, core_colours, outline, scale, rest)

    def there(
        self, image: NDArray[np.uint8], corner: tuple[float, float], size: float
    ) -> tuple[float, tuple[float, float]]:
        """How much of it is to be seen near a corner (x, y) of its box, in pixels, and that corner, put right."""
        if self.outline < 0.5:
            return 0.0, corner  # what it lay on had its colours, too: its outline was never known
        h, w = self.core.shape
        scale, edge = self.scale / size, _FRAME_PX + _SLACK_PX + max(h, w)
        left, top = (round(c * scale - rest) for c, rest in zip(corner, self.rest, strict=True))
        x, y = (c - _FRAME_PX - _SLACK_PX + edge for c in (left, top))
        near = _framed(_lab(image, scale), edge, _NOWHERE)[y : y + h + 2 * _SLACK_PX, x : x + w + 2 * _SLACK_PX]
        if near.shape[0] < h or near.shape[1] < w:
            return 0.0, corner
        # To the rim, for a plain thing's core fits a pixel farther as well.
        weights = np.repeat(self.inside[..., None], 3, axis=2).astype(np.float32)
        _, _, (right, down), _ = cv2.minMaxLoc(cv2.matchTemplate(near, self.picture, cv2.TM_SQDIFF, mask=weights))
        seen = near[down : down + h, right : right + w]
        own = float((~_unlike(seen, self.picture))[self.core].mean())
        outlined = min(1.0, float(_unlike(seen, self.core_colours)[self.ring].mean()) / self.outline)
        at = left + right - _SLACK_PX + self.rest[0], top + down - _SLACK_PX + self.rest[1]
        return own * outlined if outlined >= _OUTLINED else 0.0, (at[0] / scale, at[1] / scale)


def _unlike(a: NDArray[np.float32], b: NDArray[np.float32]) -> NDArray[np.bool_]:
    return np.asarray(np.abs(a - b).max(axis=-1) > _ALIKE, np.bool_)


def _framed(picture: NDArray[np.float32], edge: int, colour: float | None = None) -> NDArray[np.float32]:
    """With an edge on all sides, of one value or of what is nearest."""
    how = cv2.BORDER_REPLICATE if colour is None else cv2.BORDER_CONSTANT
    return np.asarray(cv2.copyMakeBorder(picture, edge, edge, edge, edge, how, value=(colour or 0.0,) * 4), np.float32)


def _size(image: NDArray[np.uint8], scale: float) -> tuple[int, int]:
    h, w = image.shape[:2]
    return max(8, round(w * scale)), max(8, round(h * scale))


def _lab(image: NDArray[np.uint8], scale: float) -> NDArray[np.float32]:
    """(h, w, 3) float32 CIE Lab in 0 to 255, the frame at a scale."""
    small = cv2.resize(image, _size(image, scale), interpolation=cv2.INTER_AREA)
    return cv2.cvtColor(small, cv2.COLOR_RGB2LAB).astype(np.float32)


def _own(looks: ColorModel, image: NDArray[np.uint8], scale: float) -> NDArray[np.float32]:
    """(h, w) float32 in [0, 1], the frame at a scale: how much each place has the thing's colours; none has no new."""
    size = _size(image, scale)
    fine = min(1.0, max(scale, _FINE_PX / min(image.shape[:2])))  # colours mix when a picture shrinks, shares do not
    if fine < 1:
        image = np.asarray(cv2.resize(image, _size(image, fine), interpolation=cv2.INTER_AREA), np.uint8)
    return np.asarray(cv2.resize(looks.ownership(image), size, interpolation=cv2.INTER_AREA), np.float32)
