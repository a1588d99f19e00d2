"""Where an object is while it touches something of its own colours, such as a look-alike that crosses it.

There neither optical flow nor a graph cut finds the border between them. But the object's shape and motion are known
from before: among the places near the expected one (`video.tracking.motion`), the object is where its shape is filled
with its colours and, where an outline can be seen, surrounded by others.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from video.masks import Mask, box_of
from video.tracking.motion import ConstantVelocity

_OUTLINE_PX = 3  # how far an outline may be off
_CONTACT_BAND = 0.15  # of the object's size: what is within it touches the object
_SEARCH_RADIUS = 0.25  # of the object's size: how far from the expected place the object is searched
_DISTANCE_PENALTY = 0.3  # what a place at that distance lacks beside the expected one
_MAX_AGE = 20  # frames after which nothing is known any more of where the object should be
_MIN_CONTACT, _MAX_FREE = 0.5, 0.05  # of the object's area: contact begins at the one and has ended below the other
_MIN_FILLED, _MIN_OUTLINED = 0.8, 0.6  # shares from which on it is this object that is touched
_MIN_CONFIDENCE = 0.45  # a place with less is a guess
_WHOLE_SHARE, _MAX_SHRINKAGE = 0.9, 0.995  # of its area: the object is fully visible; it may shrink so much per frame
_PARTED_SHARE, _PARTED_FRAMES = 0.35, 3  # of the frames of a contact: so many without a touch end it


@dataclass(frozen=True, eq=False)
class ContactPlace:
    """Where an object is that touches something of its colours.

    Args:
        mask: (h, w) bool, the whole object there.
        offset: (x, y) pixels from the expected place.
        filled: In [0, 1]: the share of the object that has its colours there.
        outlined: In [0, 1]: the share of its outline that has other colours.
        contact: The area of its colours that touches the object there, in parts of the object's area.
    """

    mask: Mask
    offset: tuple[int, int]
    filled: float
    outlined: float
    contact: float

    @property
    def confidence(self) -> float:
        """In [0, 1]: how reliable the place is."""
        return self.filled * self.outlined


@dataclass(frozen=True, eq=False)
class ContactTracker:
    """One object, by itself or in contact with something of its colours.

    Args:
        motion: How the object moves.
        area: Its pixels when it was last fully visible.
        touching: Frames since the contact began; 0 while the object is by itself.
        free: How many of the last frames of the contact in a row nothing touched it.
        unseen: How many of the last frames of the contact in a row its place was a guess.
    """

    motion: ConstantVelocity
    area: float
    touching: int = 0
    free: int = 0
    unseen: int = 0

    @classmethod
    def of(cls, mask: Mask) -> ContactTracker:
        """Start with the mask of the object, (h, w) bool."""
        return cls(ConstantVelocity(mask), float(mask.sum()))

    @classmethod
    def from_state(cls, state: Mapping[str, Any]) -> ContactTracker:
        """Build a contact tracker from `dataclasses.asdict` of one."""
        return cls(**{**state, "motion": ConstantVelocity.from_state(state["motion"])})

    def step(self, own_colors: Mask, shift: NDArray[np.float64]) -> tuple[ContactTracker, ContactPlace | None]:
        """Process the next frame.

        Args:
            own_colors: (h, w) bool, where the frame has the object's colours.
            shift: (x, y) pixels by which optical flow moved the object: its motion as long as no velocity is known.

        Returns:
            The tracker after this frame, and the object's place while it is in contact, with an empty mask when the
            place is not known any longer; None while it is by itself.
        """
        motion = self.motion if self.touching or self.motion.steps >= 2 else self.motion.with_velocity(shift)
        motion = motion.advance()
        alone = ContactTracker(motion, self.area)
        expected = motion.predict_mask()
        if not self.touching and (motion.since > _MAX_AGE or contact_area(own_colors, expected) < _MIN_CONTACT):
            return alone, None
        place = locate(own_colors, expected)
        if place is None:
            return alone, None
        free = self.free + 1 if place.contact < _MAX_FREE else 0
        if self.touching:
            # Where one hides the other, nothing touches either for a moment. They part as slowly as they met.
            is_over = free > 0 and (
                place.filled < _MIN_FILLED or free > max(_PARTED_FRAMES, _PARTED_SHARE * self.touching)
            )
        else:
            is_over = place.contact < _MIN_CONTACT or place.filled < _MIN_FILLED or place.outlined < _MIN_OUTLINED
        if is_over:
            return alone, None
        unseen = self.unseen + 1 if place.confidence < _MIN_CONFIDENCE else 0
        if unseen > _MAX_AGE:
            place = replace(place, mask=np.zeros_like(own_colors))
        return ContactTracker(motion.correct(place.offset), self.area, self.touching + 1, free, unseen), place

    def observe(self, mask: Mask) -> ContactTracker:
        """Return the tracker after the object was observed by itself.

        Args:
            mask: (h, w) bool. A mask of a part of the object does not change its motion.
        """
        pixels = float(mask.sum())
        area = max(pixels, _MAX_SHRINKAGE * self.area)
        motion = self.motion.observe(mask) if pixels >= _WHOLE_SHARE * area else self.motion
        return replace(self, area=area, motion=motion)


def contact_area(own_colors: Mask, mask: Mask) -> float:
    """Return the area of an object's colours that touches the object, in parts of the object's area.

    Args:
        own_colors: (h, w) bool, where the frame has the object's colours.
        mask: (h, w) bool, the object.
    """
    beyond = own_colors & ~_dilate(mask, _OUTLINE_PX)
    near = _dilate(mask, _OUTLINE_PX + max(3, round(_CONTACT_BAND * float(np.sqrt(mask.sum()))))) & beyond
    if not near.any():
        return 0.0
    _, labels = cv2.connectedComponents(beyond.astype(np.uint8), connectivity=8)
    return float(np.isin(labels, np.unique(labels[near])).sum() / mask.sum())


def locate(own_colors: Mask, expected: Mask) -> ContactPlace | None:
    """Find the place near the expected one where an object is.

    Args:
        own_colors: (h, w) bool, where the frame has the object's colours.
        expected: (h, w) bool, the object where it should be.

    Returns:
        The place; None if nothing of the object is expected within the frame.
    """
    box = box_of(expected)
    if box is None:
        return None
    h, w = expected.shape
    radius = max(4, round(_SEARCH_RADIUS * float(np.sqrt(expected.sum()))))
    margin = _OUTLINE_PX + 2
    x0, y0, x1, y1 = (round(c * n) for c, n in zip(box, (w, h, w, h), strict=True))
    shape = np.pad(expected[y0:y1, x0:x1], margin)
    ring = _dilate(shape, _OUTLINE_PX + 1) & ~_dilate(shape, _OUTLINE_PX - 2)
    border = radius + margin
    padded = cv2.copyMakeBorder(own_colors.astype(np.float32), border, border, border, border, cv2.BORDER_REPLICATE)
    window = padded[y0 : y1 + 2 * border, x0 : x1 + 2 * border]
    filled = cv2.matchTemplate(window, shape.astype(np.float32), cv2.TM_CCORR) / shape.sum()
    outlined = 1 - cv2.matchTemplate(window, ring.astype(np.float32), cv2.TM_CCORR) / ring.sum()
    down, right = np.mgrid[-radius : radius + 1, -radius : radius + 1].astype(np.float32)
    score = filled + outlined - _DISTANCE_PENALTY * (right**2 + down**2) / radius**2
    row, column = np.unravel_index(int(score.argmax()), score.shape)
    offset = int(column) - radius, int(row) - radius
    shift = np.array([[1, 0, offset[0]], [0, 1, offset[1]]], np.float64)
    mask = cv2.warpAffine(expected.astype(np.uint8), shift, (w, h), flags=cv2.INTER_NEAREST) > 0
    if not mask.any():
        return None
    contact = contact_area(own_colors, mask)
    return ContactPlace(mask, offset, float(filled[row, column]), float(outlined[row, column]), contact)


def _dilate(mask: Mask, by_px: int) -> Mask:
    kernel = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * by_px + 1, 2 * by_px + 1))
    return np.asarray(cv2.dilate(mask.astype(np.uint8), kernel) > 0, np.bool_)
