"""Where an object should be according to its motion, which tells look-alikes apart while they cross.

The motion model is a constant velocity, as in SORT (Bewley et al. 2016, "Simple Online and Realtime Tracking"). It is
used only while tracked objects overlap, where neither appearance nor optical flow can tell them apart.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from video.masks import Mask, distance_to, resize_map

_VELOCITY_GAIN = 0.1  # share of a position correction that goes into the velocity (an alpha-beta filter)
_MAX_AGE = 20  # frames for which a velocity is trusted
_WHOLE_SHARE = 0.75  # share of its area from which on an object counts as fully visible; the inverse is the upper bound
_MARGIN = 0.3  # of an object's size: others within it are too near to be told apart by appearance
_MIN_STEPS = 2  # frames after which a velocity is known


@dataclass(frozen=True, eq=False)
class ConstantVelocity:
    """The motion of one object.

    Args:
        whole: (H, W) bool, the object when it was last fully visible and by itself.
        velocity: (x, y) pixels per frame.
        moved: (x, y) pixels by which it should have moved since then.
        since: Frames since then.
        steps: Frames from which the velocity was estimated.
    """

    whole: Mask
    velocity: tuple[float, float] = (0.0, 0.0)
    moved: tuple[float, float] = (0.0, 0.0)
    since: int = 0
    steps: int = 0

    @classmethod
    def from_state(cls, state: Mapping[str, Any]) -> ConstantVelocity:
        """Build a motion from `dataclasses.asdict` of one."""
        return cls(**{**state, "velocity": tuple(state["velocity"]), "moved": tuple(state["moved"])})

    @property
    def is_known(self) -> bool:
        """Whether the velocity was estimated from enough frames, and not too long ago."""
        return self.steps >= _MIN_STEPS and self.since <= _MAX_AGE

    def advance(self) -> ConstantVelocity:
        """Return the motion one frame later."""
        moved = self.moved[0] + self.velocity[0], self.moved[1] + self.velocity[1]
        return replace(self, moved=moved, since=self.since + 1)

    def with_velocity(self, velocity: NDArray[np.float64]) -> ConstantVelocity:
        """Return the motion with another velocity, (x, y) pixels per frame."""
        return replace(self, velocity=(float(velocity[0]), float(velocity[1])))

    def correct(self, offset: tuple[float, float]) -> ConstantVelocity:
        """Return the motion of an object that was found (x, y) pixels from where it was expected.

        The velocity takes over a part of the offset.
        """
        moved = self.moved[0] + offset[0], self.moved[1] + offset[1]
        velocity = self.velocity[0] + _VELOCITY_GAIN * offset[0], self.velocity[1] + _VELOCITY_GAIN * offset[1]
        return replace(self, moved=moved, velocity=velocity)

    def predict_mask(self) -> Mask:
        """Return (H, W) bool: the whole object where it should be now, cut off at the frame's edge."""
        h, w = self.whole.shape
        shift = np.array([[1, 0, self.moved[0]], [0, 1, self.moved[1]]], np.float64)
        moved = cv2.warpAffine(self.whole.astype(np.uint8), np.round(shift), (w, h), flags=cv2.INTER_NEAREST)
        return np.asarray(moved > 0, np.bool_)

    def observe(self, mask: Mask) -> ConstantVelocity:
        """Return the motion after the object was observed.

        Args:
            mask: (H, W) bool. A mask that is much smaller or larger than the whole object changes nothing, because its
                centroid is not the object's.
        """
        if not _WHOLE_SHARE < mask.sum() / max(1, self.whole.sum()) < 1 / _WHOLE_SHARE and self.since <= _MAX_AGE:
            return self
        if self.since == 0:
            return replace(self, whole=mask)
        step = (centroid(mask) - centroid(self.whole)) / self.since
        if self.steps:
            step = 0.5 * step + 0.5 * np.array(self.velocity)
        return ConstantVelocity(mask, (float(step[0]), float(step[1])), steps=self.steps + 1)


def exclusive_regions(motions: Mapping[int, ConstantVelocity]) -> dict[int, Mask]:
    """Divide the frame between objects that should overlap or touch now.

    Args:
        motions: The motions by object id. Those that are not known well enough are left out.

    Returns:
        For each object that should be on or beside another one, (H, W) bool: the pixels that are at least as near to
        its expected place as to the expected place of any other. Where expected places overlap, pixels belong to all.
    """
    expected = {k: m.predict_mask() for k, m in motions.items() if m.is_known}
    expected = {k: mask for k, mask in expected.items() if mask.any()}
    if len(expected) < 2:
        return {}
    distances = {k: distance_to(mask) for k, mask in expected.items()}
    margins = {k: _MARGIN * float(np.sqrt(mask.sum())) for k, mask in expected.items()}
    regions: dict[int, Mask] = {}
    for a in expected:
        near = [b for b in expected if b != a and float(distances[a][expected[b]].min()) <= min(margins[a], margins[b])]
        if near:
            regions[a] = np.asarray(distances[a] <= np.minimum.reduce([distances[b] for b in near]), np.bool_)
    return regions


def proximity(mask: Mask, size: tuple[int, int], radius: float) -> NDArray[np.float32]:
    """Return how near each cell of a grid is to a mask.

    Args:
        mask: (H, W) bool.
        size: (width, height) of the grid.
        radius: How fast the value falls off, in parts of the mask's size.

    Returns:
        (h, w) float32 in [0, 1]: 1 on the mask, falling with the distance from it as a Gaussian.
    """
    cells = resize_map(mask, size) >= min(0.5, 0.5 * float(resize_map(mask, size).max()))
    distance = distance_to(cells)
    return np.asarray(np.exp(-0.5 * np.square(distance / (2 + radius * np.sqrt(cells.sum())))), np.float32)


def centroid(mask: Mask) -> NDArray[np.float64]:
    """Return the mean (x, y) in pixels of the set pixels of a mask (h, w); (0, 0) for an empty one."""
    rows, columns = np.nonzero(mask)
    return np.array([columns.mean(), rows.mean()]) if len(rows) else np.zeros(2)
