"""Where a thing should be by the way it moved: what tells look-alikes apart while they cross.

The simplest of motion models, a constant velocity, as in SORT (Bewley et al. 2016); it is used only while things that
are followed lie on each other, where neither looks nor flow can say which is which.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import cv2
import numpy as np
from numpy.typing import NDArray

from video.masks import Mask, distance_to, resize_map

_GAIN = 0.1  # of a correction: so much of it is the velocity's (an alpha-beta filter)
_LONGEST = 20  # frames for which a velocity is trusted
_WHOLE = 0.75  # of its area, from which on a thing counts as seen whole; and the inverse, up to which by itself
_MARGIN = 0.3  # of its size, within which others are too near to be told apart by their looks


@dataclass(frozen=True, eq=False)
class ConstantVelocity:
    """One thing's way. whole: (H, W) bool, it as it was last seen whole and by itself, `since` frames ago.

    velocity: (x, y) pixels a frame; moved: (x, y) pixels since then; steps: frames it was watched for, a velocity
    needs two.
    """

    whole: Mask
    velocity: tuple[float, float] = (0.0, 0.0)
    moved: tuple[float, float] = (0.0, 0.0)
    since: int = 0
    steps: int = 0

    def later(self) -> ConstantVelocity:
        """The same, one frame on."""
        moved = self.moved[0] + self.velocity[0], self.moved[1] + self.velocity[1]
        return replace(self, moved=moved, since=self.since + 1)

    def going(self, velocity: NDArray[np.float64]) -> ConstantVelocity:
        """The same, at another velocity."""
        return replace(self, velocity=(float(velocity[0]), float(velocity[1])))

    def corrected(self, offset: tuple[float, float]) -> ConstantVelocity:
        """The same, (x, y) pixels away from where it was expected; it is a little faster, then, too."""
        moved = self.moved[0] + offset[0], self.moved[1] + offset[1]
        velocity = self.velocity[0] + _GAIN * offset[0], self.velocity[1] + _GAIN * offset[1]
        return replace(self, moved=moved, velocity=velocity)

    def expected(self) -> Mask:
        """(H, W) bool: where it should be now, as a whole; what is outside the frame is cut off."""
        h, w = self.whole.shape
        shift = np.array([[1, 0, self.moved[0]], [0, 1, self.moved[1]]], np.float64)
        moved = cv2.warpAffine(self.whole.astype(np.uint8), np.round(shift), (w, h), flags=cv2.INTER_NEAREST)
        return np.asarray(moved > 0, np.bool_)

    def seen(self, mask: Mask) -> ConstantVelocity:
        """With what is seen of it now, (H, W) bool; a part of it tells nothing of where its middle is."""
        if not _WHOLE < mask.sum() / max(1, self.whole.sum()) < 1 / _WHOLE and self.since <= _LONGEST:
            return self
        if self.since == 0:
            return replace(self, whole=mask)
        step = (middle(mask) - middle(self.whole)) / self.since
        if self.steps:
            step = 0.5 * step + 0.5 * np.array(self.velocity)
        return ConstantVelocity(mask, (float(step[0]), float(step[1])), steps=self.steps + 1)


def exclusive_regions(courses: Mapping[int, ConstantVelocity]) -> dict[int, Mask]:
    """For each of those that should lie on or beside another one now, (H, W) bool: what is its own to take.

    That is what is as near to where it should be as to where any other should be: where they lie on each other it is
    everyone's. Only of things whose ways are known well enough to say so.
    """
    known = {k: c.expected() for k, c in courses.items() if c.steps >= 2 and c.since <= _LONGEST}
    known = {k: mask for k, mask in known.items() if mask.any()}
    if len(known) < 2:
        return {}
    away = {k: distance_to(mask) for k, mask in known.items()}
    margin = {k: _MARGIN * float(np.sqrt(mask.sum())) for k, mask in known.items()}
    found: dict[int, Mask] = {}
    for a in known:
        near = [b for b in known if b != a and float(away[a][known[b]].min()) <= min(margin[a], margin[b])]
        if near:
            found[a] = np.asarray(away[a] <= np.minimum.reduce([away[b] for b in near]), np.bool_)
    return found


def nearness(mask: Mask, size: tuple[int, int], reach: float) -> NDArray[np.float32]:
    """(h, w) float32 in [0, 1] on a grid of size (w, h): 1 on the mask, less with the distance from it.

    reach: how fast it falls, in parts of the mask's size.
    """
    was = resize_map(mask, size) >= min(0.5, 0.5 * float(resize_map(mask, size).max()))
    away = distance_to(was)
    return np.asarray(np.exp(-0.5 * np.square(away / (2 + reach * np.sqrt(was.sum())))), np.float32)


def middle(mask: Mask) -> NDArray[np.float64]:
    """(x, y) in pixels of (h, w) bool, the mean of what is set; 0, 0 where nothing is."""
    rows, columns = np.nonzero(mask)
    return np.array([columns.mean(), rows.mean()]) if len(rows) else np.zeros(2)
