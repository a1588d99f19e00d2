"""What an object looks like: its colours, so that a tracker can tell whether it still holds the same thing."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from video.masks import Mask

_BINS = (8, 12, 12)  # of CIE Lab: fewer in lightness, which shadows change

_TYPICAL = 0.02  # of its pixels, as the histogram's neighbouring bins share them: less is a shade at its rim


@dataclass(frozen=True, eq=False)
class ColorModel:
    """colours: (8, 12, 12) float32 shares of an object's pixels, sum 1. around: the same of what surrounds it.

    area: share of the frame that the object covers.
    """

    colours: NDArray[np.float32]
    around: NDArray[np.float32]
    area: float

    @classmethod
    def of(cls, image: NDArray[np.uint8], mask: Mask) -> ColorModel | None:
        """Of (H, W, 3) uint8 RGB under a mask of that size; None when the mask is empty."""
        if image.shape[:2] != mask.shape:
            raise ValueError(f"image {image.shape} and mask {mask.shape} differ in size")
        if not mask.any():
            return None
        lab = np.asarray(cv2.cvtColor(image, cv2.COLOR_RGB2LAB), np.uint8)
        reach = max(5, int(0.3 * np.sqrt(mask.sum()))) | 1
        near = cv2.dilate(mask.astype(np.uint8), cv2.getStructuringElement(cv2.MORPH_RECT, (reach, reach)))
        colours = _histogram(lab, mask)
        around = _histogram(lab, near.astype(bool) & ~mask)
        return cls(colours, around, float(mask.mean()))

    def similarity(self, other: ColorModel) -> float:
        """In [0, 1]: the Bhattacharyya coefficient of the two objects' colours."""
        return float(np.sqrt(self.colours * other.colours).sum())

    def purity(self, image: NDArray[np.uint8], mask: Mask) -> float:
        """In [0, 1]: the share of the pixels under a mask, (H, W), that are likelier this object's; 0 for none."""
        return float((self.likelihood(image)[mask] > 0.5).mean()) if mask.any() else 0.0

    def likelihood(self, image: NDArray[np.uint8]) -> NDArray[np.float32]:
        """(H, W) float32 in [0, 1]: how much likelier each pixel is the object's than its surroundings' at the time."""
        return _looked_up((self.colours + 1e-5) / (self.colours + self.around + 2e-5), image)

    def typical(self, image: NDArray[np.uint8]) -> Mask:
        """(H, W) bool: where the frame has colours that are a good part of the object and less of its surroundings."""
        return (_looked_up(self.colours, image) > _TYPICAL) & (self.likelihood(image) > 0.6)

    def ownership(self, image: NDArray[np.uint8]) -> NDArray[np.float32]:
        """As `likelihood`, but a colour that neither had at the time is not the object's, where that has one half."""
        return _looked_up(self.colours / (self.colours + self.around + 1e-3), image)


def _looked_up(table: NDArray[np.float32], image: NDArray[np.uint8]) -> NDArray[np.float32]:
    lab = cv2.cvtColor(image, cv2.COLOR_RGB2LAB)
    index = lab.astype(np.int32) * np.array(_BINS) // 256
    return np.asarray(table[index[..., 0], index[..., 1], index[..., 2]], np.float32)


def _histogram(lab: NDArray[np.uint8], mask: Mask) -> NDArray[np.float32]:
    counts = cv2.calcHist([lab], [0, 1, 2], mask.astype(np.uint8), list(_BINS), [0, 256] * 3)
    # Spread over the neighbouring bins: a shade that crosses a bin's border is not another colour.
    for axis in range(3):
        counts = 0.5 * counts + 0.25 * (np.roll(counts, 1, axis) + np.roll(counts, -1, axis))
    return np.asarray(counts / max(1e-9, counts.sum()), np.float32)
