"""The colours of an object, by which a tracker checks whether it still holds the same object."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from video.masks import Mask

_BINS = (8, 12, 12)  # of CIE Lab: fewer for lightness, which shadows change
_MIN_TYPICAL = 0.02  # share of the object's pixels, after smoothing over neighbouring bins; a rarer colour is its rim's
_MIN_TYPICAL_LIKELIHOOD = 0.6


@dataclass(frozen=True, eq=False)
class ColorModel:
    """Colour histograms, in CIE Lab, of an object and of its surroundings on one frame.

    Args:
        colors: (8, 12, 12) float32, the shares of the object's pixels; sum 1.
        surroundings: (8, 12, 12) float32, the same of the pixels around it.
        area: Share of the frame that the object covers, in [0, 1].
    """

    colors: NDArray[np.float32]
    surroundings: NDArray[np.float32]
    area: float

    @classmethod
    def of(cls, image: NDArray[np.uint8], mask: Mask) -> ColorModel | None:
        """Measure an object.

        Args:
            image: (H, W, 3) uint8 RGB.
            mask: (H, W) bool.

        Returns:
            The model; None for an empty mask.

        Raises:
            ValueError: If image and mask differ in size.
        """
        if image.shape[:2] != mask.shape:
            raise ValueError(f"image {image.shape} and mask {mask.shape} differ in size")
        if not mask.any():
            return None
        lab = np.asarray(cv2.cvtColor(image, cv2.COLOR_RGB2LAB), np.uint8)
        width_px = max(5, int(0.3 * np.sqrt(mask.sum()))) | 1
        grown = cv2.dilate(mask.astype(np.uint8), cv2.getStructuringElement(cv2.MORPH_RECT, (width_px, width_px)))
        return cls(_histogram(lab, mask), _histogram(lab, grown.astype(bool) & ~mask), float(mask.mean()))

    def similarity(self, other: ColorModel) -> float:
        """Return the Bhattacharyya coefficient of two objects' colours, in [0, 1]."""
        return float(np.sqrt(self.colors * other.colors).sum())

    def purity(self, image: NDArray[np.uint8], mask: Mask) -> float:
        """Return the share of a mask's pixels that are likelier the object's than its surroundings', in [0, 1].

        Args:
            image: (H, W, 3) uint8 RGB.
            mask: (H, W) bool. An empty one has purity 0.
        """
        return float((self.likelihood(image)[mask] > 0.5).mean()) if mask.any() else 0.0

    def likelihood(self, image: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Return (H, W) float32 in [0, 1]: how likely each pixel is the object's rather than its surroundings'.

        A colour that neither had has likelihood 0.5.
        """
        return _look_up((self.colors + 1e-5) / (self.colors + self.surroundings + 2e-5), image)

    def typical_pixels(self, image: NDArray[np.uint8]) -> Mask:
        """Return (H, W) bool: the pixels of colours that are common on the object and rarer around it."""
        return (_look_up(self.colors, image) > _MIN_TYPICAL) & (self.likelihood(image) > _MIN_TYPICAL_LIKELIHOOD)

    def strict_likelihood(self, image: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Return `likelihood`, but with 0 for a colour that neither the object nor its surroundings had."""
        return _look_up(self.colors / (self.colors + self.surroundings + 1e-3), image)


def _look_up(table: NDArray[np.float32], image: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Return the table's value for the colour of each pixel, (H, W) float32."""
    lab = cv2.cvtColor(image, cv2.COLOR_RGB2LAB)
    index = lab.astype(np.int32) * np.array(_BINS) // 256
    return np.asarray(table[index[..., 0], index[..., 1], index[..., 2]], np.float32)


def _histogram(lab: NDArray[np.uint8], mask: Mask) -> NDArray[np.float32]:
    counts = cv2.calcHist([lab], [0, 1, 2], mask.astype(np.uint8), list(_BINS), [0, 256] * 3)
    # Smoothed over neighbouring bins: a shade that crosses the border of a bin is not another colour.
    for axis in range(3):
        counts = 0.5 * counts + 0.25 * (np.roll(counts, 1, axis) + np.roll(counts, -1, axis))
    return np.asarray(counts / max(1e-9, counts.sum()), np.float32)
