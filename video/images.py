"""Pictures as the bytes of JPEG and PNG files."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray


def encode_jpeg(image: NDArray[np.uint8], *, quality: int) -> bytes:
    """Return (H, W, 3) uint8 RGB as a JPEG.

    Args:
        image: The picture.
        quality: JPEG's own, 1 to 100.

    Raises:
        ValueError: If OpenCV cannot write it.
    """
    return _encode(".jpg", image[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, quality])


def encode_png(image: NDArray[np.uint8]) -> bytes:
    """Return (H, W) grey, (H, W, 3) RGB or (H, W, 4) RGBA, uint8, as a PNG.

    Raises:
        ValueError: If OpenCV cannot write it.
    """
    channels = [2, 1, 0, 3][: image.shape[2]] if image.ndim == 3 else None
    return _encode(".png", image if channels is None else np.ascontiguousarray(image[..., channels]), [])


def _encode(ending: str, image: NDArray[np.uint8], options: list[int]) -> bytes:
    try:
        ok, data = cv2.imencode(ending, image, options)
    except cv2.error as error:
        raise ValueError(f"OpenCV could not write an image of shape {image.shape}: {error}") from error
    if not ok:
        raise ValueError(f"OpenCV could not write an image of shape {image.shape}")
    return data.tobytes()
