"""The shape that players show frames in whose pixels are not square, as in DV, DVD and anamorphic film."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

_MAX_ASPECT = 8.0  # of a pixel; a header that says more is wrong


def usable_pixel_aspect(aspect: float) -> float:
    """Return the width of a pixel divided by its height, 1 where a header says nothing or nonsense."""
    return aspect if 1 / _MAX_ASPECT <= aspect <= _MAX_ASPECT else 1.0


def display_size(size: tuple[int, int], pixel_aspect: float) -> tuple[int, int]:
    """Return the size at which players show a frame: no side is smaller than it is stored.

    Args:
        size: (width, height) in pixels as stored.
        pixel_aspect: Width of a pixel divided by its height.
    """
    w, h = size
    return (round(w * pixel_aspect), h) if pixel_aspect >= 1 else (w, round(h / pixel_aspect))


def resize_image(image: NDArray[np.uint8], size: tuple[int, int]) -> NDArray[np.uint8]:
    """Return an image, (H, W, 3) uint8, at a size (width, height); the same array if it has that size."""
    h, w = image.shape[:2]
    if (w, h) == size:
        return image
    enlarges = size[0] > w or size[1] > h
    return np.asarray(cv2.resize(image, size, interpolation=cv2.INTER_LINEAR if enlarges else cv2.INTER_AREA), np.uint8)
