"""A drawn clip whose two objects can be told apart by colour on any screen: a red star and a blue ring."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from refam.tiny.scenes import Scene, Thing, draw

RED, BLUE = "the red star", "the blue ring"


def red_star_and_blue_ring(
    n: int = 60, *, size: tuple[int, int] = (480, 270)
) -> tuple[NDArray[np.uint8], NDArray[np.bool_]]:
    """frames (n, H, W, 3) uint8 RGB, masks (2, n, H, W) bool: the star goes right, the ring left below it."""
    w, h = 64 * size[0] / min(size), 64 * size[1] / min(size)
    star = Thing("red", "star", "plain", "large", 0, 0, 11)
    ring = Thing("blue", "ring", "plain", "large", 0, 0, 10)
    frames, masks = [], []
    for t in np.linspace(0, 1, n):
        things = (
            replace(star, x=w * (0.15 + 0.70 * t), y=h * (0.30 + 0.06 * np.cos(2 * np.pi * t))),
            replace(ring, x=w * (0.85 - 0.7 * t), y=h * 0.75),
        )
        frame, seen = draw(Scene((w, h), things, "grey", 7), size)
        frames.append(frame)
        masks.append(seen)
    return np.stack(frames), np.stack(masks, axis=1)
