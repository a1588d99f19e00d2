"""Finds an object again by template matching: the shape of its colours on a frame where it is known.

Optical flow only knows what it followed. A template also finds an object that came out from behind something, or that
its mask has left. It is matched by normalised correlation (Lewis 1995, "Fast Normalized Cross-Correlation"), in the map
of the colours that are the object's rather than its surroundings', so that neither an even colour nor another
background matters. An object that touches something of its own colours has no such shape; there,
`ObjectTemplate.refine` compares the pixels themselves and the outline around them. An object that turned or bent
matches no longer, and is then not found.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from video.masks import Mask, box_of, resize_mask
from video.tracking.appearance import ColorModel

_SIDE_PX = 32.0  # of an object when its shape is matched: enough to tell shapes, cheap enough for every frame
_SCALES = (0.8, 0.9, 1.0, 1.1, 1.25)  # sizes that are tried, relative to the template
_PADDING = 0.2  # of its size on each side: the surroundings belong to the shape
_MIN_DISTANCE = 0.5  # of its size, between two matches
_COLOR_SIDE_PX = 480  # short side of the frame on which colours are looked up
_MIN_COVERAGE = 0.4  # share of the shape's colours that a place must have
_OUTSIDE = 3  # one part in three of the object may lie outside the frame
_REFINED_SIDE_PX = 64.0  # of an object when its pixels are compared
_MARGIN_PX, _SHIFT_PX = 6, 5  # then: the margin around it, and how far it may lie from its match
_SAME_COLOR = 24.0  # greatest difference in each CIE Lab channel, of 256
_NO_COLOR = -999.0  # unlike every colour; stands outside the frame
_MIN_OUTLINE = 0.8  # share of its outline that must be visible, or it may be a part of something larger


@dataclass(frozen=True, eq=False)
class TemplateMatch:
    """A place where a template matches.

    Args:
        score: The correlation in [-1, 1]; after `ObjectTemplate.refine`, the visible share of the object in [0, 1].
        scale: The object's size relative to the template.
        corner: (x, y) pixels of the top left of its padded box.
    """

    score: float
    scale: float
    corner: tuple[float, float]


@dataclass(frozen=True, eq=False)
class ObjectTemplate:
    """An object on one frame.

    Args:
        colors: Its colours and those around it.
        mask: (H, W) bool.
        box: Its box, xyxy in pixels, padded.
        frame_scale: The scale of frames when the shape is matched.
        shape: (h, w) float32 in [0, 1], the likelihood of its colours within `box` at that scale.
        pixels: The object for the comparison pixel by pixel.
    """

    colors: ColorModel
    mask: Mask
    box: tuple[float, float, float, float]
    frame_scale: float
    shape: NDArray[np.float32]
    pixels: _PixelTemplate

    @classmethod
    def of(cls, image: NDArray[np.uint8], mask: Mask) -> ObjectTemplate | None:
        """Make the template of an object.

        Args:
            image: (H, W, 3) uint8 RGB.
            mask: (H, W) bool.

        Returns:
            The template; None for an empty mask, and for an object whose colours do not show its shape.
        """
        colors, tight_box = ColorModel.of(image, mask), box_of(mask)
        if colors is None or tight_box is None:
            return None
        h, w = mask.shape
        x0, y0, x1, y1 = tight_box[0] * w, tight_box[1] * h, tight_box[2] * w, tight_box[3] * h
        scale = min(1.0, _SIDE_PX / float(np.sqrt((x1 - x0) * (y1 - y0))))
        pad_x, pad_y = _PADDING * (x1 - x0), _PADDING * (y1 - y0)
        box = (x0 - pad_x, y0 - pad_y, x1 + pad_x, y1 + pad_y)
        likelihood = _likelihood_map(colors, image, scale)
        left, top, right, bottom = (round(c * scale) for c in box)
        border = max(right - left, bottom - top)
        padded = cv2.copyMakeBorder(likelihood, border, border, border, border, cv2.BORDER_CONSTANT, value=0.0)
        shape = np.asarray(padded[top + border : bottom + border, left + border : right + border], np.float32)
        if min(shape.shape) < 4 or shape.std() <= 0.1:  # the same everywhere: no shape
            return None
        return cls(colors, mask, box, scale, shape, _PixelTemplate.of(image, mask, (x0, y0, x1, y1)))

    def find(self, image: NDArray[np.uint8], *, most: int = 3) -> list[TemplateMatch]:
        """Find the places of an image that match the template best.

        Args:
            image: (H, W, 3) uint8 RGB.
            most: How many places at most.

        Returns:
            The matches, best first, at some distance from each other.
        """
        likelihood = _likelihood_map(self.colors, image, self.frame_scale)
        found: list[TemplateMatch] = []
        for scale in _SCALES:
            shape = cv2.resize(self.shape, None, fx=scale, fy=scale, interpolation=cv2.INTER_LINEAR)
            h, w = shape.shape
            y, x = h // _OUTSIDE, w // _OUTSIDE
            padded = cv2.copyMakeBorder(likelihood, y, y, x, x, cv2.BORDER_CONSTANT, value=0.0)
            if padded.shape[0] < h or padded.shape[1] < w:
                continue
            scores = cv2.matchTemplate(padded, shape, cv2.TM_CCOEFF_NORMED)
            # On windows without any of its colours the correlation is undefined, and OpenCV returns arbitrary values.
            sums = cv2.boxFilter(padded, -1, (w, h), anchor=(0, 0), normalize=False, borderType=cv2.BORDER_CONSTANT)
            is_covered = sums[: scores.shape[0], : scores.shape[1]] >= _MIN_COVERAGE * shape.sum()
            scores = np.where(is_covered & np.isfinite(scores), scores, np.float32(-1))
            for _ in range(most):
                _, score, _, (column, row) = cv2.minMaxLoc(scores)
                corner = ((column - x) / self.frame_scale, (row - y) / self.frame_scale)
                found.append(TemplateMatch(float(score), scale, corner))
                scores[max(0, row - h // 2) : row + h // 2 + 1, max(0, column - w // 2) : column + w // 2 + 1] = -1.0
        min_distance = _MIN_DISTANCE * (self.box[2] - self.box[0]), _MIN_DISTANCE * (self.box[3] - self.box[1])
        kept: list[TemplateMatch] = []
        for match in sorted(found, key=lambda m: -m.score):
            distances = [abs(np.subtract(self._centre(match), self._centre(other))) / min_distance for other in kept]
            if all(d.max() > 1 for d in distances):
                kept.append(match)
        return kept[:most]

    def refine(self, image: NDArray[np.uint8], match: TemplateMatch) -> TemplateMatch:
        """Compare the object with an image pixel by pixel near a match.

        Args:
            image: (H, W, 3) uint8 RGB.
            match: A match returned by `find`.

        Returns:
            The match, exact to the pixel. Its score is the share of the object's pixels that have their colours, times
            the share of its outline that is visible; it does not depend on the surroundings. It is 0 where too little
            of the outline is visible.
        """
        padding = match.scale * _PADDING / (1 + 2 * _PADDING)
        pad = padding * (self.box[2] - self.box[0]), padding * (self.box[3] - self.box[1])
        corner = match.corner[0] + pad[0], match.corner[1] + pad[1]
        score, (x, y) = self.pixels.locate(image, corner, match.scale)
        return TemplateMatch(score, match.scale, (x - pad[0], y - pad[1]))

    def place(self, match: TemplateMatch) -> Mask:
        """Return the object's mask at a match, (H, W) bool."""
        h, w = self.mask.shape
        # OpenCV has the centre of pixel (0, 0) at 0.
        shift = [c - 0.5 - match.scale * (b - 0.5) for c, b in zip(match.corner, self.box[:2], strict=True)]
        matrix = np.array([[match.scale, 0, shift[0]], [0, match.scale, shift[1]]], np.float64)
        return np.asarray(cv2.warpAffine(self.mask.astype(np.float32), matrix, (w, h)) >= 0.5, np.bool_)

    def _centre(self, match: TemplateMatch) -> tuple[float, float]:
        x0, y0, x1, y1 = self.box
        return match.corner[0] + match.scale * (x1 - x0) / 2, match.corner[1] + match.scale * (y1 - y0) / 2


@dataclass(frozen=True, eq=False)
class _PixelTemplate:
    """The pixels of an object, at a scale of the frame, with a margin.

    Args:
        image: (h, w, 3) float32 CIE Lab.
        inside: (h, w) bool, the object.
        core: (h, w) bool, surely the object.
        ring: (h, w) bool, surely not the object, but near it.
        core_colors: (h, w, 3) float32, the colour of the nearest pixel of the core.
        outline: The share of the ring that has another colour than the core there.
        frame_scale: The scale.
        fraction: (x, y) by which the box begins right of and below a pixel, at that scale.
    """

    image: NDArray[np.float32]
    inside: Mask
    core: Mask
    ring: Mask
    core_colors: NDArray[np.float32]
    outline: float
    frame_scale: float
    fraction: tuple[float, float]

    @classmethod
    def of(cls, image: NDArray[np.uint8], mask: Mask, box: tuple[float, float, float, float]) -> _PixelTemplate:
        """box: the mask's box, xyxy in pixels."""
        scale = min(1.0, _REFINED_SIDE_PX / float(np.sqrt((box[2] - box[0]) * (box[3] - box[1]))))
        left, top, right, bottom = (round(c * scale) for c in box)
        rows, columns = slice(top, bottom + 2 * _MARGIN_PX), slice(left, right + 2 * _MARGIN_PX)
        lab = _pad(_to_lab(image, scale), _MARGIN_PX)[rows, columns]
        small = resize_mask(mask, _scaled_size(image, scale))
        inside = _pad(small.astype(np.float32), _MARGIN_PX, 0.0)[rows, columns]
        core = cv2.erode(inside, np.ones((3, 3), np.uint8)) > 0
        core = core if core.any() else inside > 0
        ring = (cv2.dilate(inside, np.ones((9, 9), np.uint8)) > 0) & (
            cv2.dilate(inside, np.ones((3, 3), np.uint8)) == 0
        )
        _, nearest = cv2.distanceTransformWithLabels(
            (~core).astype(np.uint8), cv2.DIST_L2, 5, labelType=cv2.DIST_LABEL_PIXEL
        )
        color_of_label = np.zeros((int(nearest.max()) + 1, 3), np.float32)
        color_of_label[nearest[core]] = lab[core]
        core_colors = color_of_label[nearest]
        outline = float(_differs(lab, core_colors)[ring].mean())
        fraction = box[0] * scale - left, box[1] * scale - top
        return cls(lab, inside > 0, core, ring, core_colors, outline, scale, fraction)

    def locate(
        self, image: NDArray[np.uint8], corner: tuple[float, float], scale: float
    ) -> tuple[float, tuple[float, float]]:
        """Return the visible share of the object near a corner (x, y) of its box, in pixels, and the exact corner.

        scale: the object's size relative to the template.
        """
        if self.outline < 0.5:
            return 0.0, corner  # its background had its colours too, so its outline is not known
        h, w = self.core.shape
        frame_scale, border = self.frame_scale / scale, _MARGIN_PX + _SHIFT_PX + max(h, w)
        left, top = (round(c * frame_scale - f) for c, f in zip(corner, self.fraction, strict=True))
        x, y = (c - _MARGIN_PX - _SHIFT_PX + border for c in (left, top))
        lab = _pad(_to_lab(image, frame_scale), border, _NO_COLOR)
        window = lab[y : y + h + 2 * _SHIFT_PX, x : x + w + 2 * _SHIFT_PX]
        if window.shape[0] < h or window.shape[1] < w:
            return 0.0, corner
        # Up to the rim: the core of an object of one colour would fit a pixel farther as well.
        weights = np.repeat(self.inside[..., None], 3, axis=2).astype(np.float32)
        _, _, (right, down), _ = cv2.minMaxLoc(cv2.matchTemplate(window, self.image, cv2.TM_SQDIFF, mask=weights))
        found = window[down : down + h, right : right + w]
        same = float((~_differs(found, self.image))[self.core].mean())
        outlined = min(1.0, float(_differs(found, self.core_colors)[self.ring].mean()) / self.outline)
        exact = left + right - _SHIFT_PX + self.fraction[0], top + down - _SHIFT_PX + self.fraction[1]
        return same * outlined if outlined >= _MIN_OUTLINE else 0.0, (exact[0] / frame_scale, exact[1] / frame_scale)


def _differs(a: NDArray[np.float32], b: NDArray[np.float32]) -> NDArray[np.bool_]:
    """Return where two CIE Lab images (h, w, 3) have different colours, (h, w) bool."""
    return np.asarray(np.abs(a - b).max(axis=-1) > _SAME_COLOR, np.bool_)


def _pad(image: NDArray[np.float32], border: int, value: float | None = None) -> NDArray[np.float32]:
    """Return an image with a border on all sides: of one value, or of the nearest pixels."""
    kind = cv2.BORDER_REPLICATE if value is None else cv2.BORDER_CONSTANT
    padded = cv2.copyMakeBorder(image, border, border, border, border, kind, value=(value or 0.0,) * 4)
    return np.asarray(padded, np.float32)


def _scaled_size(image: NDArray[np.uint8], scale: float) -> tuple[int, int]:
    h, w = image.shape[:2]
    return max(8, round(w * scale)), max(8, round(h * scale))


def _to_lab(image: NDArray[np.uint8], scale: float) -> NDArray[np.float32]:
    """Return an image at a scale, (h, w, 3) float32 CIE Lab in [0, 255]."""
    small = cv2.resize(image, _scaled_size(image, scale), interpolation=cv2.INTER_AREA)
    return cv2.cvtColor(small, cv2.COLOR_RGB2LAB).astype(np.float32)


def _likelihood_map(colors: ColorModel, image: NDArray[np.uint8], scale: float) -> NDArray[np.float32]:
    """Return the likelihood of the object's colours on an image at a scale, (h, w) float32 in [0, 1]."""
    size = _scaled_size(image, scale)
    # Colours mix when an image is reduced, likelihoods do not.
    fine = min(1.0, max(scale, _COLOR_SIDE_PX / min(image.shape[:2])))
    if fine < 1:
        image = np.asarray(cv2.resize(image, _scaled_size(image, fine), interpolation=cv2.INTER_AREA), np.uint8)
    return np.asarray(cv2.resize(colors.strict_likelihood(image), size, interpolation=cv2.INTER_AREA), np.float32)
