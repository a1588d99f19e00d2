"""Which of the basic colours a picture shows, measured on its pixels."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

COLOURS = ("red", "orange", "yellow", "green", "blue", "purple", "pink", "brown", "white", "grey", "black")
"""The eleven basic colour terms of English (Berlin and Kay, 1969)."""
PRESENT_SHARE, ABSENT_SHARE = 0.12, 0.01
"""A colour is there above the first share of the pixels and not there below the second; between them it is unknown."""

_SIDE = 64  # colours are counted on a small copy


def colour_shares(picture: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Return (11,) the share of the pixels that each of `COLOURS` names.

    Args:
        picture: (H, W, 3) uint8 RGB.
    """
    import cv2  # imported here, since the names alone are read before anything heavy is loaded
    import numpy as np

    small = cv2.resize(picture, (_SIDE, _SIDE), interpolation=cv2.INTER_AREA)
    channels = cv2.cvtColor(small, cv2.COLOR_RGB2HSV).astype(np.float32)
    hue, saturation, value = channels[..., 0] * 2, channels[..., 1] / 255, channels[..., 2] / 255  # hue in degrees
    black = value < 0.18
    colourless = ~black & (saturation < 0.16)
    coloured = ~black & ~colourless
    warm = coloured & (hue >= 12) & (hue < 42)
    brown = warm & ((value < 0.55) | (saturation < 0.45)) & (saturation >= 0.25)
    red = coloured & ((hue < 12) | (hue >= 345))
    pink = coloured & (((hue >= 300) & (hue < 345)) | (red & (saturation < 0.5) & (value > 0.65)))
    masks = {
        "red": red & ~pink & (saturation >= 0.4),
        "orange": warm & ~brown & (saturation >= 0.6),
        "yellow": coloured & (hue >= 42) & (hue < 68) & (saturation >= 0.35),
        "green": coloured & (hue >= 68) & (hue < 165),
        "blue": coloured & (hue >= 165) & (hue < 258),
        "purple": coloured & (hue >= 258) & (hue < 300),
        "pink": pink,
        "brown": brown,
        "white": colourless & (value >= 0.78),
        "grey": colourless & (value < 0.78),
        "black": black,
    }
    return np.array([masks[c].mean() for c in COLOURS], np.float32)
