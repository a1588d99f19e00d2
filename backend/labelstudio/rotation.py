"""Rotated boxes, as the editor draws them.

A box is stored upright, in percent of the frame's width and height, with an angle. The editor turns it by that angle
about its top left corner on the screen, where a pixel is as wide as it is high (measured on Label Studio 1.23.2). So
percent of the width and percent of the height cannot be turned into one another without the frame's shape.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


def upright_boxes(sides: NDArray[np.float64], rotation: NDArray[np.float64], aspect: float) -> NDArray[np.float64]:
    """Return the smallest upright boxes around rotated ones.

    Args:
        sides: (n, 4) x and y of the top left corner before the turn, width and height, in percent of the frame.
        rotation: (n,) degrees clockwise about that corner.
        aspect: Width of the frame divided by its height, as the editor shows it.

    Returns:
        (n, 4) xyxy in fractions of the frame, which may reach beyond it.

    Raises:
        ValueError: If the aspect is not positive.
    """
    if not aspect > 0:
        raise ValueError(f"a frame's width divided by its height must be positive, got {aspect}")
    x, y, width, height = sides.T
    width = width * aspect  # from here on x is in percent of the height, as y is
    angle = np.radians(rotation)
    cos, sin = np.round(np.cos(angle), 12), np.round(np.sin(angle), 12)  # a quarter turn has no oblique rest
    xs = np.stack([0 * x, width * cos, -height * sin, width * cos - height * sin]) / aspect
    ys = np.stack([0 * y, width * sin, height * cos, width * sin + height * cos])
    return np.stack([x + xs.min(0), y + ys.min(0), x + xs.max(0), y + ys.max(0)], axis=1) / 100
